"""The time that the driver's order rule takes for given jobs, against what any rule would."""

from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.simulation.makespan import makespan


def handed_out_in_order(durations: list[float], num_workers: int) -> float:
    """The time where each job goes to whoever is free first, whatever is pending."""
    free = [0.0] * num_workers
    for seconds in durations:
        heappush(free, heappop(free) + seconds)
    return max(free)


@settings(max_examples=15)
@given(
    durations=st.lists(st.integers(1, 100).map(float), min_size=1, max_size=12),
    num_workers=st.integers(1, 5),
    in_flight=st.integers(1, 6),
)
def test_no_run_is_faster_than_its_work_or_slower_than_one_after_the_other(
    durations: list[float], num_workers: int, in_flight: int
) -> None:
    seconds = makespan(durations, num_workers=num_workers, in_flight=in_flight)
    assert seconds >= handed_out_in_order(durations, num_workers) - 1e-6
    assert seconds <= sum(durations) + 1e-6
    if in_flight >= len(durations):
        assert seconds == pytest.approx(handed_out_in_order(durations, num_workers))
    if min(num_workers, in_flight) == 1:
        assert seconds == pytest.approx(sum(durations))


@pytest.mark.parametrize("num_workers", [2, 16])
def test_jobs_that_differ_four_times_cost_little_with_four_times_as_many_in_flight_as_workers(num_workers: int) -> None:
    rng = Random(num_workers)
    durations = [rng.uniform(1.0, 4.0) for _ in range(12 * num_workers)]
    seconds = makespan(durations, num_workers=num_workers, in_flight=4 * num_workers)
    assert handed_out_in_order(durations, num_workers) / seconds >= 0.97


def test_no_jobs_take_no_time() -> None:
    assert makespan([], num_workers=2, in_flight=2) == 0.0
