"""A fleet whose nodes come and go, with stub training on fake nodes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from experiments.chaos.cluster import FAST_HEALTH_CHECKS
from experiments.chaos.searches import FLEET, SEARCHES
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from orchestrator.trials import INCIDENTAL_COLUMNS
from tests.orchestrator.held_trainers import held, released
from tests.orchestrator.test_driver import Watcher, records
from tests.orchestrator.test_gangs import node_id_of
from workers.storage import open_storage
from workers.task import Progress

TRAINER = "tests.orchestrator.held_trainers:HeldStub"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": FAST_HEALTH_CHECKS},
    )
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def cluster(head: Cluster) -> Iterator[Cluster]:
    """A head alone, without what others have added to it."""
    yield head
    for node in [node for node in head.list_all_nodes() if node is not head.head_node]:
        head.remove_node(node, allow_graceful=False)


class Operator(Watcher):
    """Changes the cluster once some jobs are at work, and lets these go on once something has come of it."""

    def __init__(
        self, path: Path, at_work: set[int], change: Callable[[], object], until: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__()
        self._path = path
        self._at_work = at_work
        self._change: Callable[[], object] | None = change
        self._until = until

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        if self._change is not None and are_at_work(self._path, self._at_work):
            change, self._change = self._change, None
            change()
        if self._change is None and self._until():
            released(self._path).touch()


def are_at_work(path: Path, jobs: set[int]) -> bool:
    return all(held(path, job).exists() for job in jobs)


def run(config: RunConfig, path: Path, watcher: Watcher) -> str:
    folder, _ = open_run(config, open_storage(path))
    return Driver(config, folder, watcher, trainer=TRAINER).run()


def history_of(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / "trials.parquet").drop(columns=list(INCIDENTAL_COLUMNS))


def workers_of(path: Path) -> set[str]:
    return {record["worker"] for record in records(path, "dispatched")}


def config_of(**fleet: Any) -> RunConfig:
    return parse_config(
        SEARCHES["paired"] | {"fleet": FLEET | {"num_workers": 3, "gpus_per_worker": 0, **fleet}}, "elastic"
    )


@pytest.fixture(scope="module")
def undisturbed(head: Cluster, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The history of a search with one worker, which has to wait for its node."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    released(path).touch()
    with pytest.raises(RunStopped, match=r"0 of 3 workers are up.* a node must have 1 free CPUs"):
        run(config_of(wait_minutes=0.05), path, Watcher())
    node = head.add_node(num_cpus=1)
    assert run(config_of(num_workers=1), path, Watcher()) == "the search is complete"
    head.remove_node(node, allow_graceful=False)
    return history_of(path)


def test_no_node_is_a_wait_with_a_reason_up_to_the_limit(undisturbed: pd.DataFrame) -> None:
    assert set(undisturbed["status"]) == {"completed"}


def test_nodes_that_join_are_used_and_change_no_history(
    cluster: Cluster, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1)
    path = tmp_path / "run"

    def join() -> None:
        for _ in range(2):
            cluster.add_node(num_cpus=1)

    joining = Operator(path, {1}, join, until=lambda: are_at_work(path, {1, 2, 3}))
    assert run(config_of(), path, joining) == "the search is complete"
    assert workers_of(path) == {"worker-0", "worker-1", "worker-2"}
    pd.testing.assert_frame_equal(history_of(path), undisturbed, check_exact=True)


def test_nodes_that_leave_charge_no_candidate(cluster: Cluster, undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    leaving = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def leave() -> None:
        for node in leaving:
            cluster.remove_node(node, allow_graceful=False)

    def are_lost() -> bool:  # before, what still runs there could come to its end
        return sum("was lost on worker-" in note for note in operator.notes) == 2

    path = tmp_path / "run"
    operator = Operator(path, {1, 2, 3}, leave, until=are_lost)
    assert run(config_of(), path, operator) == "the search is complete"
    assert pd.read_parquet(path / "trials.parquet")["attempts"][:4].tolist().count(2) == 2
    pd.testing.assert_frame_equal(history_of(path), undisturbed, check_exact=True)


def test_a_node_that_is_drained_is_emptied_and_charges_no_candidate(
    cluster: Cluster, undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.DRAIN_QUESTION_EVERY_S", 0.5)
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

    def is_emptied() -> bool:
        return any(note.startswith("worker-1 leaves its node, which is drained") for note in operator.notes)

    path = tmp_path / "run"
    operator = Operator(path, {1, 2}, drain, until=is_emptied)
    assert run(config_of(num_workers=2), path, operator) == "the search is complete"
    pd.testing.assert_frame_equal(history_of(path), undisturbed, check_exact=True)
