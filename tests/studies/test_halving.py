"""What is said of halving, where it is known what the scores on the way tell."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.halving import Halving, Trainings, _halve, halved
from experiments.studying.statistics import spread
from tests.studies.made_up_jobs import jobs_of

STUDY = Halving()


def studied(noise: float, *, seeds: int = 2, num: int = 20, mode: str = "max", measured: int = 2) -> pd.DataFrame:
    """Children whose scores on the way are those of the end but for noise."""
    rng, sign, parts = np.random.default_rng(2), 1 if mode == "max" else -1, []
    for seed in range(seeds):
        rows = []
        for replicate in range(3):
            rows.append({"morphs": "", "replicate": replicate, "score": 50.0})
            for child in range(num):
                way = {
                    f"step {40 * (epoch + 1)}/AP": (50 + sign * (child - 10 + rng.normal(0, noise))) / 100
                    for epoch in range(measured)
                }
                score = 50 + sign * float(child)
                rows.append({"morphs": f"expand({child})", "replicate": replicate, "score": score, "metrics": way})
        parts.append(jobs_of("children", rows, seed=seed, mode=mode))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_scores_on_the_way_that_tell_the_end_keep_the_winner(mode: str) -> None:
    results = studied(0.0, mode=mode)
    found = halved(results)
    assert (found["kept"] == 1).all() and (found["lost"] == 0).all() and (found["truly lost"] == 0).all()
    assert found.groupby(["size", "cuts"])["saved"].first().round(3).to_dict() == {
        (3, 1): 0.222,  # of nine epochs three, then two times two
        (3, 2): 0.333,
        (7, 1): 0.286,
        (7, 2): 0.381,
        (20, 1): 0.333,
        (20, 2): 0.417,
    }
    said = STUDY.findings(results)
    assert said[0] == (
        "Of 3 candidates at a time, cut after epoch 1, the winner is kept in 100 % of cases, by chance in 67 %; "
        "0.00 ± 0.00 points of AP are lost, 0.00 ± 0.00 by the other seeds, and 22 % of the epochs saved "
        "(2 starts, 6 trainings of all children)."
    )
    table, ranks = STUDY.tables(results).values()
    assert len(table) == 6 and ranks["Kendall's tau with the end"].tolist() == ["1.00 ± 0.00"] * 2
    STUDY.draw(results)


def test_scores_on_the_way_that_tell_nothing_keep_the_winner_by_chance() -> None:
    found = halved(studied(1e4, seeds=6))
    for _, of_both in found.groupby(["size", "cuts"]):
        assert of_both["kept"].mean() == pytest.approx(of_both["by chance"].mean(), abs=0.25)
        assert of_both["lost"].mean() > 0.5


def test_what_is_beside_a_mean_is_the_deviation_between_starts() -> None:
    results = studied(4.0, seeds=3)
    assert "±" not in "".join(STUDY.findings(results[results["seed"] == 0]))
    alone = [100 * halved(results[results["seed"] == seed])["kept"] for seed in range(3)]
    table, ranks = STUDY.tables(results).values()
    expected = [spread(kept, 0) for kept in zip(*alone, strict=True)]
    assert table["keeps the winner, %"].tolist() == expected
    assert halved(results)["trainings"].eq(3).all() and len(ranks) == 2


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(5)), st.permutations(range(5)), st.sampled_from([1, 2]))
def test_a_cut_keeps_the_better_half_by_what_was_measured_then(
    first: list[int], second: list[int], end: list[int], cuts: int
) -> None:
    one = Trainings(np.array([first, second], float), np.array(end, float), np.full(5, np.nan))
    left = sorted(range(5), key=lambda child: -first[child])[:3]
    if cuts == 2:
        left = sorted(left, key=lambda child: -second[child])[:2]
    found = _halve(one, np.array([list(group) for group in permutations(range(5))][:7]), cuts)
    assert found["kept"] == (end.index(4) in left)
    assert found["lost"] == pytest.approx(4 - max(end[child] for child in left))
    assert 0 < found["saved"] < 0.5


def test_what_is_missing_is_said() -> None:
    assert STUDY.findings(studied(0.0, measured=0)) == ["No children were measured after their first epoch."]
    STUDY.tables(studied(0.0, measured=0)), STUDY.draw(studied(0.0, measured=0))
    once = studied(0.0, seeds=1, num=5, measured=1)
    once = once[once["replicate"] == 0].reset_index(drop=True)
    once.loc[1, ["status", "score"]] = ["failed", None]
    said = STUDY.findings(once)
    assert len(said) == 3 and "nan" not in " ".join(said)  # of 3, of all 4, and what failed
    assert "(1 start, 1 training of all children)" in said[0] and "of 4 candidates" in said[1].lower()
    STUDY.tables(once), STUDY.draw(once)
