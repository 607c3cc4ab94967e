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
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from tests.orchestrator.test_driver import Watcher, records
from tests.orchestrator.tiny import tiny_config
from workers.checkpoint import Checkpoint
from workers.run_folder import RunFolder
from workers.storage import open_storage
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
    actors = ray._private.state.actors().values()  # type: ignore[attr-defined]
    node_ids = {actor["Name"].rpartition("/")[2]: actor["Address"]["NodeID"] for actor in actors}
    return str(node_ids[worker])


def gang_config(num_nodes: int = NUM_NODES, **fleet: Any) -> RunConfig:
    reignition = {"batch_size": 16, "epochs": 8, "normalization": "sync", "num_nodes": num_nodes}
    return tiny_config(
        training={"batch_size": 8, "normalization": "sync"},
        reignition=reignition | {"data": {"format": "shapes", "num_train": 64, "num_val": 13}},
        parallel=None,
        final=None,
        start={"weights": "pretrain"},
        serial={"n_stuck": 1, "reignite": False, "max_candidates": 1},
        fleet={"num_workers": num_nodes, "ranks_per_worker": 2, "checkpoint_minutes": 0, "unreachable_minutes": 1}
        | fleet,
    )


def test_what_a_gang_fails_of_is_its_reason_not_that_the_others_lost_it(cluster: Cluster, tmp_path: Path) -> None:
    folder, _ = open_run(gang_config(2, ranks_per_worker=1), open_storage(tmp_path / "run"))
    trainer = "tests.orchestrator.gang_trainers:LastRankFails"
    with pytest.raises(RunStopped, match=r"job 0 .*failed: loss became nan"):
        Driver(gang_config(2, ranks_per_worker=1), folder, Watcher(), trainer=trainer).run()


class NodeKiller(Watcher):
    """Removes the node of a helper in the middle of the reignition, and notes every step that is reported."""

    def __init__(self, cluster: Cluster, folder: RunFolder) -> None:
        super().__init__()
        self._cluster = cluster
        self._folder = folder
        self.before: list[int] = []
        self.after: list[int] = []
        self.is_dead = False
        self.kept_step = 0

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        for name, job in jobs.items():
            step = told.step if (told := progress[name]) is not None and told.phase == "training" else 0
            if job is None or job.role != "pretrain" or not step:
                continue
            if len(history.attempts[job.index]) == 2:
                self.after.append(step)
            elif not self.is_dead:
                self.before.append(step)
            if not self.is_dead and step > 5:
                assert len([other for other in jobs.values() if other is not None]) == NUM_NODES
                data = self._folder.read_checkpoint(attempt_name(job.index, 0, 1))
                assert data is not None
                self.kept_step = Checkpoint.from_bytes(data).step
                lost = node_id_of("worker-2")
                node = next(node for node in self._cluster.list_all_nodes() if node.node_id == lost)
                self._cluster.remove_node(node, allow_graceful=False)
                self.is_dead = True


def test_a_gang_that_loses_a_node_goes_on_from_its_last_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    config = gang_config()
    folder, _ = open_run(config, open_storage(tmp_path / "run"))
    killer = NodeKiller(cluster, folder)
    assert Driver(config, folder, killer).run() == "the search is complete"
    assert killer.is_dead
    attempts = [record for record in records(tmp_path / "run", "dispatched") if record["index"] == 0]
    assert len(attempts) == 2
    assert all(len(record["worker"].split("+")) == NUM_NODES for record in attempts)
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert trials["status"].tolist() == ["completed"] * len(trials)
    assert trials["role"][0] == "pretrain"
    # A checkpoint is written after every step, so not more than the step under way is done again.
    assert killer.kept_step >= max(killer.before) - 1
    assert min(killer.after) > killer.kept_step
