"""The study of rules of acceptance says what the numbers say."""

import pandas as pd

from experiments.studies.acceptance import Acceptance
from tests.studies.made_up_searches import frame, search


def results(gain: float) -> pd.DataFrame:
    """Four seeds: the paired rule ends above the paper's, which ends as the control does."""
    runs = []
    for seed in range(4):
        luck = (-1) ** seed
        runs.append(search("paper", seed, [40, 43, 45, 47], 50 + luck))
        runs.append(search("paired", seed, [40, 43, 42, 41], 50 + luck + gain + 0.1 * seed))
        runs.append(search("control", seed, [40, 41, 41, 41], 50, morphs=""))
    return frame(*runs)


def test_the_better_rule_is_named_and_what_has_no_run_is_said_once() -> None:
    said = Acceptance().findings(results(2.0))
    assert said[0].startswith("In final AP, `paired` is better than `paper`: +2.15")
    assert "thrice" not in said[0] and "There is no run of `paired-unconfirmed`, `paired-thrice`." in said
    assert "worse than `paper`" in Acceptance().findings(results(-2.0))[0]


def test_rules_that_come_to_the_same_are_not_told_apart() -> None:
    said = Acceptance().findings(results(-0.15))
    assert "no gain of `paired` over `paper` can be told from 4 seeds" in said[0]
    assert "no gain of `paper` over `control`" in said[1]


def test_accepted_steps_are_those_behind_what_was_found() -> None:
    table, _ = Acceptance().tables(results(2.0)).values()
    steps = dict(zip(table["arm"], table["accepted steps"], strict=True))
    assert steps == {"paper": "3.0 ± 0.0", "paired": "1.0 ± 0.0", "control": "0.0 ± 0.0"}
