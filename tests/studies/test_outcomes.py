"""What searches come to, and how arms are compared, on numbers that are known."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.shared import outcomes as module
from experiments.studies.shared.outcomes import (
    by_seed,
    compared,
    course,
    gain,
    outcomes,
    shortcomings,
    summary,
    verdict,
)
from tests.studies.made_up_searches import NAN, frame, job, search, training, trials

OPPOSITE = {"better": "worse", "worse": "better", "open": "open", "none": "none"}


def test_a_search_is_a_row_of_what_it_found_and_what_that_cost() -> None:
    results = frame(search("paper", 0, [40, 42, None, 41, 45], final=50))
    (row,) = outcomes(results, ["paper", "control"]).to_dict("records")
    assert (row["start"], row["mean"], row["best"], row["final"]) == (40, 42, 45, 50)
    assert (row["architecture"], row["gflops"], row["growth"]) == ("paper 0 4", 6.0, 6.0)
    assert (row["trainings"], row["epochs"], row["seconds"], row["failed"]) == (4, 12, 300, 1)
    assert row["steps"] == 2  # 4 is a child of 1, that of the start
    assert row["depth"] == 10 + 3 + 3 + 3


def test_what_trials_found_has_its_full_training_in_a_run_of_its_own() -> None:
    results = frame(trials("random-many", 0, {"a": 20, "b": 30, "c": 25}), training("random-many-final", 0, 44))
    (row,) = outcomes(results, ["random-many"]).to_dict("records")
    assert (row["best"], row["final"], row["trainings"], row["epochs"]) == (30, 44, 3, 9)
    assert row["depth"] == 10 + 3 and pd.isna(row["start"])


def test_a_run_in_which_all_failed_has_no_scores() -> None:
    results = frame(search("paper", 0, [None, None]), search("control", 0, [40, 41], final=45))
    runs = outcomes(results, ["paper", "control"])
    assert pd.isna(runs["best"][0]) and pd.isna(runs["final"][0]) and runs["failed"][0] == 2
    assert "nothing can be said of `paper` against `control`" in compared(runs, "paper", "control")
    assert shortcomings(results, runs, ["paper", "control", "fresh"]) == [
        "Of 5 jobs 2 failed (2 of `paper`); they count as no score.",
        "There is no run of `fresh`.",
        "All this is of one seed, which says nothing of chance.",
    ]
    assert list(summary(runs)["seeds"]) == [1, 1]


def pairs(gains: list[float], mode: str = "max") -> pd.DataFrame:
    """Outcomes of searches that end so much above the control's."""
    runs = []
    for seed, more in enumerate(gains):
        runs += [search("paper", seed, [40], 50 + more, mode), search("control", seed, [40], 50, mode)]
    return outcomes(frame(*runs), ["paper", "control"])


def test_a_gain_is_called_one_where_its_interval_leaves_out_zero() -> None:
    real, luck, one = pairs([3.0, 2.0, 2.5, 3.5, 3.0]), pairs([3.0, -2.0, 0.5, -1.5, 1.0]), pairs([9.0])
    assert compared(real, "paper", "control").startswith("In final AP, `paper` is better than `control`: +2.80 (95 %")
    assert "`control` is worse than `paper`: -2.80" in compared(real, "control", "paper")
    assert "no gain of `paper` over `control` can be told from 5 seeds: +0.20" in compared(luck, "paper", "control")
    assert compared(one, "paper", "control") == (
        "In final AP, no gain of `paper` over `control` can be told from 1 seed: +9.00 (one pair)."
    )


def test_of_a_metric_of_which_less_is_better_less_is_a_gain() -> None:
    runs = pairs([-3.0, -2.0, -2.5], mode="min")
    assert gain(runs, "paper", "control").mean == pytest.approx(2.5)
    assert verdict(gain(runs, "paper", "control")) == "better"


@settings(max_examples=20)
@given(st.lists(st.floats(-30, 30), max_size=6), st.sampled_from(["max", "min"]))
def test_turned_round_a_comparison_says_the_opposite(gains: list[float], mode: str) -> None:
    runs = pairs(gains, mode)
    there, back = gain(runs, "paper", "control"), gain(runs, "control", "paper")
    assert there.num == len(gains) and verdict(back) == OPPOSITE[verdict(there)]
    assert there.num == 0 or back.mean == pytest.approx(-there.mean)


def test_seeds_pair_by_their_number_not_by_their_order() -> None:
    results = frame(
        search("paper", 1, [40], 51), search("paper", 0, [40], 60), search("control", 0, [40], 50),
        search("control", 1, [40], 50), search("paper", 2, [40], 99),
    )  # fmt: skip
    runs = outcomes(results, ["paper", "control"])
    found = gain(runs, "paper", "control")
    assert (found.num, found.mean) == (2, 5.5)
    table = by_seed(runs)
    assert list(table.columns) == ["seed", "paper", "control"] and list(table["paper"]) == [60, 51, 99]
    assert shortcomings(results, runs, ["paper", "control"]) == ["Not every arm has all 3 seeds: `control` 2."]


def test_what_a_search_had_found_is_kept_to_the_end_of_the_longest() -> None:
    results = frame(search("paper", 0, [40, 45, None, 44], final=50), search("control", 0, [40, 41], final=50))
    over = course(results, ["paper", "control"], "trainings")
    assert list(over[over["arm"] == "paper"]["best"]) == [40, 45, 45]
    assert list(over[over["arm"] == "control"]["best"]) == [40, 41, 41]
    assert sorted(set(course(results, ["paper"], "epochs")["epochs"])) == [3, 6, 9]


def test_a_pretraining_is_no_training_of_a_detector() -> None:
    rows = [job("paper", 0, 0, 40, role="start", best=40.0), job("paper", 0, 1, NAN, role="pretrain", best=40.0)]
    over = course(frame([*rows, job("paper", 0, 2, 44, best=44.0)]), ["paper"], "trainings")
    assert list(over["trainings"]) == [1, 2] and list(over["best"]) == [40, 44]


def test_no_arm_has_no_course() -> None:
    results = frame(search("paper", 0, [40]))
    assert course(results, ["control"], "trainings").empty and outcomes(results, ["control"]).empty
    assert module.metric(outcomes(results, ["control"])) == "score"
