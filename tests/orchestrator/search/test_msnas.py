"""MSNAS's search and random search: a super-net, generations of its paths, full training of the best."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.msnas_encoding import FPN_HEADS, MultiScale, MultiScaleSpec, meets_equation_7
from orchestrator.search.algorithms import build_algorithm
from orchestrator.search.evolution import Variation
from orchestrator.search.msnas import ByEvolution, MsNas
from orchestrator.search.protocol import Algorithm, Job, generator_of, live_weights
from orchestrator.search.settings import EvolutionSettings, Objective, SearchSettings, SerialSettings
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Score, Stopped, noise

START = "MS(BB,4;1,2,2,0.5,1,2,2,2,0.5;4,8,16,32,64)"
NAMES = ("msnas", "random")
WINDOW = "evolution.flops_window"


def msnas_settings(
    seed: int = 0, mode: str = "max", train_full: bool = True, start: str = START, **evolution: Any
) -> SearchSettings:
    """A small search: a population of 6, 3 generations of 5 children and 2 random networks, the best 3 retrained."""
    small = {"population": 6, "generations": 3, "num_children": 5, "num_random": 2, "top_k": 3, "flops_window": 0.1}
    return SearchSettings(
        seed=seed,
        objective=Objective.model_validate({"mode": mode}),
        start=MultiScaleSpec(MultiScale.parse(start)),
        pretrain_start=False,
        serial=SerialSettings(),
        parallel=None,
        evolution=EvolutionSettings.model_validate(small | evolution),
        train_full=train_full,
        image_size=(120, 128),
        max_failures_in_a_row=1000,
    )


def algorithm_of(name: str) -> Callable[[SearchSettings], Algorithm]:
    return lambda given: build_algorithm(name, given)  # type: ignore[arg-type]


def judged(job: Job) -> Score:
    """A score made up from the encoding; one sample in ten fails."""
    if job.role == "candidate" and noise("failure", job.spec.architecture) < 0.1:
        return FAILED
    return noise(job.spec.architecture, job.kind)


def driven(given: SearchSettings, name: str = "msnas", **keys: Any) -> FakeDriver:
    return FakeDriver(given, algorithm_of=algorithm_of(name), judge=keys.pop("judge", judged), **keys)


def generations(driver: FakeDriver) -> list[list[Job]]:
    """The samples of each generation."""
    samples = driver.with_role("candidate")
    return [[job for job in samples if job.round == number] for number in range(max(job.round for job in samples) + 1)]


def ranked(driver: FakeDriver, jobs: list[Job]) -> list[int]:
    """Completed jobs, the best first, the earlier of equals."""
    sign = -1 if driver.settings.objective.mode == "max" else 1
    members = (driver.state.population[job.index] for job in jobs)
    return [m.job.index for m in sorted((m for m in members if m.outcome.completed), key=lambda m: sign * m.score)]


@pytest.mark.parametrize("name", NAMES)
def test_a_search_is_the_super_net_its_generations_and_full_training_of_the_best(name: str) -> None:
    driver = driven(msnas_settings(), name).run()
    assert driver.done == "the search is complete"
    supernet, *_ = driver.jobs
    assert (supernet.kind, supernet.recipe, supernet.barrier, str(supernet.spec.architecture)) == (
        "train_supernet",
        "supernet",
        True,
        START,
    )
    assert [len(jobs) for jobs in generations(driver)] == [6, 7, 7, 7]
    for sample in driver.with_role("candidate"):
        assert (sample.kind, sample.recipe, sample.phase, sample.parent) == ("train_detector", "sample", "evolution", 0)
    finals = driver.jobs[-3:]
    best = ranked(driver, driver.with_role("candidate"))[:3]
    assert [job.spec for job in finals] == [driver.jobs[index].spec for index in best]
    assert [job.seed for job in finals] == [(0, index, 0) for index in best]
    assert {(job.kind, job.recipe, job.phase, job.parent, job.backbone) for job in finals} == {
        ("train_full", "final", "final", None, None)
    }
    assert driver.algorithm.recipes == ("supernet", "sample", "final")
    assert driver.best_overall.index == ranked(driver, finals)[0]
    for job in driver.jobs:
        assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), order_seed=st.integers(0, 2**32))
def test_any_number_of_workers_in_any_order_gives_the_same_history(name: str, seed: int, order_seed: int) -> None:
    alone = driven(msnas_settings(seed), name).run()
    for num_workers in (2, 7):
        other = driven(msnas_settings(seed), name, num_workers=num_workers, order_seed=order_seed).run()
        assert (other.jobs, other.told, other.state) == (alone.jobs, alone.told, alone.state)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_folding_any_prefix_gives_the_state_that_went_on_and_the_same_end(name: str, seed: int) -> None:
    whole = driven(msnas_settings(seed), name).run()
    events: list[Job | int] = []
    recorder = driven(
        msnas_settings(seed),
        name,
        on_change=lambda driver: events.append(driver.jobs[-1] if driver.jobs[-1] not in events else len(driver.told)),
    ).run()
    assert recorder.state == whole.state
    for length in range(0, len(events), 7):
        resumed = driven(msnas_settings(seed), name, num_workers=3)
        resumed.state = resumed.algorithm.initial()
        for event in events[:length]:
            if isinstance(event, Job):
                resumed.algorithm.enter(resumed.state, event)
            else:
                resumed.algorithm.tell(resumed.state, whole.told[event - 1].outcome)
        resumed.decide()
        assert resumed.run().state == whole.state


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("utilization", ["constrained", "free", "fpn"])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_samples_differ_cost_what_they_may_and_belong_to_the_space(name: str, utilization: str, seed: int) -> None:
    driver = driven(msnas_settings(seed, utilization=utilization), name).run()
    assert isinstance(driver.algorithm, MsNas)
    samples = [job.spec.architecture for job in driver.with_role("candidate")]
    assert len(set(samples)) == len(samples) > 6
    target = driver.algorithm.window.macs(MultiScale.parse(START))
    for sample in samples:
        assert isinstance(sample, MultiScale)
        assert sample in driver.algorithm.space
        assert abs(driver.algorithm.window.macs(sample) / target - 1) <= 0.1
        if utilization == "constrained":
            assert meets_equation_7(sample.heads)
        if utilization == "fpn":
            assert sample.heads == FPN_HEADS


@pytest.mark.parametrize("mode", ["max", "min"])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_survivors_are_the_best_of_all_samples_so_far(mode: str, seed: int) -> None:
    def check(driver: FakeDriver) -> None:
        state = driver.state
        if state.phase == "evolution" and state.evolution and not state.pending and state.population:
            so_far = [job for job in driver.jobs if job.role == "candidate"]
            assert isinstance(driver.algorithm, MsNas)
            assert list(driver.algorithm.survivors(state)) == ranked(driver, so_far)[:6]
            checked.append(state.round)

    checked: list[int] = []
    driven(msnas_settings(seed, mode), on_change=check).run()
    assert checked == [0, 1, 2, 3]


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), num_workers=st.integers(1, 7))
def test_a_generation_is_decided_whole_and_only_when_the_one_before_is_told(seed: int, num_workers: int) -> None:
    def check(driver: FakeDriver) -> None:
        for job in driver.state.pending.values():
            earlier = [other for other in driver.state.pending.values() if other.round < job.round]
            assert not earlier or job.role == "final"

    driver = driven(msnas_settings(seed), num_workers=num_workers, on_change=check)
    driver.finish(0.5)
    assert [job.role for job in driver.jobs] == ["supernet"] + 6 * ["candidate"]
    assert driver.finish(*5 * [0.5]) == []
    assert {job.round for job in driver.finish(0.5)} == {1}
    driver.run()


def test_a_failed_sample_is_charged_to_nobody_and_not_drawn_again() -> None:
    driver = driven(msnas_settings())
    driver.finish(0.5, FAILED, *5 * [0.4])
    assert driver.state.evolution is not None
    assert 1 not in driver.state.evolution.survivors and len(driver.state.evolution.survivors) == 5
    driver.run()
    assert str(driver.jobs[1].spec.architecture) not in {str(job.spec.architecture) for job in driver.jobs[2:]}


def test_a_streak_of_failed_samples_stops_the_run_and_so_does_any_other_failure() -> None:
    given = msnas_settings().model_copy(update={"max_failures_in_a_row": 3})
    driver = driven(given)
    with pytest.raises(Stopped, match=r"job 0 \(supernet, MS\(.*\) failed: out of memory"):
        driver.finish(FAILED)
    driver.finish(0.5, FAILED, FAILED)
    with pytest.raises(Stopped, match="3 candidates in a row failed, 3 of them with: out of memory"):
        driver.finish(FAILED)
    driver = driven(msnas_settings()).run(until=lambda driver: driver.state.phase == "final")
    with pytest.raises(Stopped, match=r"\(final, MS\(.*\) failed: out of memory"):
        driver.finish(FAILED)
    driver.run()


def test_a_population_without_survivors_is_followed_by_random_networks() -> None:
    driver = driven(msnas_settings(), judge=lambda job: FAILED if job.round == 0 and job.role != "supernet" else 0.5)
    driver.run()
    assert [len(jobs) for jobs in generations(driver)] == [6, 7, 7, 7]


def test_a_search_whose_samples_all_fail_ends_without_retraining() -> None:
    driver = driven(msnas_settings(), judge=lambda job: FAILED if job.role == "candidate" else 0.5).run()
    assert driver.done == "none of the samples has been completed"
    assert not driver.with_role("final")


@pytest.mark.parametrize("name", NAMES)
def test_a_space_that_is_used_up_ends_the_evolution_and_the_best_are_retrained(name: str) -> None:
    given = msnas_settings(
        start="MS(BB,4;1,2,1;4,4,4,8,8)",
        flops_window=1.0,
        population=4,
        generations=1000,
    )
    driver = driven(given, name).run()
    assert isinstance(driver.algorithm, MsNas)
    holds = driver.algorithm.window.holds
    affordable = {str(network) for network in driver.algorithm.space if holds(network)}
    samples = driver.with_role("candidate")
    assert {str(job.spec.architecture) for job in samples} == affordable
    next_one = samples[-1].round + 1
    assert driver.done == f"the search is complete; generation {next_one} had nothing new within {WINDOW}"
    assert len(driver.with_role("final")) == 3


def test_without_a_network_in_the_window_there_is_nothing_to_search() -> None:
    driver = driven(msnas_settings(target_gflops=1e6)).run()
    assert driver.done == f"there is no network within {WINDOW}"
    assert [job.role for job in driver.jobs] == ["supernet"]


def test_the_ablations_of_the_paper_are_settings() -> None:
    plain = driven(msnas_settings(fine_tune=False)).run()
    assert {job.kind for job in plain.with_role("candidate")} == {"score"}
    alone = driven(msnas_settings(num_random=0)).run()
    assert [len(jobs) for jobs in generations(alone)] == [6, 5, 5, 5]
    kept = driven(msnas_settings(train_full=False)).run()
    assert not kept.with_role("final") and kept.algorithm.recipes == ("supernet", "sample")


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_the_super_nets_weights_are_kept_and_of_the_samples_only_those_of_the_best(seed: int) -> None:
    def check(driver: FakeDriver) -> None:
        told = live_weights(driver.state) - driver.state.pending.keys()
        best = {driver.state.best_overall.index} if driver.state.best_overall else set()
        finals = {job.index for job in driver.with_role("final")}
        assert told - finals <= {0} | best
        if driver.told:
            assert 0 in told

    driver = driven(msnas_settings(seed), on_change=check).run()
    assert {job.index for job in driver.with_role("final")} <= live_weights(driver.state)


def test_children_keep_what_their_parents_agree_on() -> None:
    parent = MultiScale.parse(START)
    given = msnas_settings()
    variation = Variation(MsNas(given, ByEvolution(given.evolution)).space, generator_of(0, 0), [parent], 0.2)
    for _ in range(50):
        encoder_crossed, encoder_mutated, heads_crossed, heads_mutated = variation.children()
        assert encoder_crossed == heads_crossed == parent  # of one parent
        assert encoder_mutated is None or encoder_mutated.heads == parent.heads
        assert heads_mutated is None or heads_mutated.strides == parent.strides


def test_an_evolution_finds_better_networks_than_random_search_of_as_many() -> None:
    def judge(job: Job) -> Score:
        """How many strides are those of one network."""
        architecture = job.spec.architecture
        assert isinstance(architecture, MultiScale)
        return sum(a == b for a, b in zip(architecture.strides, (1, 2, 1, 2, 0.5, 2, 1, 0.5, 2), strict=True)) / 9

    means = {}
    for name in NAMES:
        bests = []
        for seed in range(5):
            driver = driven(
                msnas_settings(seed, population=10, num_children=10, generations=8), name, judge=judge
            ).run()
            bests.append(driver.best_overall.score)
        means[name] = sum(bests) / len(bests)
    assert means["msnas"] > means["random"]
