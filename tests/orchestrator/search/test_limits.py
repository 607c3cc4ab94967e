"""Which encodings are drawn: within the limits, each once a round, until none is left."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import Architecture, NetworkSpec
from models.costs import backbone_costs
from models.morphism import apply, apply_all, legal_expansions, legal_swaps
from orchestrator.search import neighbourhood
from orchestrator.search.neighbourhood import MAX_REDRAWS, Neighbourhood
from orchestrator.search.protocol import generator_of
from tests.orchestrator.search.fake_driver import IMAGE_SIZE, START, FakeDriver, constant, noise, search_settings

START_SPEC = NetworkSpec.fresh(Architecture.parse(START), "deep", 4)
START_COSTS = backbone_costs(START_SPEC, *IMAGE_SIZE)
RULES = ("paper", "paired")


def tiny_space(**serial: Any) -> dict[str, Any]:
    return {"min_blocks": 1, "min_stages": 1, "num_morphs": 2, "n_stuck": 1000, "in_flight": 3} | serial


def within_reach(start: str, max_blocks: int, max_stages: int, num_morphs: int) -> set[str]:
    """Every other encoding that at most `num_morphs` morphs make of a start."""
    reached = {NetworkSpec.fresh(Architecture.parse(start))}
    for _ in range(num_morphs):
        reached |= {
            apply(spec, morph)
            for spec in reached
            for morph in (
                *legal_swaps(spec.architecture.stages),
                *legal_expansions(spec.architecture.stages, max_blocks=max_blocks, max_stages=max_stages),
            )
        }
    return {str(spec.architecture) for spec in reached} - {start}


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_every_candidate_is_within_the_limits(acceptance: str, seed: int) -> None:
    serial = {"max_blocks": 12, "max_stages": 5, "max_gflops": 1.3 * START_COSTS.macs / 1e9}
    serial |= {"max_parameters": 2 * START_COSTS.parameters, "acceptance": acceptance, "n_stuck": 6}
    parallel = {"max_subnets": 2, "n_stuck": 6, "max_gflops": 2 * START_COSTS.macs / 1e9}
    parallel |= {"max_parameters": 4 * START_COSTS.parameters}
    driver = FakeDriver(search_settings(seed=seed, serial=serial, parallel=parallel, max_failures_in_a_row=99)).run()
    assert driver.with_role("candidate")
    for job in driver.with_role("candidate"):
        architecture = job.spec.architecture
        costs = backbone_costs(NetworkSpec.fresh(architecture, "deep", 4), *IMAGE_SIZE)
        limits = serial if job.phase == "serial" else parallel
        assert 8 <= architecture.num_blocks <= 12
        assert 4 <= architecture.num_stages <= 5
        assert max(architecture.subnets, default=0) <= 2
        assert costs.macs <= limits["max_gflops"] * 1e9
        assert costs.parameters <= limits["max_parameters"]


class AllBut:
    """A set of known encodings with all there are but a few."""

    def __init__(self, unknown: Iterable[str]) -> None:
        self.unknown = frozenset(unknown)
        self.asked = 0

    def __contains__(self, encoding: str) -> bool:
        self.asked += 1
        return encoding not in self.unknown


def test_the_nearest_new_encoding_of_ten_morphs_is_found_without_listing_what_else_they_reach() -> None:
    settings = search_settings(serial={"num_morphs": 10, "max_blocks": 60, "max_stages": 6})
    near = within_reach(START, 60, 6, 2) - within_reach(START, 60, 6, 1)
    known = AllBut(sorted(near)[:1])
    morphs = Neighbourhood(settings).draw(START_SPEC.architecture, known, generator_of(0, 0))
    assert morphs is not None and len(morphs) == 2
    assert str(apply_all(START_SPEC, morphs).architecture) in known.unknown
    assert known.asked <= MAX_REDRAWS + len(within_reach(START, 60, 6, 2))


def test_a_neighbourhood_that_is_too_large_to_be_listed_is_given_up_when_what_is_near_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = within_reach(START, 60, 6, 3)
    monkeypatch.setattr(neighbourhood, "MAX_LISTED", len(near) - 1)
    settings = search_settings(serial={"num_morphs": 10, "max_blocks": 60, "max_stages": 6})
    known = AllBut(())
    assert Neighbourhood(settings).draw(START_SPEC.architecture, known, generator_of(0, 0)) is None
    assert known.asked == MAX_REDRAWS + len(near)


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_no_encoding_is_drawn_twice_in_a_round_pending_ones_included(acceptance: str, seed: int) -> None:
    serial = {"acceptance": acceptance, "n_stuck": 10, "in_flight": 12, "num_morphs": 2}
    given = search_settings(
        seed=seed, serial=serial, parallel={"max_subnets": 2, "in_flight": 12}, max_failures_in_a_row=99
    )
    driver = FakeDriver(given, judge=lambda job: noise(job.spec.architecture, job.seed), num_workers=3).run()
    drawn = defaultdict(list)
    for job in driver.with_role("candidate"):
        drawn[job.phase, job.round].append(job.spec.architecture)
    assert len(drawn) == 3
    for encodings in drawn.values():
        assert len(encodings) == len(set(encodings)) >= 10


@pytest.mark.parametrize("acceptance", RULES)
def test_a_candidate_is_never_the_baselines_own_encoding(acceptance: str) -> None:
    serial = {"acceptance": acceptance, "n_stuck": 10, "num_morphs": 2, "max_blocks": 10, "max_stages": 4}
    driver = FakeDriver(search_settings(serial=serial, max_failures_in_a_row=99)).run()
    by_index = {job.index: job for job in driver.jobs}
    for job in driver.with_role("candidate"):
        assert job.parent is not None
        assert job.spec.architecture != by_index[job.parent].spec.architecture


@pytest.mark.parametrize("acceptance", RULES)
def test_a_serial_space_with_nothing_new_left_ends_the_level(acceptance: str) -> None:
    start = "BB(11,d1)"
    serial = tiny_space(acceptance=acceptance, max_blocks=5, max_stages=3)
    driver = FakeDriver(search_settings(start, serial=serial, parallel={"n_stuck": 1}), judge=constant, num_workers=3)
    driver.run()
    drawn = [str(job.spec.architecture) for job in driver.with_role("candidate") if job.phase == "serial"]
    assert sorted(drawn) == sorted(within_reach(start, max_blocks=5, max_stages=3, num_morphs=2))
    assert len(drawn) > 5
    assert "pretrain" not in driver.roles
    assert [job.role for job in driver.jobs if job.phase == "parallel"][0] == "start"
    assert driver.done == "the search is complete"


def test_an_exhausted_space_opens_again_with_an_improvement_among_the_pending() -> None:
    serial = tiny_space(max_blocks=4, max_stages=2, num_morphs=1, in_flight=9)
    driver = FakeDriver(search_settings("BB(1,1)", serial=serial), judge=constant)
    pending = driver.finish(0.5)
    assert {str(job.spec.architecture) for job in pending} == {"BB(11,1)", "BB(1,11)"}
    decided = driver.finish(0.6)
    assert decided
    assert {job.parent for job in decided} == {pending[0].index}


@pytest.mark.parametrize("acceptance", RULES)
def test_a_start_that_no_morph_applies_to_ends_the_level_at_once(acceptance: str) -> None:
    serial = tiny_space(acceptance=acceptance, max_blocks=2, max_stages=2)
    driver = FakeDriver(search_settings("BB(1,1)", serial=serial), judge=constant).run()
    assert driver.roles == ["start"]


@pytest.mark.parametrize("acceptance", RULES)
def test_limits_that_leave_no_encoding_end_the_level(acceptance: str) -> None:
    serial = tiny_space(acceptance=acceptance, max_parameters=START_COSTS.parameters)
    parallel = {"max_parameters": START_COSTS.parameters, "n_stuck": 1000}
    driver = FakeDriver(search_settings(serial=serial, parallel=parallel), judge=constant).run()
    assert [(job.role, job.phase) for job in driver.jobs] == [("start", "serial"), ("start", "parallel")]
