"""Which weights are kept: all that a later decision may need, and not many more."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.protocol import Job, live_weights
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Score, made_up, noise, search_settings

RULES = ("paper", "paired")


def whole_search(
    acceptance: str, seed: int, check: Callable[[FakeDriver], None], judge: object = made_up
) -> FakeDriver:
    given = search_settings(
        seed=seed,
        serial={"acceptance": acceptance, "n_stuck": 5, "in_flight": 5, "confirmations": 2},
        parallel={"n_stuck": 5, "in_flight": 3},
        pretrain_start=seed % 2 == 1,
        train_full=True,
        max_failures_in_a_row=100,
    )
    return FakeDriver(given, judge=judge, num_workers=3, order_seed=seed, on_change=check).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_no_job_grows_from_weights_that_were_not_kept_all_the_time(acceptance: str, seed: int) -> None:
    deleted: set[int] = set()
    grown: set[int] = set()

    def check(driver: FakeDriver) -> None:
        deleted.update(driver.state.population.keys() - live_weights(driver.state))
        for job in driver.state.pending.values():
            origins = {index for index in (job.parent, job.backbone) if index is not None}
            grown.update(origins)
            assert not origins & deleted, job

    driver = whole_search(acceptance, seed, check)
    assert len(grown) >= 5
    assert deleted
    kept = {driver.best_overall.index, driver.jobs[-1].index, *(index for _, _, index in driver.state.results)}
    assert not kept & deleted


@pytest.mark.parametrize("acceptance", RULES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_what_the_search_stands_on_is_live_at_every_moment(acceptance: str, seed: int) -> None:
    def check(driver: FakeDriver) -> None:
        state, live = driver.state, live_weights(driver.state)
        if state.baseline and state.best_overall:
            assert {state.baseline.index, state.best_overall.index} <= live
            (first_start, *_) = driver.with_role("start")
            assert first_start.index in live
        assert state.pending.keys() <= live
        assert {index for _, _, index in state.results} <= live
        if state.generation:
            assert {i for i in (state.generation.control, *state.generation.children) if i is not None} <= live
            assert {*state.generation.confirmations, *state.generation.controls} <= live
        if state.pretrained is not None:
            assert state.pretrained in live

    whole_search(acceptance, 2 * seed + 1, check)


@pytest.mark.parametrize("acceptance", RULES)
def test_what_is_kept_does_not_grow_with_the_history(acceptance: str) -> None:
    in_flight, sizes = 4, []

    def rising(job: Job) -> Score:
        return job.index / 1000 + 0.05 * noise(job.index)

    given = search_settings(
        serial={"acceptance": acceptance, "n_stuck": 200, "in_flight": in_flight, "num_rounds": 1, "max_blocks": 200}
    )
    driver = FakeDriver(
        given,
        judge=rising,
        num_workers=3,
        on_change=lambda driver: sizes.append(len(live_weights(driver.state))),
    ).run(lambda driver: len(driver.told) >= 300)
    num_baselines = len({told.summary["baseline"]["index"] for told in driver.told})
    assert num_baselines > 30
    assert max(sizes) <= 3 + 2 * in_flight  # start, baseline, best; pending and parents, or a generation


def test_all_that_is_kept_is_every_completed_detector() -> None:
    given = search_settings(serial={"in_flight": 2, "reignite": False}, pretrain_start=True)
    driver = FakeDriver(given)
    driver.finish(0.9, 0.5, 0.4, FAILED, 0.6)
    assert live_weights(driver.state) == {1, 4, *driver.state.pending}
    assert live_weights(driver.state, keep_all=True) == {1, 2, 4, *driver.state.pending}
