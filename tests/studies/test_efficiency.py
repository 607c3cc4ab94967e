"""The study of efficiency: what the paper's Table 9 has, at equal cost."""

import pandas as pd
import pytest

from experiments.studies.efficiency import Efficiency, found
from tests.studies.made_up_searches import START, frame, search, training, trials


def results(gain: float) -> pd.DataFrame:
    """Three seeds: the search ends so far above random ones; from scratch its network is as good as the start."""
    runs = []
    for seed in range(3):
        luck = 0.2 * seed
        runs.append(training("start", seed, 42, epochs=30.0, gflops=2.0))
        runs.append(search("paper", seed, [43, 45, 47], 52 + gain + luck))
        runs.append(search("control", seed, [43, 44, 43], 50, architecture=START))
        runs.append(trials("random-many", seed, {"a": 20, "b": 30, "c": 10}))
        runs.append(training("random-many-final", seed, 52, architecture="b"))
        runs.append(trials("random-long", seed, {"d": 40}, epochs=9.0))
        runs.append(training("random-long-final", seed, 52 - (-1) ** seed * 5, architecture="d"))
        scratch = {START: 41.0, f"paper {seed} 2": 41.0, "b": 35.0, "d": 42.0}
        runs.append(trials("from-scratch", seed, scratch, recipe="final", epochs=30.0))
    return frame(*runs)


@pytest.mark.parametrize(
    ("gain", "words"),
    [(2.0, "`paper` is better than `random-many`: +2.20"), (-2.0, "`paper` is worse than `random-many`: -1.80"),
     (-0.2, "no gain of `paper` over `random-many` can be told from 3 seeds")],
)  # fmt: skip
def test_scores_with_weights_are_held_against_the_control_then_random_search(gain: float, words: str) -> None:
    said = Efficiency().findings(results(gain))[1]
    assert "`control`" in said.split(". ")[0] and words in said
    assert "over `random-long` can be told" in said and "fresh" not in said
    assert "behind these weights: `paper` 49 ± 0, `control` 46 ± 0, `random-many` 13 ± 0, `random-long` 19 ± 0." in said


def test_networks_are_matched_with_their_trainings_from_scratch() -> None:
    runs = found(results(1.0)).drop_duplicates("arm").set_index("arm")
    assert runs["scratch"].to_dict() == {"paper": 41, "control": 41, "random-many": 35, "random-long": 42}
    first = Efficiency().findings(results(1.0))[2]
    assert "In AP from scratch, no gain of `paper` over `control` can be told from 3 seeds: +0.00" in first
    assert "`paper` is better than `random-many`: +6.00" in first and "worse than `random-long`: -1.00" in first


def test_what_is_not_trained_from_scratch_has_no_such_score() -> None:
    without = results(1.0)
    without = without[(without["arm"] != "from-scratch") | (without["architecture"] != "b")]
    runs = found(without).set_index("arm")
    assert runs["scratch"]["random-many"].isna().all() and runs["scratch"]["paper"].notna().all()


def test_the_cost_stands_beside_each_and_the_starts_beside_those_who_have_it() -> None:
    runs = found(results(1.0)).drop_duplicates("arm").set_index("arm")
    assert runs["epochs"].to_dict() == {"paper": 9, "control": 9, "random-many": 9, "random-long": 9}
    assert runs["given"].to_dict() == {"paper": 30, "control": 30, "random-many": 0, "random-long": 0}
    assert runs["depth"].to_dict() == {"paper": 49, "control": 46, "random-many": 13, "random-long": 19}
    assert runs["growth"]["paper"] == 2  # found 4 GFLOPs, the full training's index and one; the start has 2
    said = Efficiency().findings(results(1.0))
    assert any(
        "`random-many` took 3 ± 0 trainings, 9 ± 0 epochs and 3.0 ± 0.0 minutes; the networks" in s for s in said
    )
    assert any("minutes, beside the 30 ± 0 epochs of the start; the networks" in s for s in said)
    assert any("20.0 ± 0.0 AP on average, 30.0 ± 0.0 at best" in s for s in said)
