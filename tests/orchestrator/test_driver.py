"""The driver with real Ray, real training, real files, and real processes killed."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import torch
from rich.console import Console

from experiments.chaos.checks import repeated
from experiments.chaos.processes import descendants, is_alive
from models import build_backbone
from orchestrator.config import FleetConfig, RunConfig
from orchestrator.console import status_table, summary_table
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped, UserError
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.runs import RunLock, open_run
from orchestrator.search.protocol import Job, live_weights
from orchestrator.standing import Standing
from orchestrator.workplace import Completion
from tests.orchestrator.held_trainers import held
from tests.orchestrator.processes import kill_ranks, kill_workers
from tests.orchestrator.tiny import history_of, tiny_config, write_config
from tests.waiting import wait_until
from workers.run_folder import Result, RunFolder
from workers.storage import open_storage
from workers.task import NETWORK_TRAINER, NodeSettings, Progress, Task

pytestmark = pytest.mark.ray
HELD, UNMOVING, SLOWLY_MOVING = (
    f"tests.orchestrator.held_trainers:{name}" for name in ("HeldTraining", "Unmoving", "SlowlyMoving")
)


class Watcher:
    """An observer that calls what a test gives it: `on_working` and `on_training` with the roles of the jobs that have
    been sent off, and of those whose ranks have told of their progress."""

    def __init__(
        self,
        on_told: Callable[[int], None] | None = None,
        on_working: Callable[[set[str]], None] | None = None,
        on_training: Callable[[set[str]], None] | None = None,
    ) -> None:
        self.told_indices: list[int] = []
        self.notes: list[str] = []
        self._on_told = on_told
        self._on_working = on_working
        self._on_training = on_training

    def opened(self, history: History, resumed: bool) -> None:
        self.resumed = resumed

    def told(self, history: History, record: Record) -> None:
        self.told_indices.append(record["outcome"]["index"])
        if self._on_told:
            self._on_told(record["outcome"]["index"])

    def note(self, text: str) -> None:
        self.notes.append(text)

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        if self._on_working:
            self._on_working({job.role for job in jobs.values() if job is not None})
        if self._on_training:
            self._on_training(
                {job.role for name, job in jobs.items() if job is not None and progress[name] is not None}
            )


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 * 2**20,
    )
    yield
    ray.shutdown()


def run(config: RunConfig, path: Path, watcher: Watcher | None = None, trainer: str = NETWORK_TRAINER) -> str:
    folder, changed = open_run(config, open_storage(path))
    return Driver(config, folder, watcher or Watcher(), trainer=trainer).run(changed)


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run(tiny_config(), path) == "the search is complete"
    return path


def test_a_search_goes_through_all_phases_and_leaves_one_row_per_job(undisturbed: Path) -> None:
    trials = pd.read_parquet(undisturbed / "trials.parquet")
    assert list(trials["index"]) == list(range(len(trials)))
    assert set(trials["status"]) == {"completed"}
    assert set(trials["role"]) >= {"start", "control", "candidate", "pretrain", "refresh", "final"}
    assert set(trials["phase"]) == {"serial", "parallel", "final"}
    assert trials["is_best"].sum() == 1
    assert (trials["attempts"] == 1).all()
    assert trials["proposed_at"].dt.tz is not None
    assert (trials["finished_at"] >= trials["proposed_at"]).all()


def test_one_worker_gives_the_history_of_two(undisturbed: Path, tmp_path: Path) -> None:
    run(tiny_config(fleet={"num_workers": 1}), tmp_path / "run")
    pd.testing.assert_frame_equal(history_of(tmp_path / "run"), history_of(undisturbed), check_exact=True)


def test_only_live_weights_are_kept(undisturbed: Path) -> None:
    state = History.fold(tiny_config(), Journal(open_storage(undisturbed))).state
    kept = {int(path.name.split("-")[0]) for path in (undisturbed / "weights").iterdir()}
    assert kept == live_weights(state) & state.population.keys()


def test_a_run_leaves_nothing_behind(undisturbed: Path) -> None:
    def left_over() -> list[object]:
        held = ray._private.worker.global_worker.core_worker.get_all_reference_counts()  # type: ignore[attr-defined]
        processes = [line for _, line in descendants(os.getpid()) if "workers.rank" in line or "guard.py" in line]
        return [*held, *ray.util.list_named_actors(all_namespaces=True), *processes]

    wait_until(lambda: not left_over())  # what was killed may need a moment
    files = {path.relative_to(undisturbed).parts[0] for path in undisturbed.rglob("*") if path.is_file()}
    assert files == {"config.yaml", "journal", "results", "weights", "trials.parquet"}
    assert not list(undisturbed.rglob(".*"))


def test_the_tables_of_a_run_can_be_printed_at_every_moment(undisturbed: Path, tmp_path: Path) -> None:
    lines = (undisturbed / "journal" / "000001.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal").mkdir()
    config = tiny_config()
    for count in range(len(lines) + 1):
        (tmp_path / "journal" / "000001.jsonl").write_bytes(b"".join(lines[:count]))
        history = History.fold(config, Journal(open_storage(tmp_path)))
        printed = io.StringIO()
        console = Console(file=printed, width=160)
        console.print(summary_table(config, Standing.of(history)))
        console.print(status_table(config, Standing.of(history), 99))
        assert len(printed.getvalue().splitlines()) >= len(history.trials.rows)


def test_a_finished_run_started_again_changes_nothing(undisturbed: Path) -> None:
    before = {
        path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file() and path.name != "driver.lock"
    }
    watcher = Watcher()
    assert run(tiny_config(), undisturbed, watcher) == "the search is complete"
    assert watcher.told_indices == []
    assert {path: path.read_bytes() for path in before} == before


def test_a_stopped_run_goes_on_to_the_same_history(undisturbed: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    folder = RunFolder(path)
    first = Watcher(on_told=lambda index: folder.request_stop() if index == 2 else None)
    assert run(tiny_config(), path, first) == "stopped as asked"
    assert 0 < len(first.told_indices) < len(history_of(undisturbed))
    second = Watcher()
    assert run(tiny_config(), path, second) == "the search is complete"
    assert not set(first.told_indices) & set(second.told_indices)
    pd.testing.assert_frame_equal(history_of(path), history_of(undisturbed), check_exact=True)


def test_a_run_at_its_budget_goes_on_with_a_larger_one_to_the_same_history(undisturbed: Path, tmp_path: Path) -> None:
    small = tiny_config(budget={"max_candidates": 2})
    assert "max_candidates 2" in run(small, tmp_path / "run")
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert (trials[trials["status"] == "completed"]["role"] == "candidate").sum() == 2
    assert run(tiny_config(), tmp_path / "run") == "the search is complete"
    pd.testing.assert_frame_equal(history_of(tmp_path / "run"), history_of(undisturbed), check_exact=True)


def test_a_spent_budget_asked_again_spends_nothing_more(local_ray: None, tmp_path: Path) -> None:
    over = tiny_config(budget={"deadline": "2000-01-01T00:00:00Z"})
    assert "deadline" in run(over, tmp_path / "run")
    assert records(tmp_path / "run", "dispatched") == []
    path = tmp_path / "run"
    folder = RunFolder(path)
    run(tiny_config(), path, Watcher(on_told=lambda index: folder.request_stop()))
    told = len(records(path, "told"))
    for _ in range(2):
        watcher = Watcher()
        assert "deadline" in run(over, path, watcher)
        assert watcher.told_indices == []
    assert len(records(path, "told")) == told


NO_MORE_THAN_A_CANDIDATE: dict[str, Any] = {"parallel": None, "final": None, "budget": {"max_candidates": 1}}


def test_a_job_whose_workers_always_die_stops_the_run_uncharged(local_ray: None, tmp_path: Path) -> None:
    def kill_all_but_the_start(roles: set[str]) -> None:
        if roles and "start" not in roles:
            kill_workers()

    config = tiny_config(**NO_MORE_THAN_A_CANDIDATE, fleet={"max_attempts": 2})
    with pytest.raises(RunStopped, match=r"job \d .* was lost 2 times, which is not its fault"):
        run(config, tmp_path / "run", Watcher(on_working=kill_all_but_the_start), UNMOVING)
    assert [record["outcome"]["index"] for record in records(tmp_path / "run", "told")] == [0]


class UnheardFleet:
    """One worker that ends all it is given at once; but of the first task the driver is told that it is lost."""

    num_up = 1

    def __init__(self, config: FleetConfig, settings: NodeSettings, run_name: str) -> None:
        self.tasks: dict[str, Task | None] = {"worker-0": None}
        self.progress = {"worker-0": None}
        self._folder = RunFolder(settings.folder)
        self._unheard: Task | None = None

    @property
    def idle(self) -> list[str]:
        return [name for name, task in self.tasks.items() if task is None]

    def submit(self, names: list[str], task: Task, *blobs: object) -> None:
        (name,) = names
        self.tasks[name] = task

    def wait(self, timeout_s: float) -> list[Completion]:
        task, self.tasks["worker-0"] = self.tasks["worker-0"], None
        if task is None:
            return []
        if task.name == "000000-0-1":
            self._unheard = task
            return [Completion(task=task, worker="worker-0", error=ray.exceptions.ActorUnavailableError("", None))]
        return [Completion(task=task, worker="worker-0", result=self._end(task))]

    def watch(self) -> list[str]:
        if self._unheard is not None:
            self._end(self._unheard)
        self._unheard = None
        return []

    def close(self) -> None:
        pass

    def _end(self, task: Task) -> Result:
        result = Result(
            index=task.index,
            attempt=task.attempt,
            epoch=task.epoch,
            name=task.name,
            status="completed",
            worker="worker-0",
            started_at=0.0,
            finished_at=1.0,
            seconds=1.0,
            metrics={"AP50": 0.5},
            weights=self._folder.write_weights(task.name, b"weights"),
        )
        self._folder.write_result(result)
        return result


@pytest.mark.parametrize("budget", [{"max_candidates": 1}, {"max_gpu_hours": 1e-9}])
def test_a_lost_attempt_that_ends_all_the_same_is_not_run_again(
    budget: dict[str, Any], local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.Fleet", UnheardFleet)
    watcher = Watcher()
    run(tiny_config(budget=budget, fleet={"num_workers": 1}), tmp_path / "run", watcher)
    sent = [record["index"] for record in records(tmp_path / "run", "dispatched")]
    assert any("was lost" in note for note in watcher.notes)
    assert watcher.told_indices == sent == sorted(set(sent))


def test_every_detectors_weights_are_kept_as_long_as_that_is_asked(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.Fleet", UnheardFleet)
    trials = [{"architecture": "BB(1,1)", "pretrain": True}, {"architecture": "BB(11,1)"}, {}, {"replicate": 1}]
    asked: dict[str, Any] = {"algorithm": "trials", "trials": trials, "fleet": {"num_workers": 1}}
    path = tmp_path / "run"
    watcher = Watcher()
    run(tiny_config(**asked, keep_weights="all"), path, watcher)
    assert watcher.told_indices == [0, 1, 2, 3, 4]
    kept = sorted(int(file.name[:6]) for file in (path / "weights").iterdir())
    assert kept == [1, 2, 3, 4]  # not the pretraining's, which no trial needs any more
    run(tiny_config(**asked), path)  # it has ended; the key is another now
    assert [int(file.name[:6]) for file in (path / "weights").iterdir()] == [1]


def candidate_whose_ranks_are_killed(path: Path, trainer: str) -> "pd.Series[Any]":
    """What is told of it: each of its attempts that tells of progress is killed."""

    def kill_the_candidate(roles: set[str]) -> None:
        if "candidate" in roles:
            kill_ranks()

    serial = {"acceptance": "paper", "pace": "steady", "in_flight": 1}
    config = tiny_config(**NO_MORE_THAN_A_CANDIDATE, serial=serial, fleet={"num_workers": 1})  # no other rank is killed
    run(config, path, Watcher(on_training=kill_the_candidate), trainer)
    trials = pd.read_parquet(path / "trials.parquet")
    return trials[trials["role"] == "candidate"].iloc[0]


def test_a_candidate_whose_rank_is_killed_twice_at_one_step_is_told_as_failed(local_ray: None, tmp_path: Path) -> None:
    candidate = candidate_whose_ranks_are_killed(tmp_path / "run", UNMOVING)
    assert (candidate["status"], candidate["attempts"]) == ("failed", 2)
    assert candidate["error"].startswith("its process was ended by SIGKILL")
    assert candidate["error"].endswith("the second time")


def test_a_candidate_that_gets_further_each_time_may_lose_its_rank_more_often(local_ray: None, tmp_path: Path) -> None:
    candidate = candidate_whose_ranks_are_killed(tmp_path / "run", SLOWLY_MOVING)
    assert (candidate["status"], candidate["attempts"]) == ("completed", 4)


def test_a_killed_worker_is_replaced_and_its_job_runs_again_uncharged(undisturbed: Path, tmp_path: Path) -> None:
    path, kills = tmp_path / "run", list[bool]()

    def kill_once(roles: set[str]) -> None:
        if held(path, 0).exists() and not kills:
            kills.append(kill_workers())

    config, watcher = tiny_config(), Watcher(on_working=kill_once)
    run(config, path, watcher, HELD)
    assert kills == [True] and any("runs again" in note for note in watcher.notes)
    trials = pd.read_parquet(path / "trials.parquet")
    assert trials["attempts"].tolist() == [2] + [1] * (len(trials) - 1)
    pd.testing.assert_frame_equal(history_of(path), history_of(undisturbed), check_exact=True)


def test_a_failed_start_stops_the_run_and_goes_on_once_it_is_mended(local_ray: None, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"no weights")
    config = tiny_config(start={"weights": str(weights)}, fleet={"num_workers": 1})
    with pytest.raises(RunStopped, match="job 0 .start, BB.1,1,1.. failed"):
        run(config, tmp_path / "run")
    with pytest.raises(RunStopped, match="job 0"):  # it is tried again, and fails again
        run(config, tmp_path / "run")
    torch.save(build_backbone(config.start.spec).state_dict(), weights)
    path = tmp_path / "run"
    folder = RunFolder(path)
    stop_early = Watcher(on_told=lambda index: folder.request_stop())
    assert run(config, path, stop_early) == "stopped as asked"
    assert stop_early.told_indices[0] == 0
    assert pd.read_parquet(path / "trials.parquet")["attempts"][0] == 3


def test_lost_weights_stop_with_the_job_and_the_file(local_ray: None, tmp_path: Path) -> None:
    path = tmp_path / "run"
    folder = RunFolder(path)
    stop_early = Watcher(on_told=lambda index: folder.request_stop())
    config = tiny_config(fleet={"num_workers": 1})
    run(config, path, stop_early)
    for file in (path / "weights").iterdir():
        file.unlink()
    with pytest.raises(RunStopped, match=r"weights of job \d+, .*safetensors"):
        run(config, path)


def test_a_second_driver_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first, second = RunLock(open_storage(tmp_path / "run")), RunLock(open_storage(tmp_path / "run"))
    assert not first.is_held()
    assert first.acquire()
    assert second.is_held()
    assert not second.acquire()
    first.release()
    assert not second.is_held()
    assert second.acquire()
    second.release()


def test_a_folder_whose_first_driver_died_while_making_it_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / ".config.yaml.123.tmp").write_text("half of a con")
    lock = RunLock(open_storage(path))
    assert lock.acquire()
    folder, changed = open_run(tiny_config(), open_storage(path))
    assert folder.has_config() and changed == {}
    lock.release()


def test_another_config_or_a_strange_folder_is_refused(tmp_path: Path) -> None:
    open_run(tiny_config(), open_storage(tmp_path / "run"))
    _, changed = open_run(tiny_config(fleet={"num_workers": 1}), open_storage(tmp_path / "run"))
    assert changed == {"fleet.num_workers": (2, 1)}
    with pytest.raises(UserError, match=r"serial.n_stuck was 2, is 9"):
        open_run(tiny_config(serial={"n_stuck": 9}), open_storage(tmp_path / "run"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(UserError, match="neither empty nor a run's folder"):
        open_run(tiny_config(), open_storage(tmp_path / "other"))


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in Journal(open_storage(path)).read() if record["type"] == kind]


def start_search(config: Path, path: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "orchestrator.cli", "search", str(config), "--run", str(path)]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def await_moment(process: "subprocess.Popen[bytes]", log: Path, moment: Callable[[], bool]) -> None:
    """Returns as soon as it has come; the process may not end before."""
    while not moment():
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended by itself with {process.wait(timeout=0.05)}: {log.read_text()}")


@pytest.mark.parametrize(
    ("number", "reason", "num_told"), [(signal.SIGINT, "interrupted", 0), (signal.SIGTERM, "asked to end", 1)]
)
def test_a_driver_that_is_asked_to_go_says_what_goes_on_and_leaves_nobody_behind(
    number: signal.Signals, reason: str, num_told: int, tmp_path: Path
) -> None:
    # However long it takes to be seen, the training that follows does not end before.
    config = write_config(
        tmp_path / "tiny.yaml",
        start={"training": {"epochs": 10_000 if num_told == 0 else 1}},
        training={"epochs": 10_000},
        final={"epochs": 1},
        fleet={"num_workers": 1},
    )
    path, log = tmp_path / "run", tmp_path / "log"
    process = start_search(config, path, log)
    await_moment(
        process,
        log,
        lambda: (
            len(records(path, "told")) == num_told
            and any("workers.rank" in command for _, command in descendants(process.pid))
        ),
    )
    family = [pid for pid, _ in descendants(process.pid)]
    process.send_signal(number)
    assert process.wait() == 130
    assert log.read_text().endswith("interrupted. Nothing finished is lost; the same command goes on.\n")
    assert "Traceback" not in log.read_text() and "***" not in log.read_text()
    assert [record["reason"] for record in records(path, "ended")] == [reason]
    assert not RunLock(open_storage(path)).is_held()
    wait_until(lambda: not any(map(is_alive, family)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_of_the_driver_at_bad_moments_changes_nothing(undisturbed: Path, tmp_path: Path) -> None:
    config, path, log = tmp_path / "tiny.yaml", tmp_path / "run", tmp_path / "log"
    write_config(config, fleet={"num_workers": 1})
    moments: list[Callable[[], bool]] = [
        lambda: len(list((path / "results").glob("000001-*"))) >= 1,  # a result is stored, perhaps not told
        lambda: any(record["job"]["role"] == "refresh" for record in records(path, "decided")),
        lambda: any(record["job"]["phase"] == "parallel" for record in records(path, "decided")),
    ]
    for moment in moments:
        process = start_search(config, path, log)
        await_moment(process, log, moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start_search(config, path, log)
    assert process.wait() == 0, log.read_text()
    pd.testing.assert_frame_equal(history_of(path), history_of(undisturbed), check_exact=True)
    told = [record["outcome"]["index"] for record in records(path, "told")]
    assert told == list(range(len(told)))
    assert list(repeated(RunFolder(path))) == []
