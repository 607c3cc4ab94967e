"""What is said of noise and of accepted steps, where it is known what is luck."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.luck import Luck, steps_taken
from experiments.studies.shared.noise import Scores, best_is_good, better_than_control, variance_shares
from tests.studies.made_up_jobs import jobs_of, search_of

STUDY = Luck()


def studied(real: float, noise: float, *, seeds: int = 3, mode: str = "max", step: float = 0.0) -> pd.DataFrame:
    """Twenty children that differ by `real`, trainings by `noise`; accepted steps are worth `step`."""
    rng, parts, sign = np.random.default_rng(1), [], 1 if mode == "max" else -1
    for seed in range(seeds):
        same = {"seed": seed, "mode": mode}
        worth = {"": 0.0} | {f"expand({number})": rng.normal(0, real) for number in range(20)}
        children = [
            {"morphs": morphs, "replicate": replicate, "score": 50 + sign * (value + rng.normal(0, noise))}
            for replicate in range(3)
            for morphs, value in worth.items()
        ]
        taken = [
            {
                "morphs": morphs,
                "replicate": replicate,
                "score": 50 + sign * (1 + step * bool(morphs) + rng.normal(0, noise)),
            }
            for replicate in (1, 2, 3)
            for morphs in ("swap(1)", "")
        ]
        search = search_of([50.0, 50 - sign * 1.0, 50 + sign * 4.0], maximize=mode == "max", **same)
        start = jobs_of("start", [{"score": 50.0, "role": "final"}], **same)
        parts += [start, search, jobs_of("children", children, **same), jobs_of("step-2", taken, **same)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_scores_that_are_the_networks_are_said_to_be(mode: str) -> None:
    said = STUDY.findings(studied(5.0, 0.5, mode=mode, step=2.0))
    share = int(said[0].removeprefix("Of the variance of scores by one seed ").split()[0])
    assert share > 95 and "60 children of 3 starts, 3 seeds" in said[0]
    assert any("Of the accepted steps 3 of 3 (100 %) are better" in each for each in said)
    STUDY.draw(studied(5.0, 0.5))


def test_scores_that_are_luck_are_said_to_be() -> None:
    results = studied(0.0, 2.0, seeds=5)
    said = STUDY.findings(results)
    share = int(said[0].removeprefix("Of the variance of scores by one seed ").split()[0])
    assert share < 15
    noise, choices, taken = STUDY.tables(results).values()
    assert len(noise) == len(taken) == 5
    assert 35 < float(choices["is in the better half by the other seeds, %"].iloc[1]) < 65
    assert taken["gain over that"].mean() < 1.5 and (taken["accepted by"] == 4).all()


def test_what_a_step_gained_is_taken_apart() -> None:
    taken = steps_taken(studied(0.0, 0.0, seeds=1, step=1.5)).iloc[0]
    assert (taken["accepted by"], taken["training on"], taken["gain"], taken["error"]) == (4, 1, 1.5, 0)
    said = STUDY.findings(studied(0.0, 0.0, seeds=1, step=1.5))
    assert "the morph +1.50 more (1.50 over steps); the remaining +1.50 were the luck of the seed." in said[-1]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 7).flatmap(
        lambda size: st.tuples(st.permutations(range(size)), st.permutations(range(size)), st.integers(2, size))
    )
)
def test_choices_are_counted_as_if_each_had_been_made(drawn: tuple[list[int], list[int], int]) -> None:
    own, others, num = drawn
    scores = np.array([own, others], float).T
    one = Scores(scores, np.zeros(2), 0.0)

    def share(own: list[int], others: list[int]) -> float:
        good = []
        for group in combinations(range(len(own)), num):
            chosen = max(group, key=lambda child: own[child])
            better = sum(others[child] > others[chosen] for child in group)
            good.append(better < -(-num // 2))
        return float(np.mean(good))

    found, judged = best_is_good([one], num)
    assert judged == 2
    assert found == pytest.approx((share(own, others) + share(others, own)) / 2)


def test_a_seed_that_is_luckier_for_all_decides_nothing() -> None:
    children = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.5], [4.0, 5.0, 6.0]])
    one, other = (
        variance_shares([Scores(values, np.zeros(3), 0.0)]) for values in (children, children + [0.0, 7.0, -3.0])
    )
    assert other.seeds == pytest.approx(one.seeds) and other.share == pytest.approx(one.share)


@pytest.mark.parametrize("seeds", [(3, 3), (2, 6), (1, 8)])
def test_starts_with_other_numbers_of_seeds_do_not_change_the_share(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    found = [
        Scores(rng.normal(0, 1, (20, 1)) + rng.normal(0, 1, (20, num)), np.zeros(num), 0.0)
        for num in seeds
        for _ in range(300)
    ]
    shares = variance_shares(found)
    assert shares.share == pytest.approx(0.5, abs=0.03) and shares.low < shares.share < shares.high
    assert (shares.seeds, shares.children) == pytest.approx((1, 1), abs=0.05)


def test_children_are_judged_by_the_seeds_that_did_not_choose_them() -> None:
    children = np.array([[3.0, 1.0], [-1.0, 2.0]])
    one = Scores(children, np.zeros(2), 2.5)
    assert better_than_control([one], "parent") == (1, 1)
    assert better_than_control([one], "control") == (2, 3)
    assert better_than_control([one], "nothing") == (3, 4)


def test_what_is_missing_is_said() -> None:
    results = studied(1.0, 1.0, seeds=1)
    searches = results[results["arm"].isin(["paper", "start"])]
    assert STUDY.findings(searches) == [
        "How much of a score is the network's can't be told: no start has children with two seeds and a control.",
        "No accepted step was taken again.",
    ]
    STUDY.tables(searches), STUDY.draw(searches)
    once = results[(results["replicate"] == 0) | (results["arm"] == "paper")]
    assert "nan" not in " ".join(STUDY.findings(once))
    STUDY.tables(once), STUDY.draw(once)
    control = results["arm"].eq("children") & results["morphs"].eq("")
    results.loc[control & (results["replicate"] == 1), ["status", "score"]] = ["failed", None]
    said = STUDY.findings(results)
    assert "2 seeds)" in said[0] and "1 of `children`" in said[-1]
