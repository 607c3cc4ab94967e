"""Runs recorded elsewhere: every point once, and no harm to the run."""

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import RunConfig
from orchestrator.config_files import may_change
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.recorders.recording import Point, Recorder, RecordingObserver, check_recorders, make_recorders
from orchestrator.row_values import Row
from tests.orchestrator.made_up_runs import MadeUpRun, search_config
from workers.run_folder import RunFolder
from workers.storage import open_storage


class Kept:
    """A recorder that keeps what it is given; a test may have it fail, or wait."""

    def __init__(self, first: int = 0, error: Exception | None = None, waits: threading.Event | None = None) -> None:
        self.points: list[Point] = []
        self.has_ended: bool | None = None
        self._first = first
        self._error = error
        self._waits = waits

    def open(self) -> int:
        if self._waits:
            self._waits.wait(60)
        return self._first

    def record(self, points: Sequence[Point]) -> None:
        self.points += points
        if self._error and self.points:
            raise self._error

    def close(self, has_ended: bool) -> None:
        self.has_ended = has_ended


class Lives:
    """A made-up run whose drivers record it."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.config = config
        self.folder = RunFolder(open_storage(path))
        self.folder.write_config(config.to_yaml())
        self.notes: list[str] = []
        self._run = MadeUpRun(config, losses=0.0)

    def live(self, num_told: int, recorders: dict[str, Recorder], *, close_s: float = 60.0) -> None:
        """One driver more, until so many jobs are told in all."""
        before = History.fold(self.config, Journal(self.folder.storage))
        num_before = len(before.state.population)
        observer = RecordingObserver(self.config, self.folder, recorders, self.notes.append, close_s)
        observer.opened(before, resumed=num_before > 0)
        self._run.live(self.folder, num_told)

        def follow(history: History, record: Record) -> None:
            if record["type"] == "told" and len(history.state.population) > num_before:
                observer.told(history, record)
                observer.working(history, {}, {})

        History.fold(self.config, Journal(self.folder.storage), follow)
        observer.close(has_ended=True)

    def rows(self) -> list[Row]:
        """The trials that are told."""
        history = History.fold(self.config, Journal(self.folder.storage))
        return [row for row in history.trials.rows.since(0) if row["status"] in ("completed", "failed")]


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path / "run", search_config())


def recorded_with(lives: Lives, **recorders: Any) -> dict[str, Recorder]:
    config = search_config(recorders=recorders)
    return make_recorders(config, lives.folder)


def test_points_are_the_trials(lives: Lives) -> None:
    kept = Kept()
    lives.live(20, {"kept": kept})
    rows = lives.rows()
    assert [point.index for point in kept.points] == [row["index"] for row in rows]
    assert [point.values.get("search/score") for point in kept.points] == [row["score"] for row in rows]
    assert [point.values["cost/gflops"] for point in kept.points] == [row["gflops"] for row in rows]
    hours = [point.values["time/gpu_hours"] for point in kept.points]
    assert hours == sorted(hours) and hours[-1] == pytest.approx(sum(row["seconds"] for row in rows) / 3600)
    best = [point.values["search/best"] for point in kept.points]
    assert best == sorted(best) and kept.has_ended


def test_a_driver_that_goes_on_makes_the_same_points_again(lives: Lives) -> None:
    first, second, third = Kept(), Kept(), Kept(first=15)
    lives.live(10, {"kept": first})
    lives.live(20, {"kept": second})
    lives.live(30, {"kept": third})
    assert second.points[: len(first.points)] == first.points
    assert [point.index for point in third.points] == [row["index"] for row in lives.rows()][15:]


def test_a_recorder_that_fails_is_noted_once_and_the_others_go_on(lives: Lives) -> None:
    failing, kept = Kept(error=OSError("no space left on device")), Kept()
    lives.live(20, {"failing": failing, "kept": kept})
    assert len(lives.notes) == 1
    assert "recorders.failing" in lives.notes[0] and "no space left on device" in lives.notes[0]
    assert len(failing.points) == 1 and len(kept.points) == len(lives.rows())


def test_a_recorder_that_hangs_keeps_nobody(lives: Lives) -> None:
    waits = threading.Event()
    hanging = Kept(waits=waits)
    lives.live(10, {"hanging": hanging}, close_s=0.1)
    assert len(lives.notes) == 1 and "has not taken everything" in lives.notes[0]
    waits.set()


def test_storage_that_fails_when_a_run_goes_on_leaves_the_recorders_out(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives.live(10, {})
    history = History.fold(lives.config, Journal(lives.folder.storage))

    def fail(journal: Journal) -> None:
        raise OSError("timed out")

    monkeypatch.setattr(Journal, "read", fail)
    kept = Kept()
    observer = RecordingObserver(lives.config, lives.folder, {"kept": kept}, lives.notes.append)
    observer.opened(history, resumed=True)
    observer.close(has_ended=True)
    assert len(lives.notes) == 1 and "timed out" in lives.notes[0] and kept.points == []


def test_recorders_are_off_by_default(lives: Lives) -> None:
    assert make_recorders(lives.config, lives.folder) == {}
    assert may_change("recorders.tensorboard.folder") and may_change("recorders.mlflow")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = search_config(recorders={name: {}})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"^recorders\.{name}: .* pip install 'spnas\[{name}\]'"):
        check_recorders(config, is_local=True)


def test_event_files_of_a_run_in_a_bucket_need_a_folder() -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(UserError, match=r"^recorders\.tensorboard\.folder: missing"):
        check_recorders(search_config(recorders={"tensorboard": {}}), is_local=False)
    check_recorders(search_config(recorders={"tensorboard": {"folder": "here"}}), is_local=False)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads in a folder: (step, value) by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


def test_tensorboard_reads_every_point_once_whatever_died(lives: Lives) -> None:
    pytest.importorskip("tensorboard")
    folder = Path(lives.folder.address) / "tensorboard"
    lives.live(10, recorded_with(lives, tensorboard={}))
    for path in folder.iterdir():  # as if the driver had died while it wrote
        path.write_bytes(path.read_bytes()[:-7])
    lives.live(20, recorded_with(lives, tensorboard={}))
    rows, read = lives.rows(), scalars(folder)
    scored = [(row["index"], row["score"]) for row in rows if row["score"] is not None]
    assert [step for step, _ in read["search/score"]] == [index for index, _ in scored]
    assert [value for _, value in read["search/score"]] == pytest.approx([score for _, score in scored])
    assert [step for step, _ in read["cost/gflops"]] == [row["index"] for row in rows]
    assert "metrics/AP/car" in read
    assert len(list(folder.iterdir())) == 1


def test_files_of_others_stay_where_they_are(lives: Lives, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    theirs = tmp_path / "logs" / "events.out.tfevents.1.host.0123456789ab.spnas"
    theirs.parent.mkdir()
    theirs.write_bytes(b"of another run")
    for _ in range(2):
        lives.live(10, recorded_with(lives, tensorboard={"folder": str(tmp_path / "logs")}))
    assert theirs.read_bytes() == b"of another run" and len(list(theirs.parent.iterdir())) == 2


@pytest.mark.slow  # MLflow makes a database first
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # within MLflow's own store
def test_mlflow_has_the_config_and_every_point_once(lives: Lives, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic", reason="MLflow's own store of a test needs SQLAlchemy and alembic")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    recorders = {"mlflow": {"tracking_uri": store, "experiment": "tests"}}
    lives.live(10, recorded_with(lives, **recorders))
    client = mlflow.tracking.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.info.run_name == "run" and run.info.status == "FINISHED"
    assert run.data.params["start.architecture"] == lives.config.start.architecture

    lives.live(20, recorded_with(lives, **recorders))
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    read = client.get_metric_history(run.info.run_id, "search/score")
    scored = [(row["index"], row["score"]) for row in lives.rows() if row["score"] is not None]
    assert [(point.step, point.value) for point in read] == scored
    assert run.data.tags["spnas.last_job"] == str(lives.rows()[-1]["index"])

    client.delete_run(run.info.run_id)
    lives.live(30, recorded_with(lives, **recorders))
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "cost/gflops")) == len(lives.rows())
