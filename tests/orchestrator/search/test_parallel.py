"""The parallel level's candidates."""

from collections import Counter
from math import sqrt
from typing import Any

import numpy as np
import pytest

from models.costs import subnet_macs
from models.morphism import Assemble
from orchestrator.search.protocol import SearchState
from tests.orchestrator.search.fake_driver import IMAGE_SIZE, FakeDriver, constant, search_settings

ENDS_AT_ONCE = {"n_stuck": 1, "num_rounds": 1, "reignite": False, "in_flight": 1}
THREE_STAGES = "BB(111,d111,d11)"
SMALL = {"min_stages": 1, "min_blocks": 1}


def parallel_level(start: str = THREE_STAGES, acceptance: str = "paper", **parallel: Any) -> FakeDriver:
    """A search whose parallel level has begun: its first has been told."""
    serial = ENDS_AT_ONCE | SMALL | {"acceptance": acceptance}
    driver = FakeDriver(search_settings(start, serial=serial, parallel=parallel), judge=constant)
    return driver.run(lambda driver: driver.told != [] and driver.told[-1].job.phase == "parallel")


def unlimited_draws(driver: FakeDriver, count: int) -> list[tuple[int, ...]]:
    """What the level draws for jobs 1000, 1001, ... when nothing is known yet, so that nothing is redrawn."""
    state = SearchState(phase="parallel", baseline=driver.baseline)
    drawn = []
    for index in range(1000, 1000 + count):
        morphs = driver.algorithm.parallel.draw(state, index)
        assert morphs is not None
        (assemble,) = morphs
        assert isinstance(assemble, Assemble)
        drawn.append(assemble.subnets)
    return drawn


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_stage_is_drawn_in_proportion_to_its_inverse_flops(power: float) -> None:
    # Of encodings with one addition the stage is one free draw. m is 1 in one of K * L = 9 draws, but an encoding with
    # one subnet comes from no other m, so these are all of them.
    driver = parallel_level(inverse_flops_power=power)
    macs = np.array(subnet_macs(driver.baseline.spec, *IMAGE_SIZE), dtype=float)
    expected = macs**-power / (macs**-power).sum()
    assert power == 0 or expected.max() > 1.05 * expected.min()
    single = Counter(subnets.index(1) for subnets in unlimited_draws(driver, 3600) if sum(subnets) == 1)
    total = single.total()
    assert abs(total - 400) < 4 * sqrt(3600 * 1 / 9 * 8 / 9)
    for stage, share in enumerate(expected):
        assert abs(single[stage] / total - share) < 4 * sqrt(share * (1 - share) / total)


def test_a_full_stage_is_left_out_of_the_drawing() -> None:
    # At K = 1 the second of two additions is drawn among the other stages: P(a, b) = p_a p_b / (1 - p_a), and the pair
    # comes in either order.
    driver = parallel_level(max_subnets=1)
    macs = np.array(subnet_macs(driver.baseline.spec, *IMAGE_SIZE), dtype=float)
    odds = macs**-1 / (macs**-1).sum()
    pairs = Counter(subnets.index(0) for subnets in unlimited_draws(driver, 1800) if sum(subnets) == 2)
    total = pairs.total()
    assert abs(total - 600) < 4 * sqrt(1800 * 1 / 3 * 2 / 3)
    for missing in range(3):
        a, b = (odds[stage] for stage in range(3) if stage != missing)
        share = a * b / (1 - a) + a * b / (1 - b)
        assert abs(pairs[missing] / total - share) < 4 * sqrt(share * (1 - share) / total)


def test_the_number_of_additions_is_uniform() -> None:
    # At power 0 and K = 3 the first three additions never meet a full stage; above, every addition finds room, so the
    # sum of an encoding is m.
    driver = parallel_level(inverse_flops_power=0.0)
    sums = Counter(map(sum, unlimited_draws(driver, 1800)))
    assert sorted(sums) == list(range(1, 10))
    for count in sums.values():
        assert abs(count - 200) < 4 * sqrt(1800 * 1 / 9 * 8 / 9)


def test_a_candidate_sets_the_subnets_of_the_levels_network() -> None:
    driver = parallel_level(max_subnets=2)
    candidates = list(driver.state.pending.values())
    assert len(candidates) == 4
    for job in candidates:
        (assemble,) = job.morphs
        assert isinstance(assemble, Assemble)
        assert job.spec.architecture == driver.settings.start.architecture.with_subnets(assemble.subnets)
        assert 1 <= sum(assemble.subnets)
        assert max(assemble.subnets) <= 2
        assert (job.kind, job.recipe, job.phase, job.parent) == (
            "train_detector",
            "parallel",
            "parallel",
            driver.baseline.index,
        )
        assert job.seed == (0, driver.baseline.index, 0)


def test_a_better_candidate_is_the_new_baseline_of_the_next() -> None:
    driver = parallel_level()
    better = driver.next_job
    (child,) = driver.finish(0.7)
    assert (driver.baseline.index, child.parent) == (better.index, better.index)
    (assemble,) = child.morphs
    assert isinstance(assemble, Assemble)
    assert child.spec.architecture.subnets == assemble.subnets  # drawn anew, not added to the baseline's


def test_the_paired_rule_holds_in_the_parallel_level_too() -> None:
    driver = parallel_level(acceptance="paired", in_flight=3)
    control, first, second = driver.state.pending.values()
    assert control.spec.architecture.subnets == (0, 0, 0)
    assert (control.role, first.role, second.role) == ("control", "candidate", "candidate")
    assert control.seed == first.seed == second.seed
    assert control.recipe == "parallel"
    driver.finish(0.6, 0.7, 0.5)
    confirmation, control = driver.state.pending.values()
    assert (confirmation.spec, control.spec) == (first.spec, driver.baseline.spec)
    driver.finish(0.7, 0.6)
    assert driver.baseline.index == first.index
    assert driver.next_job.spec == first.spec


@pytest.mark.parametrize("acceptance", ["paper", "paired"])
def test_the_level_ends_when_every_encoding_is_known(acceptance: str) -> None:
    driver = parallel_level(acceptance=acceptance, max_subnets=1, n_stuck=1000, in_flight=3).run()
    assert driver.done == "the search is complete"
    drawn = [job.spec.architecture.subnets for job in driver.with_role("candidate") if job.phase == "parallel"]
    assert len(drawn) == len(set(drawn)) == 2**3 - 1


def test_the_level_ends_when_it_is_stuck() -> None:
    driver = parallel_level(n_stuck=6, in_flight=2).run()
    assert sum(job.phase == "parallel" for job in driver.with_role("candidate")) == 6 + 1


def test_the_level_ends_after_max_candidates() -> None:
    driver = parallel_level(max_candidates=5).run()
    assert sum(job.phase == "parallel" for job in driver.with_role("candidate")) == 5
