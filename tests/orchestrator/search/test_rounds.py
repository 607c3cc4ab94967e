"""Rounds, reignition and the hand-over from level to level, as in Algorithm 1."""

import pytest

from models.architecture import NetworkSpec
from tests.orchestrator.search.fake_driver import FakeDriver, constant, search_settings

PAPER = {"acceptance": "paper", "n_stuck": 20, "num_rounds": 2, "reignite": True}


def algorithm_1(scores: list[float], n_stuck: int, num_rounds: int) -> list[str]:
    """Algorithm 1's serial level as printed, one candidate at a time, with the counter that it forgets to increment.

    `scores` are those of the detectors in the order of their training: start, candidates, and one after each
    reignition. Returns what is done, in order.
    """
    remaining = iter(scores)
    best = next(remaining)
    done = ["start"]
    for _ in range(num_rounds):
        count = 0
        while count < n_stuck:
            accuracy = next(remaining)
            done.append("candidate")
            if accuracy > best:
                best, count = accuracy, 0
            else:
                count += 1
        best = next(remaining)
        done += ["pretrain", "refresh"]
    return done


def test_counters_and_rounds_are_those_of_algorithm_1() -> None:
    # One job in flight is the paper's loop. Round 1: better at its candidates 3, 5 and 24, then 20 not better; after
    # the refresh (lower) round 2: better at 1 and 20, then 20 not better.
    first = [0.4] * 2 + [0.6, 0.5, 0.7] + [0.6] * 18 + [0.71] + [0.7] * 20
    second = [0.56] + [0.5] * 18 + [0.57] + [0.5] * 20
    scores = [0.5, *first, 0.55, *second, 0.54]
    trained = iter(scores)
    driver = FakeDriver(
        search_settings(serial=PAPER | {"in_flight": 1}),
        judge=lambda job: 0.9 if job.kind == "pretrain" else next(trained),
    ).run()
    assert driver.roles == algorithm_1(scores, n_stuck=20, num_rounds=2)
    assert [job.round for job in driver.jobs] == [1] * (1 + 44 + 2) + [2] * (40 + 2)
    assert driver.done == "the search is complete"

    counters = [told.summary["counter"] for told in driver.told]
    assert counters[: 1 + 5] == [0, 1, 2, 0, 1, 0]
    assert counters[5 : 5 + 20] == [*range(19), 0]
    assert counters[24:45] == list(range(21))
    assert counters[45:48] == [20, 0, 0]  # the pretraining, the refresh, the first of round 2
    assert max(counters) == 20


def test_twenty_jobs_in_flight_play_the_same_rounds() -> None:
    driver = FakeDriver(search_settings(serial=PAPER | {"in_flight": 20}), judge=constant, num_workers=7).run()
    # The twentieth candidate that is not better stops the deciding; nineteen more are pending then.
    assert driver.roles == ["start"] + (["candidate"] * 39 + ["pretrain", "refresh"]) * 2


def test_reignition_pretrains_a_fresh_build_and_the_refresh_sets_the_baseline_whatever_its_score() -> None:
    given = search_settings(seed=1, serial={"in_flight": 1, "n_stuck": 2, "num_morphs": 6})
    driver = FakeDriver(given, judge=constant)
    driver.finish(0.5, 0.6, 0.4, 0.4)
    found = driver.baseline
    assert "s" in found.spec.shortcuts  # swaps have left shortcuts that no fresh build has
    (pretrain,) = driver.state.pending.values()
    assert (pretrain.kind, pretrain.role, pretrain.recipe, pretrain.parent) == (
        "pretrain",
        "pretrain",
        "reignition",
        None,
    )
    assert pretrain.spec == NetworkSpec.fresh(found.spec.architecture, found.spec.stem, found.spec.base_channels)
    (refresh,) = driver.finish(0.9)
    assert (refresh.kind, refresh.role, refresh.recipe) == ("train_detector", "refresh", "serial")
    assert (refresh.parent, refresh.backbone, refresh.spec) == (found.index, pretrain.index, pretrain.spec)
    (child,) = driver.finish(0.3)
    assert (driver.baseline.index, driver.baseline.score) == (refresh.index, 0.3)
    assert (driver.best_overall.index, driver.best_overall.score) == (found.index, 0.6)
    assert (child.parent, child.round, driver.state.counter) == (refresh.index, 2, 0)
    driver.finish(0.35)
    assert driver.baseline.index == child.index  # judged against the refresh, not against the best there has been


@pytest.mark.parametrize("acceptance", ["paper", "paired"])
def test_without_reignition_rounds_follow_each_other_from_the_same_baseline(acceptance: str) -> None:
    serial = {"acceptance": acceptance, "n_stuck": 3, "reignite": False, "num_rounds": 3, "in_flight": 2}
    driver = FakeDriver(search_settings(serial=serial), judge=constant).run()
    assert set(driver.roles) <= {"start", "candidate", "control"}
    candidates = driver.with_role("candidate")
    assert {job.round for job in candidates} == {1, 2, 3}
    assert {job.parent for job in driver.jobs[1:]} == {0}
    if acceptance == "paired":  # no seed is used for two generations, in whatever round
        controls = driver.with_role("control")
        assert [job.seed[2] for job in controls] == list(range(len(controls)))


def test_a_round_knows_nothing_of_the_encodings_of_the_one_before() -> None:
    serial = {"n_stuck": 8, "in_flight": 1, "num_rounds": 2, "num_morphs": 1, "max_blocks": 9, "max_stages": 4}
    driver = FakeDriver(search_settings(serial=serial), judge=constant).run()
    of_round = [
        {job.spec.architecture for job in driver.with_role("candidate") if job.round == round} for round in (1, 2)
    ]
    assert of_round[0] & of_round[1]


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
@pytest.mark.parametrize(("refreshed", "serial_net"), [(0.3, 1), (0.65, 5)])
def test_serial_net_is_the_better_of_baseline_and_best_overall(
    mode: str, sign: int, refreshed: float, serial_net: int
) -> None:
    serial = {"in_flight": 1, "n_stuck": 2, "num_rounds": 1}
    driver = FakeDriver(search_settings(mode=mode, serial=serial, parallel={}), judge=constant)
    driver.finish(*[sign * score for score in (0.5, 0.6, 0.4, 0.4, 0.0)])
    (start,) = driver.finish(sign * refreshed)
    assert (start.role, start.phase, start.recipe, start.barrier) == ("start", "parallel", "parallel", True)
    assert start.parent == serial_net
    assert start.spec.architecture == driver.jobs[serial_net].spec.architecture.with_subnets((0, 0, 0, 0))
    assert start.spec.shortcuts == driver.jobs[serial_net].spec.shortcuts


def test_the_parallel_levels_first_sets_the_baseline_whatever_its_score() -> None:
    serial = {"in_flight": 1, "n_stuck": 2, "num_rounds": 1, "reignite": False}
    driver = FakeDriver(search_settings(serial=serial, parallel={"n_stuck": 1}, train_full=True), judge=constant)
    driver.finish(0.6, 0.4, 0.4, 0.5)
    assert (driver.baseline.index, driver.baseline.score) == (3, 0.5)
    assert (driver.best_overall.index, driver.best_overall.score) == (0, 0.6)
    driver.finish(*[0.4] * 4)
    (final,) = driver.state.pending.values()
    assert (final.kind, final.recipe, final.parent) == ("train_full", "final", 0)  # the best overall is trained in full
    driver.finish(0.8)
    assert driver.done == "the search is complete"


def test_the_best_of_all_is_trained_in_full() -> None:
    driver = FakeDriver(
        search_settings(serial={"n_stuck": 3}, parallel={"n_stuck": 3}, train_full=True, max_failures_in_a_row=100)
    ).run()
    final = driver.jobs[-1]
    assert (final.role, final.phase, final.barrier) == ("final", "final", True)
    assert (final.parent, final.spec) == (driver.best_overall.index, driver.best_overall.spec)
    assert final.seed == (0, driver.best_overall.index, 0)
    assert "final" not in driver.roles[:-1]


def test_without_a_parallel_level_the_search_ends_with_the_serial_one() -> None:
    driver = FakeDriver(search_settings(serial={"n_stuck": 3, "num_rounds": 1}), judge=constant).run()
    assert {job.phase for job in driver.jobs} == {"serial"}
    assert driver.roles[-1] == "refresh"


def test_a_finished_search_stays_finished() -> None:
    driver = FakeDriver(search_settings(serial={"n_stuck": 1, "num_rounds": 1}), judge=constant).run()
    assert driver.decide() == []
    assert driver.done == "the search is complete"


def test_results_name_what_every_round_and_phase_came_to() -> None:
    serial = {"in_flight": 1, "n_stuck": 1, "num_rounds": 2}
    parallel = {"in_flight": 1, "n_stuck": 1}
    driver = FakeDriver(search_settings(serial=serial, parallel=parallel, train_full=True), judge=constant)
    driver.finish(0.5, 0.6, 0.4, 0.0, 0.3)  # job 1 is the best of all, the refresh 4 is lower
    driver.finish(0.2, 0.0, 0.4)  # the second round ends with the refresh 7
    assert (driver.next_job.role, driver.next_job.parent) == ("start", 1)
    assert driver.state.results == [("serial", 1, 4), ("serial", 2, 7), ("serial", 2, 1)]
    driver.finish(0.5, 0.7, 0.4)
    assert driver.next_job.role == "final"
    driver.finish(0.9)
    assert driver.state.results[3:] == [("parallel", 2, 9), ("final", 2, 11)]
