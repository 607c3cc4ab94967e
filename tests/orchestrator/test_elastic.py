"""A fleet whose nodes come and go, with stub training on fake nodes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from experiments.chaos.cluster import FAST_HEALTH_CHECKS
from experiments.chaos.searches import FLEET, SEARCHES
from orchestrator.config import RunConfig, parse_config
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from orchestrator.trials import INCIDENTAL_COLUMNS
from tests.orchestrator.test_driver import Watcher, records
from tests.orchestrator.test_gangs import node_id_of
from workers.storage import open_storage
from workers.task import Progress

TRAINER = "experiments.chaos.stub:StubTrainer"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": FAST_HEALTH_CHECKS},
    )
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Operator(Watcher):
    """Changes the cluster once, when a worker is first seen at work after so many outcomes."""

    def __init__(self, after: int, change: Any) -> None:
        super().__init__()
        self._after = after
        self._change = change

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        if self._change and len(self.told_indices) >= self._after and any(jobs.values()):
            change, self._change = self._change, None
            change()


def run(config: RunConfig, path: Path, watcher: Watcher) -> str:
    folder, _ = open_run(config, open_storage(path))
    return Driver(config, folder, watcher, trainer=TRAINER).run()


def history_of(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / "trials.parquet").drop(columns=list(INCIDENTAL_COLUMNS))


def workers_of(path: Path) -> set[str]:
    return {record["worker"] for record in records(path, "dispatched")}


def config_of(num_steps: int = 4, **fleet: Any) -> RunConfig:
    values = {"num_workers": 3, "gpus_per_worker": 0, **fleet}
    training = {"epochs": num_steps, "batch_size": 8}
    return parse_config(SEARCHES["paired"] | {"training": training, "fleet": FLEET | values}, "elastic")


def test_nodes_that_join_are_used_and_change_no_history(cluster: Cluster, tmp_path: Path) -> None:
    config = config_of(num_steps=80)  # long enough for the others to come up
    cluster.add_node(num_cpus=1)
    joining = Operator(1, lambda: [cluster.add_node(num_cpus=1) for _ in range(2)])
    assert run(config, tmp_path / "grown", joining) == "the search is complete"
    assert workers_of(tmp_path / "grown") == {"worker-0", "worker-1", "worker-2"}
    run(config_of(num_steps=80, num_workers=1), tmp_path / "one", Watcher())
    pd.testing.assert_frame_equal(history_of(tmp_path / "grown"), history_of(tmp_path / "one"), check_exact=True)


def test_nodes_that_leave_charge_no_candidate(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    leaving = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def leave() -> None:
        for node in leaving:
            cluster.remove_node(node, allow_graceful=False)

    watcher = Operator(2, leave)
    assert run(config_of(), tmp_path / "shrunk", watcher) == "the search is complete"
    assert set(history_of(tmp_path / "shrunk")["status"]) == {"completed"}
    run(config_of(num_workers=1), tmp_path / "one", Watcher())
    pd.testing.assert_frame_equal(history_of(tmp_path / "shrunk"), history_of(tmp_path / "one"), check_exact=True)


def test_a_node_that_is_drained_is_emptied_and_charges_no_candidate(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1)

    def drain() -> None:
        command = [
            str(Path(sys.executable).with_name("ray")),
            "drain-node",
            f"--address={cluster.address}",
            f"--node-id={node_id_of('worker-1')}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=maintenance",
            "--deadline-remaining-seconds=3600",
        ]
        subprocess.run(command, check=True, capture_output=True)

    watcher = Operator(2, drain)
    config = config_of(num_steps=80, num_workers=2)  # long enough for Ray to be asked
    assert run(config, tmp_path / "drained", watcher) == "the search is complete"
    left = next(number for number, note in enumerate(watcher.notes) if "leaves its node, which is drained" in note)
    assert watcher.notes[left].startswith("worker-1")
    assert set(history_of(tmp_path / "drained")["status"]) == {"completed"}


def test_no_node_is_a_wait_with_a_reason_up_to_the_limit(cluster: Cluster, tmp_path: Path) -> None:
    config = config_of(wait_minutes=0.05)
    with pytest.raises(RunStopped, match=r"0 of 3 workers are up.* a node must have 1 free CPUs"):
        run(config, tmp_path / "run", Watcher())
    cluster.add_node(num_cpus=1)
    assert run(config_of(), tmp_path / "run", Watcher()) == "the search is complete"
