"""The paired rule: candidates are judged against a control that trained alike, and have to win twice."""

from typing import Any

import pytest

from models.morphism import apply_all
from orchestrator.search.protocol import live_weights
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, constant, search_settings


def paired(
    in_flight: int = 4, mode: str = "max", seed: int = 0, max_failures_in_a_row: int = 5, **serial: Any
) -> FakeDriver:
    """A search whose start has been told, 0.5: job 1 is the control, from 2 on come the children."""
    serial = {"acceptance": "paired", "in_flight": in_flight, "reignite": False, "num_rounds": 1} | serial
    given = search_settings(seed=seed, mode=mode, serial=serial, max_failures_in_a_row=max_failures_in_a_row)
    driver = FakeDriver(given, judge=constant)
    driver.finish(0.5)
    return driver


def test_a_generation_is_a_control_and_children_of_one_baseline_with_one_seed() -> None:
    driver = paired(in_flight=4)
    generation = driver.jobs[1:]
    assert driver.roles[1:] == ["control", "candidate", "candidate", "candidate"]
    assert all((job.parent, job.recipe, job.seed) == (0, "serial", (0, 0, 0)) for job in generation)
    control = generation[0]
    assert (control.spec, control.morphs) == (driver.settings.start, ())
    assert all(apply_all(driver.settings.start, job.morphs) == job.spec for job in generation)


def test_a_generation_has_at_least_one_child() -> None:
    assert paired(in_flight=1).roles[1:] == ["control", "candidate"]


def test_a_generation_is_judged_when_all_of_it_are_told() -> None:
    driver = paired()
    for score in (0.6, 0.55, 0.56):
        assert driver.finish(score) == []
        assert (driver.baseline.index, driver.state.counter) == (0, 0)
    assert driver.finish(0.57) != []
    assert (driver.baseline.index, driver.state.counter) == (1, 3)


def test_every_generation_has_a_new_replicate() -> None:
    driver = paired(in_flight=3, n_stuck=100)
    driver.finish(*[0.4] * 12)
    replicates = [job.seed[2] for job in driver.jobs[1:13]]
    assert replicates == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert {job.seed[:2] for job in driver.jobs[1:13]} == {(0, 0)}


def test_a_child_that_beats_only_the_baseline_does_not_win() -> None:
    driver = paired()
    driver.finish(0.6, 0.55, 0.58, 0.52)
    assert "confirmation" not in driver.roles
    assert driver.state.counter == 3


def test_a_child_that_beats_only_the_control_does_not_win() -> None:
    driver = paired()
    driver.finish(0.4, 0.45, 0.45, 0.45)
    assert "confirmation" not in driver.roles
    assert (driver.baseline.index, driver.state.counter) == (0, 3)


def test_a_control_that_beats_the_baseline_replaces_its_weights_and_score() -> None:
    driver = paired()
    driver.finish(0.6, 0.55, 0.58, 0.52)
    assert (driver.baseline.index, driver.baseline.score) == (1, 0.6)
    assert driver.baseline.spec == driver.settings.start
    assert driver.best_overall == driver.baseline
    assert driver.state.counter == 3  # an improvement of the weights alone is none of the architecture
    assert {(job.parent, job.seed) for job in driver.state.pending.values()} == {(1, (0, 1, 0))}


def test_the_best_winner_runs_again_beside_a_control_on_a_further_seed() -> None:
    driver = paired()
    driver.finish(0.55, 0.6, 0.7, 0.65)
    confirmation, control = driver.state.pending.values()
    assert (confirmation.role, control.role) == ("confirmation", "control")
    assert (confirmation.spec, confirmation.morphs) == (driver.jobs[3].spec, driver.jobs[3].morphs)
    assert (control.spec, control.morphs) == (driver.settings.start, ())
    assert confirmation.seed == control.seed == (0, 0, 1)
    assert confirmation.parent == control.parent == 0


def test_of_equal_winners_the_first_is_confirmed() -> None:
    driver = paired()
    driver.finish(0.55, 0.6, 0.6, 0.6)
    assert driver.next_job.spec == driver.jobs[2].spec


def test_an_accepted_winner_has_its_first_weights_and_the_mean_of_its_runs_as_score() -> None:
    driver = paired()
    driver.finish(0.55, 0.6, 0.75, 0.65, 0.625, 0.5)
    assert (driver.baseline.index, driver.baseline.score) == (3, (0.75 + 0.625) / 2)
    assert driver.baseline.spec == driver.jobs[3].spec
    assert driver.best_overall == driver.baseline
    assert driver.state.counter == 0
    assert {(job.parent, job.seed) for job in driver.state.pending.values()} == {(3, (0, 3, 0))}


def test_a_winner_that_loses_its_confirmation_is_rejected_and_counted_with_its_generation() -> None:
    driver = paired()
    driver.finish(0.45, 0.7, FAILED, 0.4, 0.55, 0.55)
    assert driver.baseline.index == 0
    assert driver.state.counter == 2  # one of the three children failed
    assert driver.next_job.seed == (0, 0, 2)


def test_after_a_lost_confirmation_the_first_control_may_still_replace_the_baseline() -> None:
    driver = paired()
    driver.finish(0.6, 0.7, 0.4, 0.4, 0.5, 0.9)
    assert (driver.baseline.index, driver.baseline.score, driver.state.counter) == (1, 0.6, 3)


def test_more_confirmations_are_averaged_on_seeds_of_their_own() -> None:
    driver = paired(confirmations=3)
    driver.finish(0.55, 0.7, 0.6, 0.6)
    runs = list(driver.state.pending.values())
    assert [job.role for job in runs] == ["confirmation", "control", "confirmation", "control"]
    driver.finish(0.75)
    runs = driver.jobs[5:]
    assert [job.role for job in runs] == ["confirmation", "control"] * 2 + ["confirmation"]
    driver.finish(0.5, 0.25, 0.5)  # it loses the second, and wins on average
    assert [job.seed[2] for job in driver.jobs[5:11]] == [1, 1, 2, 2, 3, 3]
    driver.finish(0.75, 0.5)
    assert (driver.baseline.index, driver.baseline.score) == (2, (0.7 + 0.75 + 0.25 + 0.75) / 4)


def test_without_confirmations_the_first_win_counts() -> None:
    driver = paired(confirmations=0)
    driver.finish(0.55, 0.6, 0.7, 0.65)
    assert (driver.baseline.index, driver.baseline.score, driver.state.counter) == (3, 0.7, 0)


def test_a_failed_control_is_repeated_once_with_another_seed() -> None:
    driver = paired()
    driver.finish(FAILED, 0.6, 0.7, 0.65)
    (control,) = driver.state.pending.values()
    assert (control.role, control.seed, control.parent) == ("control", (0, 0, 1), 0)
    assert {2, 3, 4} <= live_weights(driver.state)  # the generation is not decided
    driver.finish(0.55)
    assert [job.role for job in driver.state.pending.values()] == ["confirmation", "control"]
    assert driver.next_job.spec == driver.jobs[3].spec
    assert driver.next_job.seed == (0, 0, 2)


@pytest.mark.parametrize("children", [0.7, 0.4])
def test_a_control_that_fails_twice_accepts_and_counts_nothing(children: float) -> None:
    driver = paired()
    driver.finish(FAILED, children, children, children, FAILED)
    assert (driver.baseline.index, driver.state.counter) == (0, 0)
    assert [job.role for job in driver.state.pending.values()] == ["control", "candidate", "candidate", "candidate"]
    assert {job.seed for job in driver.state.pending.values()} == {(0, 0, 2)}


def test_a_failed_control_among_confirmations_is_repeated_once_with_another_seed() -> None:
    driver = paired()
    driver.finish(0.45, 0.7, 0.4, 0.4, 0.65, FAILED)
    (control,) = driver.state.pending.values()
    assert (control.role, control.seed, control.spec) == ("control", (0, 0, 2), driver.settings.start)
    driver.finish(0.6)
    assert (driver.baseline.index, driver.baseline.score) == (2, (0.7 + 0.65) / 2)


def test_a_control_among_confirmations_that_fails_twice_accepts_and_counts_nothing() -> None:
    driver = paired()
    driver.finish(0.6, 0.7, 0.4, 0.4, 0.65, FAILED, FAILED)
    assert (driver.baseline.index, driver.state.counter) == (0, 0)
    assert driver.next_job.role == "control"
    assert driver.next_job.seed == (0, 0, 3)


def test_every_failed_control_among_confirmations_has_its_repetition() -> None:
    driver = paired(confirmations=2)
    driver.finish(0.45, 0.7, 0.4, 0.4)
    driver.finish(0.65, FAILED, 0.65, FAILED)
    controls = list(driver.state.pending.values())
    assert [(job.role, job.seed[2]) for job in controls] == [("control", 3), ("control", 4)]
    driver.finish(0.6, 0.6)
    assert driver.baseline.index == 2


def test_a_failed_confirmation_is_not_won() -> None:
    driver = paired()
    driver.finish(0.45, 0.7, 0.4, 0.4, FAILED, 0.2)
    assert (driver.baseline.index, driver.state.counter) == (0, 3)


def test_stuck_is_checked_at_a_generations_end() -> None:
    driver = paired(in_flight=4, n_stuck=4)
    driver.finish(*[0.4] * 4)
    assert driver.state.counter == 3
    driver.finish(*[0.4] * 3)
    assert not driver.done
    driver.finish(0.4)
    assert driver.done
    assert driver.state.counter == 6


def test_an_improvement_in_the_generation_that_would_be_stuck_resets_the_counter() -> None:
    driver = paired(in_flight=4, n_stuck=4)
    driver.finish(*[0.4] * 4)
    driver.finish(0.4, 0.4, 0.4, 0.7, 0.7, 0.4)
    assert driver.state.counter == 0
    assert not driver.done


def test_the_last_generation_has_no_more_children_than_max_candidates_leaves() -> None:
    driver = paired(in_flight=4, max_candidates=5).run()
    assert driver.roles == ["start", "control", *["candidate"] * 3, "control", *["candidate"] * 2]


def test_a_minimised_objective_takes_the_lower_score() -> None:
    driver = paired(mode="min")
    driver.finish(0.45, 0.4, 0.3, 0.6, 0.3, 0.4)
    assert (driver.baseline.index, driver.baseline.score) == (3, 0.3)
    driver.finish(0.2, 0.5, 0.5, 0.5)
    assert (driver.baseline.index, driver.baseline.score, driver.state.counter) == (7, 0.2, 3)


def test_without_inheritance_control_children_and_confirmations_are_built_anew() -> None:
    serial = {"acceptance": "paired", "inherit": False, "reignite": False, "num_rounds": 1, "n_stuck": 8}
    driver = FakeDriver(search_settings(serial=serial), num_workers=3).run()
    assert {"control", "candidate", "confirmation"} <= set(driver.roles)
    assert all((job.parent, job.morphs) == (None, ()) for job in driver.jobs)
    for generation in driver.with_role("control"):
        assert generation.spec == driver.jobs[generation.seed[1]].spec
    confirmed = {str(job.spec.architecture) for job in driver.with_role("confirmation")}
    assert confirmed <= {str(job.spec.architecture) for job in driver.with_role("candidate")}
