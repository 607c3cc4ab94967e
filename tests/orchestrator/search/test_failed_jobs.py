"""What a failure means: for the search nothing, or the run's stop."""

import pytest

from orchestrator.search.protocol import Job, Outcome
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Score, Stopped, constant, search_settings


@pytest.mark.parametrize("role", ["pretrain", "start", "refresh", "final"])
@pytest.mark.parametrize("phase", ["serial", "parallel", "final"])
def test_a_failed_barrier_job_stops_the_run_and_can_be_told_again(role: str, phase: str) -> None:
    serial = {"n_stuck": 1, "in_flight": 1}
    given = search_settings(serial=serial, parallel={"n_stuck": 1}, pretrain_start=True, train_full=True)
    plain = FakeDriver(given, judge=constant).run()
    reached = [job for job in plain.jobs if (job.role, job.phase) == (role, phase)]
    if not reached:
        return

    driver = FakeDriver(given, judge=constant).run(lambda driver: driver.next_job == reached[0])
    before = driver.state.summary()
    with pytest.raises(Stopped, match=rf"job {reached[0].index} \({role}, .*\) failed: out of memory"):
        driver.finish(FAILED)
    assert driver.state.summary() == before
    assert driver.decide() == []
    driver.run()
    assert (driver.jobs, driver.told, driver.state) == (plain.jobs, plain.told, plain.state)


def test_a_streak_of_failed_candidates_stops_the_run() -> None:
    driver = FakeDriver(search_settings(max_failures_in_a_row=3))
    driver.finish(0.5, FAILED, FAILED)
    whole = (
        r"3 candidates in a row failed, 3 of them with: out of memory; the last: job 3 \(candidate, .*\) failed: out of"
    )
    with pytest.raises(Stopped, match=whole):
        driver.finish(FAILED)
    driver.finish(0.4)  # the repaired run tells the same job
    assert driver.state.counter == 1


def test_a_completed_candidate_breaks_the_streak() -> None:
    driver = FakeDriver(search_settings(max_failures_in_a_row=3))
    driver.finish(0.5, FAILED, FAILED, 0.4, FAILED, FAILED, 0.4, FAILED, FAILED)
    with pytest.raises(Stopped):
        driver.finish(FAILED)


def test_completed_controls_do_not_break_the_streak_of_candidates() -> None:
    given = search_settings(serial={"acceptance": "paired", "in_flight": 2}, max_failures_in_a_row=3)
    driver = FakeDriver(given)
    driver.finish(0.5, 0.5, FAILED, 0.5, FAILED, 0.5)
    with pytest.raises(Stopped, match="3 candidates in a row failed"):
        driver.finish(FAILED)


def test_controls_that_always_fail_stop_the_run() -> None:
    def judge(job: Job) -> Score:
        return FAILED if job.role == "control" else 0.4

    given = search_settings(serial={"acceptance": "paired"}, max_failures_in_a_row=5)
    driver = FakeDriver(given, judge=judge)
    with pytest.raises(Stopped, match="5 controls in a row failed"):
        driver.run()
    assert driver.state.counter == 0


def test_the_streak_is_counted_in_index_order_not_in_that_of_finishing() -> None:
    def judge(job: Job) -> Score:
        return FAILED if job.role == "candidate" and job.index % 3 else 0.4

    given = search_settings(serial={"in_flight": 7, "n_stuck": 5, "num_rounds": 1}, max_failures_in_a_row=3)
    for order_seed in range(20):
        assert FakeDriver(given, judge=judge, num_workers=7, order_seed=order_seed).run().done


def test_a_streak_stops_with_the_reason_that_most_have_in_common() -> None:
    driver = FakeDriver(search_settings(serial={"acceptance": "paper", "pace": "steady"}, max_failures_in_a_row=3))
    driver.finish(0.5)

    def failed(error: str) -> Outcome:
        return Outcome(index=min(driver.state.pending), status="failed", error=error)

    for error in ("out of memory", "loss became nan"):
        assert driver.algorithm.objection(driver.state, failed(error)) is None
        driver.algorithm.tell(driver.state, failed(error))
    objection = driver.algorithm.objection(driver.state, failed("out of memory"))
    assert objection is not None
    assert objection.startswith("3 candidates in a row failed, 2 of them with: out of memory; the last: job 3 ")
