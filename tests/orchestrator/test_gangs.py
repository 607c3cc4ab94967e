"""A reignition over four fake nodes with two ranks each, of which one node dies in the middle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from experiments.chaos.cluster import FAST_HEALTH_CHECKS
from orchestrator.config import RunConfig
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.search.protocol import Job
from tests.orchestrator.held_trainers import MidEpochHeldTraining, first_step, held
from tests.orchestrator.test_driver import Watcher, records, run
from tests.orchestrator.tiny import tiny_config
from workers.checkpoint import Checkpoint
from workers.run_folder import RunFolder
from workers.task import Progress, attempt_name

NUM_NODES = 4
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": FAST_HEALTH_CHECKS},
    )
    for _ in range(NUM_NODES + 1):  # one to spare
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def node_id_of(worker: str) -> str:
    """The node of a worker that lives; those of earlier runs in this cluster are remembered, too."""
    actors = ray._private.state.actors().values()  # type: ignore[attr-defined]
    (node_id,) = (
        actor["Address"]["NodeID"]
        for actor in actors
        if actor["State"] == "ALIVE" and actor["Name"].rpartition("/")[2] == worker
    )
    return str(node_id)


def gang_config(num_nodes: int = NUM_NODES, **fleet: Any) -> RunConfig:
    reignition = {"batch_size": 16, "epochs": 3, "normalization": "sync", "num_nodes": num_nodes}
    return tiny_config(
        training={"batch_size": 8, "normalization": "sync"},
        reignition=reignition | {"data": {"format": "shapes", "num_train": 64, "num_val": 13}},
        parallel=None,
        final=None,
        start={"weights": "pretrain"},
        serial={"n_stuck": 1, "reignite": False, "max_candidates": 1},
        fleet={"num_workers": num_nodes, "ranks_per_worker": 2, "checkpoint_minutes": 0} | fleet,
    )


def test_what_a_gang_fails_of_is_its_reason_not_that_the_others_lost_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.CAUSE_S", 600.0)  # the others have all the time to say what they know
    trainer = "tests.orchestrator.gang_trainers:LastRankFails"
    with pytest.raises(RunStopped, match=r"job 0 .*failed: loss became nan"):
        run(gang_config(2, ranks_per_worker=1), tmp_path / "run", Watcher(), trainer)


class NodeKiller(Watcher):
    """Removes the node of a helper in the middle of the reignition."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        super().__init__()
        self._cluster = cluster
        self._path = path
        self.kept_step = 0

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        if not self.kept_step and held(self._path, 0).exists():
            assert all(job is not None and job.role == "pretrain" for job in jobs.values())
            data = RunFolder(self._path).read_checkpoint(attempt_name(0, 0, 1))
            assert data is not None
            self.kept_step = Checkpoint.from_bytes(data).step
            lost = node_id_of("worker-2")
            node = next(node for node in self._cluster.list_all_nodes() if node.node_id == lost)
            self._cluster.remove_node(node, allow_graceful=False)


def test_a_gang_that_loses_a_node_goes_on_from_its_last_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    killer = NodeKiller(cluster, tmp_path / "run")
    trainer = "tests.orchestrator.held_trainers:MidEpochHeldTraining"
    assert run(gang_config(), tmp_path / "run", killer, trainer) == "the search is complete"
    attempts = [record for record in records(tmp_path / "run", "dispatched") if record["index"] == 0]
    assert len(attempts) == 2
    assert all(len(record["worker"].split("+")) == NUM_NODES for record in attempts)
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert trials["status"].tolist() == ["completed"] * len(trials)
    assert trials["role"][0] == "pretrain"
    # A checkpoint is written after every step, so not more than the step under way is done again.
    assert killer.kept_step == MidEpochHeldTraining.before_step - 1
    assert first_step(tmp_path / "run", 0, attempt=1) == killer.kept_step + 1
