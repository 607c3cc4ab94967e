"""One seed, one search: the history does not depend on the workers."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.search.protocol import Job
from tests.orchestrator.search.fake_driver import FakeDriver, made_up, search_settings

RULES = ("paper", "paired")


def whole_search(acceptance: str, seed: int) -> Any:
    return search_settings(
        seed=seed,
        serial={"acceptance": acceptance, "n_stuck": 4, "in_flight": 5, "num_morphs": 2, "confirmations": 2},
        parallel={"n_stuck": 4, "in_flight": 3},
        pretrain_start=seed % 2 == 1,
        train_full=True,
        max_failures_in_a_row=100,
    )


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), order_seed=st.integers(0, 2**32))
@example(seed=0, order_seed=0)
def test_any_number_of_workers_in_any_order_gives_the_same_history(acceptance: str, seed: int, order_seed: int) -> None:
    alone = FakeDriver(whole_search(acceptance, seed)).run()
    assert alone.done == "the search is complete"
    for num_workers in (2, 7):
        other = FakeDriver(whole_search(acceptance, seed), num_workers=num_workers, order_seed=order_seed).run()
        assert other.jobs == alone.jobs
        assert other.told == alone.told
        assert other.state == alone.state


@pytest.mark.parametrize("acceptance", RULES)
def test_another_seed_gives_another_search(acceptance: str) -> None:
    first, second = (FakeDriver(whole_search(acceptance, seed)).run() for seed in (2, 4))
    assert [job.spec for job in first.jobs] != [job.spec for job in second.jobs]


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_barrier_jobs_run_alone_after_all_before_them(acceptance: str, seed: int) -> None:
    barriers = set()

    def check(driver: FakeDriver) -> None:
        pending = list(driver.state.pending.values())
        if any(job.barrier for job in pending):
            (barrier,) = pending
            assert driver.state.population.keys() == set(range(barrier.index))
            barriers.add(barrier.role)

    FakeDriver(whole_search(acceptance, 2 * seed + 1), num_workers=7, on_change=check).run()
    assert barriers == {"pretrain", "start", "refresh", "final"}


@pytest.mark.parametrize("acceptance", RULES)
@pytest.mark.parametrize(("serial", "parallel"), [(1, 1), (2, 5), (6, 3)])
def test_in_flight_is_the_most_that_is_pending(acceptance: str, serial: int, parallel: int) -> None:
    most = {"serial": 0, "parallel": 0}

    def check(driver: FakeDriver) -> None:
        phase = driver.state.phase
        most[phase] = max(most[phase], len(driver.state.pending))

    given = search_settings(
        serial={"acceptance": acceptance, "in_flight": serial, "n_stuck": 4},
        parallel={"in_flight": parallel, "n_stuck": 4},
        max_failures_in_a_row=100,
    )
    FakeDriver(given, num_workers=7, on_change=check).run()
    least = 2 if acceptance == "paired" else 1  # a control and a child
    assert most == {"serial": max(serial, least), "parallel": max(parallel, least)}


def test_the_steady_pace_keeps_in_flight_jobs_pending_until_it_is_stuck() -> None:
    driver = FakeDriver(search_settings(serial={"in_flight": 3, "n_stuck": 5}), judge=lambda job: 0.5)
    driver.finish(0.5)
    for num_told in range(5):
        assert len(driver.state.pending) == 3, num_told
        driver.finish(0.4)
    assert len(driver.state.pending) == 2


def test_an_outcome_out_of_order_is_refused() -> None:
    driver = FakeDriver(search_settings(), judge=made_up)
    driver.finish(0.5)
    with pytest.raises(AssertionError, match="not the next one to be told"):
        driver.algorithm.tell(driver.state, driver.outcome(driver.jobs[-1], 0.6))


def test_a_decided_job_that_is_not_the_next_one_is_refused() -> None:
    driver = FakeDriver(search_settings())
    job: Job = driver.jobs[0]
    with pytest.raises(AssertionError, match="job 0 is not the next one, 1"):
        driver.algorithm.enter(driver.state, job)
