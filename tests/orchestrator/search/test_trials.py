"""Networks trained side by side: what is decided at once, what waits, and from which weights each begins."""

from pathlib import Path
from typing import Any

import pytest

from models.architecture import NetworkSpec
from models.morphism import Expand, Swap
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.errors import UserError
from orchestrator.given import origins, start_weights_of
from orchestrator.history import History
from orchestrator.search.protocol import Job, live_weights
from orchestrator.search.trials import IndependentTrials
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Score, Stopped, noise
from tests.orchestrator.search.test_folding import Recorder, journal_of
from tests.orchestrator.tiny import TINY
from workers.run_folder import GIVEN_INDEX

GIVEN = {"source": "elsewhere", "kind": "detector", "sha256": "0" * 64, "size_bytes": 1}
MORPHED = {"morphs": "expand(0) swap(1)"}
FRESH = {"architecture": "BB(11,1)"}
PRETRAINED = {"architecture": "BB(1,11)", "pretrain": True}
MIXED = [MORPHED, PRETRAINED | {"replicate": 1}, FRESH, PRETRAINED, {}, PRETRAINED | {"recipe": "final"}]


def trials_config(*trials: dict[str, Any], **start: Any) -> RunConfig:
    values = TINY | {"algorithm": "trials", "trials": list(trials)}
    return parse_config(values | {"start": TINY["start"] | {"given": GIVEN} | start}, "test")


def driven(config: RunConfig, **more: Any) -> FakeDriver:
    return FakeDriver(config.search, algorithm_of=IndependentTrials, **more)


def judged(job: Job) -> Score:
    return FAILED if noise("failure", job.index, job.kind) < 0.2 else noise(job.index)


def test_trials_have_the_network_and_the_weights_that_their_entry_says() -> None:
    config = trials_config(MORPHED, {"morphs": ""}, FRESH, {})
    morphed, unchanged, fresh, plain = driven(config).jobs
    start = config.search.start
    assert (morphed.morphs, str(morphed.spec.architecture)) == ((Expand(0), Swap(1)), "BB(1,11,1)")
    assert (unchanged.spec, unchanged.morphs, plain.spec) == (start, (), start)
    assert fresh.spec == NetworkSpec.fresh(fresh.spec.architecture, "deep", 4)
    given = (GIVEN_INDEX, None)
    assert [origins(config, job) for job in (morphed, unchanged, fresh, plain)] == [given, given, (None, None), given]
    assert {(job.role, job.kind, job.phase, job.recipe, job.barrier) for job in (morphed, unchanged, fresh, plain)} == {
        ("trial", "train_detector", "trials", "serial", False)
    }


def test_a_fresh_architecture_has_nothing_of_the_starts_weights() -> None:
    config = trials_config(FRESH, {}, given=None, weights="torchvision:resnet18")
    fresh, plain = driven(config).jobs
    assert (start_weights_of(config, fresh), start_weights_of(config, plain)) == (None, "torchvision:resnet18")


def test_trials_of_one_replicate_see_the_same_data() -> None:
    trials = (FRESH, MORPHED | {"replicate": 1}, MORPHED, {"replicate": 1})
    assert [job.seed for job in driven(trials_config(*trials)).jobs] == [(0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 1)]


def test_all_but_those_that_wait_for_a_pretraining_are_decided_at_once() -> None:
    config = trials_config(*MIXED)
    driver = driven(config)
    first, second, *plain = driver.jobs
    assert [(job.kind, job.seed, str(job.spec.architecture)) for job in (first, second)] == [
        ("pretrain", (0, 0, 1), "BB(1,11)"),
        ("pretrain", (0, 0, 0), "BB(1,11)"),
    ]
    assert [origins(config, job) for job in (first, second)] == [(None, None)] * 2
    assert [len(job.morphs) for job in plain] == [2, 0, 0]
    (of_first,) = driver.finish(0.9)
    assert (of_first.backbone, of_first.seed, origins(config, of_first)) == (0, (0, 0, 1), (None, 0))
    both = driver.finish(0.9)
    assert [(job.backbone, job.recipe, job.kind) for job in both] == [
        (1, "serial", "train_detector"),
        (1, "final", "train_full"),
    ]
    assert driver.algorithm.recipes == ("serial", "final", "reignition")
    driver.run()
    assert driver.done == "all trials are complete"


def test_a_trial_that_fails_is_told_and_those_of_a_failed_pretraining_are_left_out() -> None:
    driver = driven(trials_config(*MIXED))
    driver.finish(FAILED, 0.9, FAILED, 0.4, 0.6, 0.5, 0.3)
    assert driver.done == "all trials are complete"
    assert [job.backbone for job in driver.jobs] == [None] * 5 + [1, 1]
    assert (driver.best_overall.index, driver.best_overall.score) == (4, 0.6)


def test_too_many_failures_in_a_row_stop_the_run() -> None:
    driver = driven(trials_config(*[MORPHED] * 6))
    driver.finish(*[FAILED] * 4)
    with pytest.raises(Stopped, match="5 trials in a row failed, 5 of them with: out of memory"):
        driver.finish(FAILED)


def test_the_bests_weights_are_kept_and_a_pretrainings_as_long_as_a_trial_needs_them() -> None:
    seen: list[set[int]] = []
    driver = driven(trials_config(*MIXED), on_change=lambda driver: seen.append(live_weights(driver.state)))
    driver.finish(0.9, 0.9, 0.5, 0.4)
    assert {0, 1, 2} <= live_weights(driver.state) and 3 not in live_weights(driver.state)
    driver.finish(0.1, 0.1, 0.1, 0.1)
    assert live_weights(driver.state) == {2}
    assert live_weights(driver.state, keep_all=True) == set(range(2, 8))


@pytest.mark.parametrize(
    ("trials", "start", "line"),
    [
        ([], {}, "trials: missing, but they are what spnas trials trains; give a list of them"),
        ([{"architectur": "BB(1,1)"}], {}, "trials.0.architectur: unknown key; did you mean architecture?"),
        (
            [{}, {"architecture": "BB(1,x)"}],
            {},
            "trials.1.architecture: architecture 'BB(1,x)', position 5: expected a",
        ),
        (
            [{"architecture": "MS(BB,4;1,2,0.5;4,4,8,8,8)"}],
            {},
            "trials.0.architecture: MS(BB,4;1,2,0.5;4,4,8,8,8) is a",
        ),
        (
            [{"architecture": "BB(1,1,1,1,1)"}],
            {},
            "trials.0: BB(1,1,1,1,1) has 5 stages; the pyramid is built for serial",
        ),
        ([{}, {"morphs": "swop(1)"}], {}, "trials.1.morphs: morph: 'swop(1)' is none of swap(N), expand(N)"),
        ([{"morphs": "swap(0)"}], {}, "trials.0.morphs: morph: swap(0) is not legal on BB(1,1,1)"),
        ([{"morphs": ""}], {"given": None}, "trials.0.morphs: there are no weights to morph; name a run or a"),
        ([{"morphs": ""}], {"given": GIVEN | {"kind": "backbone"}}, "trials.0.morphs: there are no weights to morph"),
        (
            [{"morphs": "", "architecture": "BB(1,1)"}],
            {},
            "trials.0: morphs are of the start, not of an architecture",
        ),
        ([{"pretrain": True}], {}, "trials.0: pretrain true is for an architecture; give that, or leave pretrain out"),
        ([{}], {"given": None, "weights": "pretrain"}, "start.weights: 'pretrain' is not for trials; give those that"),
    ],
)
def test_a_trial_that_can_not_be_made_is_refused_in_one_line(
    trials: list[dict[str, Any]], start: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        trials_config(*trials, **start)
    assert str(caught.value).startswith(f"config test: {line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "trial", "line"),
    [
        (
            "final",
            {"recipe": "final"},
            "final: missing, but trials.0.recipe is final; give it, such as final.epochs=24",
        ),
        (
            "reignition",
            PRETRAINED,
            "reignition: missing, but trials.0.pretrain is true; give reignition.data, or leave",
        ),
    ],
)
def test_a_recipe_that_the_config_lacks_is_named(key: str, trial: dict[str, Any], line: str) -> None:
    values = TINY | {"algorithm": "trials", "trials": [trial], key: None}
    with pytest.raises(UserError, match=line):
        parse_config(values, "test")


def test_trials_need_no_reignition_unless_one_is_pretrained() -> None:
    config = parse_config(TINY | {"algorithm": "trials", "trials": [FRESH], "reignition": None}, "test")
    assert config.data_keys == ("data",)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_folding_any_prefix_gives_the_state_that_went_on_whatever_the_order(tmp_path: Path, num_workers: int) -> None:
    config = trials_config(*MIXED, *[{**trial, "replicate": 2} for trial in MIXED])
    recorder = Recorder()
    driver = driven(config, judge=judged, num_workers=num_workers, order_seed=num_workers, on_change=recorder).run()
    for length, state in enumerate(recorder.states, start=1):
        history = History.fold(config, journal_of(tmp_path / str(length), recorder.records[:length]))
        assert history.state == state
    assert history.state == driver.state == driven(config, judge=judged).run().state
