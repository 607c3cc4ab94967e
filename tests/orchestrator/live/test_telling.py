"""What a driver tells becomes lines and snapshots."""

import re
from pathlib import Path

import pytest

from orchestrator.live.snapshot import MAX_BYTES, Snapshot
from orchestrator.live.telling import Teller
from orchestrator.search.protocol import Job
from tests.orchestrator.live.seen import Seen, replayed, snapshot
from tests.orchestrator.made_up_runs import made_up_run, search_config
from workers.task import Progress

CONFIG = search_config(budget={"max_candidates": 100, "max_gpu_hours": 50})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("told") / "run"
    made_up_run(path, CONFIG, (30,), killed=True)
    return path


def test_every_outcome_is_a_line_and_so_is_a_change_of_the_baseline(path: Path) -> None:
    view = Seen()
    _, history = replayed(path, CONFIG, view)
    assert view.said[0].startswith("a new search from BNB(111,d11,d111,d11)") and view.said[0].endswith("seed 0")
    outcomes = [line for line in view.said if "  #" in line]
    assert len(outcomes) == len(history.state.population) >= 30
    assert outcomes[0].split()[:6] == ["serial", "1", "#0", "start", "AP", "36.00"]
    changes = [line for line in view.said if "the baseline is now" in line]
    assert len(changes) == len(history.baselines)


def test_a_driver_that_goes_on_counts_what_was_told_before_it(path: Path) -> None:
    view = Seen()
    resumed, history = replayed(path, CONFIG, view, from_told=20)
    whole, _ = replayed(path, CONFIG)
    assert re.match("going on after 2[0-9] finished jobs, [0-9]+ pending", view.said[0])
    first, second = resumed.snapshot(history, {}, {}), whole.snapshot(history, {}, {})
    for name in ("start", "best", "num_told", "num_candidates", "num_failed", "num_pending", "limits", "counter"):
        assert getattr(first, name) == getattr(second, name), name
    assert first.num_told >= 30 and first.start is not None and first.best is not None
    assert first.best.score > first.start.score


def test_a_snapshot_has_the_jobs_of_all_workers_and_what_they_have_told(path: Path) -> None:
    view = Seen()
    teller, history = replayed(path, CONFIG, view)
    jobs: dict[str, Job | None] = dict(zip(("worker-0", "worker-1"), history.state.pending.values(), strict=False))
    progress = Progress(epoch=4, num_epochs=3, step=7, num_steps=9, loss=0.5, images_per_second=3.0)
    teller.working(history, jobs | {"worker-2": None}, {"worker-0": progress, "worker-1": None})
    first, second, third = view.shown[-1].workers
    assert (first.epoch, first.step, first.loss, first.seconds_left, first.top1) == (3, 7, 0.5, None, None)
    assert second.phase == "getting ready" and second.epoch is None
    assert third.job is None
    assert [event.text for event in view.shown[-1].events] == view.said[-12:]


def test_time_left_is_told_only_where_something_bounds_it_and_a_pace_was_seen(path: Path) -> None:
    teller, history = replayed(path, CONFIG)
    seen = teller.snapshot(history, {}, {})
    assert seen.budget_left_s is not None and seen.round_left_s is not None
    assert seen.budget_left_of in ("budget.max_candidates", "budget.max_gpu_hours")

    unbounded = Teller(search_config())
    unbounded.opened(history, resumed=True)
    seen = unbounded.snapshot(history, {}, {})
    assert seen.budget_left_s is None and seen.round_left_s is None and seen.limits == ()


def test_a_deadline_without_a_zone_is_utc(path: Path) -> None:
    _, history = replayed(path, CONFIG)
    past = Teller(search_config(budget={"deadline": "2020-01-01T00:00:00"})).snapshot(history, {}, {})
    assert (past.budget_left_s, past.budget_left_of) == (0.0, "budget.deadline")
    future = Teller(search_config(budget={"deadline": "2999-01-01T00:00:00Z"})).snapshot(history, {}, {})
    assert future.budget_left_s is not None and future.budget_left_s > 1e9


def test_a_snapshot_survives_its_file() -> None:
    assert Snapshot.from_json(snapshot().to_json()) == snapshot()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"schema_version": 1}',
        snapshot().to_json().replace(b'"schema_version": 1', b'"schema_version": 2'),
        snapshot().to_json().replace(b'"number": 1', b'"number": "many"'),
        snapshot().to_json().replace(b"0.402", b"NaN"),
        snapshot().to_json().replace(b"0.402", b"1e999"),
        snapshot().to_json() + b" " * MAX_BYTES,
        b"\xff\xfe",
    ],
)
def test_whatever_else_a_file_holds_is_no_snapshot(data: bytes) -> None:
    assert Snapshot.from_json(data) is None


def test_text_from_a_file_can_not_command_a_terminal() -> None:
    read = Snapshot.from_json(snapshot(title="\x1b]0;owned\x07\n\x1b[2J").to_json())
    assert read is not None and read.title.isprintable()
