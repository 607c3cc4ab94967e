"""How long a search takes with as many workers as it has candidates under way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.shared.schedule import seconds_with_workers, waits_for
from tests.orchestrator.search.fake_driver import FakeDriver, search_settings

START, CHILD, CONTROL, AGAIN = "start", "candidate", "control", "confirmation"


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        (1, 10 + 5 + 1 + 1 + 4),
        # the start; then 5 beside 1 told with it, and so 1 and 4 begin at 15
        (2, 10 + 5 + 4),
        # 5, 1, 1 begin at 10 and are told at 15, when 4 begins
        (3, 10 + 5 + 4),
        (4, 10 + 5),
    ],
)
def test_times_are_those_worked_out_by_hand(in_flight: int, expected: float) -> None:
    assert seconds_with_workers([10, 5, 1, 1, 4], [START, CHILD, CHILD, CHILD, CHILD], in_flight) == expected


def test_a_long_job_holds_up_those_after_it() -> None:
    roles = [START, *[CHILD] * 4]
    # two under way: 1 and 2 begin at 0, job 2 is told with 1 at 9 though done at 1; 3 at 9, 4 at 9
    assert seconds_with_workers([0, 9, 1, 2, 3], roles, 2) == 12
    assert seconds_with_workers([0, 1, 9, 2, 3], roles, 2) == 9 + 3  # 3 runs from 1 to 3, 4 once 2 is told at 9


def test_barriers_run_alone() -> None:
    roles = [START, CHILD, CHILD, "pretrain", "refresh", CHILD, CHILD, "final"]
    assert seconds_with_workers([1, 2, 3, 10, 20, 4, 5, 100], roles, 8) == 1 + 3 + 10 + 20 + 5 + 100
    assert seconds_with_workers([], [], 4) == 0


def test_generations_follow_each_other() -> None:
    roles = [START, CONTROL, CHILD, CHILD, CONTROL, CHILD, CHILD, AGAIN, CONTROL, CONTROL, CHILD]
    assert waits_for(roles, 4) == [-1, 0, 0, 0, 3, 3, 3, 6, 6, 8, 8]
    # three confirmations with their controls slide through the same window
    assert waits_for([START, CONTROL, CHILD, AGAIN, CONTROL, AGAIN, CONTROL, AGAIN, CONTROL], 4) == [
        -1, 0, 0, 2, 2, 2, 2, 3, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("acceptance", ["paper", "paired"])
@pytest.mark.parametrize("in_flight", [2, 4, 16])
@pytest.mark.parametrize("confirmations", [0, 1, 3])
def test_a_job_waits_for_what_the_search_waits_for(acceptance: str, in_flight: int, confirmations: int) -> None:
    num_told: list[int] = []

    def note(driver: FakeDriver) -> None:
        num_told.extend([len(driver.told)] * (len(driver.jobs) - len(num_told)))

    serial = {
        "acceptance": acceptance,
        "in_flight": in_flight,
        "confirmations": confirmations,
        "n_stuck": 40,
        "max_candidates": 40,
        "num_rounds": 1,
        "min_blocks": 4,
    }
    driver = FakeDriver(
        search_settings(serial=serial, train_full=True, max_failures_in_a_row=99),
        judge=lambda job: job.index % 7 + len(job.morphs) / 10,
        num_workers=in_flight,
        on_change=note,
    ).run()
    assert [index + 1 for index in waits_for(driver.roles, in_flight)] == num_told


@given(st.lists(st.floats(0, 100), max_size=12), st.integers(1, 16))
def test_workers_never_take_longer_than_one_and_never_less_than_their_share(seconds: list[float], num: int) -> None:
    roles = [START, *[CHILD] * len(seconds)][: len(seconds)]
    needed = seconds_with_workers(seconds, roles, num)
    assert needed <= sum(seconds) * (1 + 1e-9) and needed >= max([sum(seconds) / num, *seconds]) * (1 - 1e-9)
    assert num > 1 or needed == pytest.approx(sum(seconds))
