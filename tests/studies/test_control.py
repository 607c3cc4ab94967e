"""The control's study says what the numbers say."""

import pandas as pd

from experiments.studies.control import Control
from tests.studies.made_up_searches import frame, search

SEEDS = range(5)
GAINS = (3.0, 2.0, 4.0, 2.5, 3.5)


def results(gain: float) -> pd.DataFrame:
    """Five seeds: paper ends so many times `GAINS` above the control, paired as the control does but for luck."""
    runs = []
    for seed, more in zip(SEEDS, GAINS, strict=True):
        runs.append(search("paper", seed, [40, 43, 45], 50 + gain * more))
        runs.append(search("paired", seed, [40, 42, 41], 50 + (-1) ** seed * more))
        runs.append(search("control", seed, [40, 41, 44], 50))
    return frame(*runs)


def test_a_gain_over_the_control_is_the_answer() -> None:
    first = Control().findings(results(1.0))[0]
    assert "`paper` is better than `control`: +3.00" in first
    assert "no gain of `paired` over `control` can be told from 5 seeds" in first


def test_a_loss_to_the_control_is_the_answer() -> None:
    assert "`paper` is worse than `control`: -3.00" in Control().findings(results(-1.0))[0]


def test_without_a_gain_that_is_the_answer() -> None:
    first = Control().findings(results(0.0))[0]
    assert "no gain of `paper` over `control` can be told from 5 seeds: +0.00" in first


def test_the_rise_by_further_training_alone_is_told() -> None:
    said = Control().findings(results(1.0))
    assert any(
        "`control` gains 4.0 ± 0.0 points of AP in 3 ± 0 trainings, by further training alone" in s for s in said
    )


def test_the_table_has_what_each_arm_has_over_the_control() -> None:
    table, seeds = Control().tables(results(1.0)).values()
    assert list(table["arm"]) == ["paper", "paired", "control"]
    assert list(table["over control"])[0] == "+3.00 ± 0.79" and list(table["over control"])[2] == ""
    assert list(seeds["paper"]) == [50 + more for more in GAINS]
