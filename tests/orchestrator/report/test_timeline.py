from collections import defaultdict
from typing import Any

import pytest

from orchestrator.report.story import Attempt, Life, Story
from orchestrator.report.timeline import LOST_DRIVER, LOST_WORKER, NOT_NEEDED, Timeline, failure_kinds, worker_uses


def opened(time: float, **previous: int) -> dict[str, Any]:
    return {"type": "opened", "time": time, "previous": {name.removeprefix("e"): n for name, n in previous.items()}}


def dispatched(time: float, index: int, worker: str, attempt: int = 0, epoch: int = 1) -> dict[str, Any]:
    return {
        "type": "dispatched", "time": time, "index": index, "attempt": attempt, "epoch": epoch, "worker": worker
    }  # fmt: skip


def told(time: float, index: int, span: tuple[float, float], error: str = "", **result: Any) -> dict[str, Any]:
    seconds = {"started_at": span[0], "finished_at": span[1], "seconds": span[1] - span[0]}
    return {
        "type": "told",
        "time": time,
        "outcome": {"index": index, "status": "failed" if error else "completed", "error": error},
        "result": {"attempt": 0, "epoch": 1, **seconds, **result},
    }


def followed(*records: dict[str, Any], now: float = 1000.0, runs: bool = False) -> tuple[list[Attempt], list[Life]]:
    timeline = Timeline()
    for record in records:
        timeline.apply(record)
    attempts, lives = timeline.finish(now, runs, defaultdict(lambda: "candidate"))
    return list(attempts), list(lives)


def test_an_attempt_ends_when_its_worker_says_not_when_it_is_told() -> None:
    (attempt,), _ = followed(opened(1), dispatched(10, 0, "w"), told(90, 0, (11, 50)))
    assert (attempt.start, attempt.end, attempt.outcome) == (10, 50, "completed")


@pytest.mark.parametrize("skew", [-5000.0, 5000.0])
def test_a_wrong_clock_of_a_worker_leaves_how_long_it_took(skew: float) -> None:
    (attempt,), _ = followed(opened(1), dispatched(10, 0, "w"), told(90, 0, (11 + skew, 50 + skew)))
    assert (attempt.start, attempt.end) == (10, 49)


def test_an_attempt_is_over_when_its_worker_has_the_next() -> None:
    records = (opened(1), dispatched(10, 0, "w"), dispatched(40, 1, "w"), told(90, 0, (11, 60)), told(91, 1, (41, 80)))
    (first, second), _ = followed(*records)
    assert (first.end, first.outcome, second.start, second.end) == (40, "completed", 40, 80)


def test_a_job_that_is_sent_off_again_was_lost() -> None:
    records = (opened(1), dispatched(10, 0, "v"), dispatched(40, 0, "w", attempt=1), told(90, 0, (41, 80), attempt=1))
    (lost, done), _ = followed(*records)
    assert (lost.outcome, lost.reason, lost.end) == ("lost", LOST_WORKER, 40)
    assert (done.outcome, done.workers) == ("completed", ("w",))


def test_an_earlier_attempt_that_ended_after_all_makes_the_later_one_needless() -> None:
    records = (opened(1), dispatched(10, 0, "v"), dispatched(40, 0, "w", attempt=1), told(60, 0, (11, 35)))
    (done, needless), _ = followed(*records)
    assert (done.outcome, done.end) == ("completed", 35)
    assert (needless.outcome, needless.reason, needless.end) == ("lost", NOT_NEEDED, 60)


def test_what_a_driver_leaves_behind_is_lost_unless_its_result_is_found() -> None:
    (found, lost), lives = followed(
        opened(1), dispatched(10, 0, "v"), dispatched(20, 1, "w"), opened(100, e1=3), told(101, 0, (11, 15))
    )
    assert (found.outcome, found.end) == ("completed", 15)
    assert (lost.outcome, lost.reason, lost.end) == ("lost", LOST_DRIVER, 20)
    assert [(life.epoch, life.begun_at, life.ended_at) for life in lives] == [(1, 1, 20), (2, 100, 101)]


def test_a_life_has_its_epochs_number_though_an_epoch_was_empty() -> None:
    _, lives = followed(opened(1), opened(5, e1=1, e2=0))
    assert [life.epoch for life in lives] == [1, 3]


def test_a_failure_is_told_with_its_reason_and_counted_by_it() -> None:
    records = [opened(1)]
    for index in range(3):
        records += [
            dispatched(10 * index, index, "w"),
            told(10 * index + 9, index, (0, 1), error=f"of kind {index % 2}"),
        ]
    attempts, _ = followed(*records)
    kinds = failure_kinds(tuple(attempts))
    assert [(kind.what, kind.reason, kind.jobs) for kind in kinds] == [
        ("failed", "of kind 0", (0, 2)),
        ("failed", "of kind 1", (1,)),
    ]


def test_a_gang_is_busy_on_all_its_workers() -> None:
    ended = {"type": "ended", "time": 80, "reason": "done"}
    attempts, lives = followed(opened(0), dispatched(10, 0, "w-0+w-1"), told(60, 0, (10, 50)), ended)
    uses = worker_uses(tuple(attempts), tuple(lives))
    assert [(use.name, use.busy_s, use.lost_s, use.idle_s) for use in uses] == [("w-0", 40, 0, 40), ("w-1", 40, 0, 40)]


def test_attempts_of_a_worker_do_not_overlap_and_lie_within_a_life(paper_story: Story, msnas_story: Story) -> None:
    for story in (paper_story, msnas_story):
        lives = {life.epoch: life for life in story.lives}
        by_worker = defaultdict(list)
        for attempt in story.attempts:
            assert lives[attempt.epoch].begun_at <= attempt.start <= attempt.end <= lives[attempt.epoch].ended_at
            for worker in attempt.workers:
                by_worker[worker].append(attempt)
        for attempts in by_worker.values():
            for before, after in zip(attempts, attempts[1:], strict=False):
                assert before.end <= after.start


def test_a_workers_time_is_busy_lost_or_idle(paper_story: Story) -> None:
    length = sum(life.ended_at - life.begun_at for life in paper_story.lives)
    assert {use.name for use in paper_story.workers} == {f"worker-{number}" for number in range(8)}
    for use in paper_story.workers:
        assert use.busy_s + use.lost_s + use.idle_s == pytest.approx(length)
    assert sum(use.lost_s for use in paper_story.workers) > 0


def test_every_told_job_has_one_attempt_that_ended(paper_story: Story) -> None:
    ended = [attempt.job for attempt in paper_story.attempts if attempt.outcome in ("completed", "failed")]
    assert sorted(ended) == [trial.index for trial in paper_story.trials if trial.is_told]
