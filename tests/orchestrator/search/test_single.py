"""One network's training, evaluation or pretraining as an algorithm: a plan of barrier jobs."""

from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.config_files import parse_config
from orchestrator.history import History
from orchestrator.search.protocol import WAIT, Done, live_weights
from orchestrator.search.single import Purpose, Single
from orchestrator.sources import best_job
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Stopped, search_settings
from tests.orchestrator.search.test_folding import Recorder, journal_of
from tests.orchestrator.tiny import TINY

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def driven(purpose: Purpose, *, pretrain_start: bool = False) -> FakeDriver:
    settings = search_settings(start="BB(1,1)+(0,1)", pretrain_start=pretrain_start)
    return FakeDriver(settings, algorithm_of=partial(Single, purpose=purpose))


@pytest.mark.parametrize(
    ("purpose", "kind", "recipe"),
    [("train", "train_full", "final"), ("evaluate", "evaluate", "serial"), ("pretrain", "pretrain", "reignition")],
)
def test_the_plan_is_one_job_of_the_whole_network(purpose: Purpose, kind: str, recipe: str) -> None:
    driver = driven(purpose).run()
    (job,) = driver.jobs
    assert (job.kind, job.recipe, job.phase, job.round, job.barrier) == (kind, recipe, purpose, 0, True)
    assert str(job.spec.architecture) == "BB(1,1)+(0,1)"
    assert (job.parent, job.backbone) == (None, None)
    assert driver.algorithm.recipes == (recipe,)
    assert driver.done.startswith("the ") and driver.done.endswith("of BB(1,1)+(0,1) is complete")


def test_a_training_may_begin_with_a_pretraining() -> None:
    driver = driven("train", pretrain_start=True).run(until=lambda driver: len(driver.jobs) == 2)
    pretraining, training = driver.jobs
    assert (pretraining.kind, training.kind, training.backbone) == ("pretrain", "train_full", 0)
    assert driver.algorithm.recipes == ("reignition", "final")
    assert 0 in live_weights(driver.state)
    assert best_job(driver.state) == 0  # as long as there is nothing better
    driver.run()
    assert best_job(driver.state) == 1
    assert live_weights(driver.state) == {0, 1}  # an ImageNet's training is not thrown away


@pytest.mark.parametrize("purpose", PURPOSES)
def test_nothing_is_decided_beside_a_job_nor_after_the_last(purpose: Purpose) -> None:
    driver = driven(purpose)
    assert driver.algorithm.decide(driver.state) is WAIT
    driver.finish(0.5)
    assert isinstance(driver.algorithm.decide(driver.state), Done)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_failure_stops_the_run_with_its_reason_and_the_job_may_run_again(purpose: Purpose) -> None:
    driver = driven(purpose)
    with pytest.raises(Stopped, match=r"job 0 \(\w+, BB\(1,1\)\+\(0,1\)\) failed: out of memory"):
        driver.finish(FAILED)
    assert list(driver.state.pending) == [0]
    driver.finish(0.5)
    assert driver.done


def test_an_evaluation_is_no_best_and_a_training_is() -> None:
    assert best_job(driven("evaluate").run().state) is None
    training = driven("train").run()
    assert training.best_overall.index == best_job(training.state) == 0


@pytest.mark.parametrize("purpose", ["train", "pretrain"])
def test_folding_any_prefix_gives_the_state_that_went_on(purpose: Purpose, tmp_path: Path) -> None:
    config = parse_config(TINY | {"algorithm": purpose}, "test")
    recorder = Recorder()
    driver = FakeDriver(config.search, algorithm_of=partial(Single, purpose=purpose), on_change=recorder).run()
    for length, state in enumerate(recorder.states, start=1):
        history = History.fold(config, journal_of(tmp_path / str(length), recorder.records[:length]))
        assert isinstance(history.algorithm, Single)
        assert history.state == state
    assert history.state == driver.state
    assert history.trials.rows[0]["is_best"] == (purpose == "train")
