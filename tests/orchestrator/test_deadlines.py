"""Deadlines tell a hang from work; no healthy training ever meets one."""

from pathlib import Path

import pytest

from orchestrator.deadlines import FACTOR, Deadlines
from orchestrator.history import History
from orchestrator.journal import Journal
from tests.orchestrator.test_long_runs import long_run, run_config
from workers.storage import open_storage


def test_there_is_none_before_a_training_of_its_recipe_has_ended() -> None:
    deadlines = Deadlines()
    deadlines.learn("final", 1.0, 100.0)
    assert deadlines.of("training", 1.0) is None


def test_it_goes_by_the_longest_and_is_longer_for_more_flops_but_not_shorter_for_fewer() -> None:
    deadlines = Deadlines()
    for gflops, seconds in ((2.0, 100.0), (4.0, 50.0)):
        deadlines.learn("training", gflops, seconds)
    assert deadlines.of("training", 2.0) == FACTOR * 100
    assert deadlines.of("training", 6.0) == FACTOR * 300
    assert deadlines.of("training", 0.1) == FACTOR * 100


@pytest.mark.parametrize(("attempt", "is_learned"), [(0, True), (1, False)])
def test_nothing_is_learned_from_the_rest_of_a_training_that_went_on(
    attempt: int, is_learned: bool, tmp_path: Path
) -> None:
    run = long_run(tmp_path, keeps_records=True)
    run.tell_until(1)
    for record in run.records:
        if record["type"] == "told":
            record["result"]["attempt"] = attempt
    journal = Journal(open_storage(tmp_path / "run"))
    journal.open_epoch()
    journal.append(run.records)
    history = History.fold(run_config("paper"), Journal(open_storage(tmp_path / "run")))
    recipe = history.trials.rows[0]["recipe"]
    assert (history.deadlines.of(recipe, 1.0) is not None) == is_learned
