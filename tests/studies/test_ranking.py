"""What is said of rankings, from scores whose order is known."""

from collections.abc import Sequence

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.ranking import Ranking, networks
from tests.studies.made_up_jobs import jobs_of, search_of

STUDY = Ranking()
SCORES = [10.0, 8.0, 12.0, 11.0, 9.0, 14.0, 13.0, 15.0, 16.0, 7.0, 17.0, 6.0]


def ranked(search: pd.DataFrame, pretrained: Sequence[float], full: Sequence[float]) -> pd.DataFrame:
    """The networks of a search, trained in full with and without pretraining, and from scratch."""
    rows = []
    for architecture, one, other in zip(search["architecture"], pretrained, full, strict=True):
        rows += [
            {"architecture": architecture, "role": "pretrain", "recipe": "reignition", "score": None},
            {"architecture": architecture, "recipe": "final", "backbone": 0, "score": one},
            {"architecture": architecture, "recipe": "final", "score": other},
            {"architecture": architecture, "recipe": "serial", "score": other - 5},
        ]
    return pd.concat([search, jobs_of("ranked", rows)], ignore_index=True)


def test_rankings_that_agree_are_said_to() -> None:
    search = search_of(SCORES)
    results = ranked(search, [score + 20 for score in SCORES], [-score for score in SCORES])
    first, *_ = STUDY.findings(results)
    assert first.startswith("There is clear agreement") and "tau 1.00" in first and "12 networks" in first
    assert any(said.startswith("There is disagreement between full training") for said in STUDY.findings(results))
    table, found = STUDY.tables(results).values()
    assert list(table["tau"]) == [1, -1, -1, 1, -1]
    assert len(found) == len(SCORES)
    STUDY.draw(results)


def test_no_agreement_is_said_of_rankings_that_have_nothing_in_common() -> None:
    shuffled = [23.0, 30.0, 21.0, 28.0, 31.0, 22.0, 29.0, 24.0, 27.0, 26.0, 25.0, 20.0]
    first, *_ = STUDY.findings(ranked(search_of(SCORES), shuffled, shuffled))
    assert first.startswith("No agreement can be told")


def test_agreement_that_is_no_more_than_the_training_behind_is_said_to_be_so() -> None:
    fast = [10.0, 11.2, 11.1, 11.3, 12.2, 12.1, 12.3, 13.2, 13.1, 13.3, 14.2, 14.1, 14.3, 15.2, 15.1, 15.3]
    search = search_of(fast)
    behind = networks(ranked(search, fast, fast))["behind"]
    # Full training knows the step alone; within one it has the order the other way round.
    full = [step - score / 1000 for step, score in zip(behind, fast, strict=True)]
    said = " ".join(STUDY.findings(ranked(search, full, full)))
    assert "may be no more than how long" in said
    assert "may be no more than how long" not in " ".join(STUDY.findings(ranked(search, fast, fast)))


def test_trainings_behind_a_candidate_are_counted_along_its_parents() -> None:
    found = networks(search_of([10.0, 9.0, 12.0, 11.0, 13.0, 5.0]))
    assert list(found["behind"]) == [0, 1, 1, 2, 2, 3]
    assert list(found.loc[found["accepted"], "index"]) == [0, 2, 4]


def test_failed_trainings_are_left_out_and_counted() -> None:
    results = ranked(search_of(SCORES), SCORES, SCORES)
    gone = results.index[(results["arm"] == "ranked") & results["backbone"].notna()][:2]
    results.loc[gone, "status"], results.loc[gone, "score"] = "failed", None
    *_, last = STUDY.findings(results)
    assert last == f"Of {len(results)} jobs 2 failed (2 of `ranked`); they count as no score."
    assert "10 networks" in STUDY.findings(results)[0]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4), st.booleans())
def test_any_scores_have_an_answer(scores: list[float], has_ranked: bool) -> None:
    search = search_of(scores)
    results = ranked(search, scores, scores) if has_ranked else search
    assert all(said.endswith(".") and "nan" not in said for said in STUDY.findings(results))
    STUDY.tables(results)
    if len(scores) > 1:
        STUDY.draw(results)


@pytest.mark.parametrize("maximize", [True, False])
def test_of_a_metric_of_which_less_is_better_the_rankings_agree_all_the_same(maximize: bool) -> None:
    search = search_of(SCORES, maximize=maximize, mode="max" if maximize else "min")
    assert "tau 1.00" in STUDY.findings(ranked(search, SCORES, SCORES))[0]


def test_full_training_that_falls_behind_inherited_weights_is_held_against_the_study_first() -> None:
    search = search_of(SCORES)
    short = STUDY.findings(ranked(search, [score - 5 for score in SCORES], SCORES))
    long = STUDY.findings(ranked(search, [score + 5 for score in SCORES], SCORES))
    assert "too short here to be a judge: after it 12 of 12 networks have a worse AP" in short[0]
    assert "too short" not in " ".join(long)
