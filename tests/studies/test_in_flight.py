"""The study of candidates under way at a time: what it costs, and what it gains."""

import pandas as pd
import pytest

from experiments.studies.in_flight import InFlight, late, timed
from tests.studies.made_up_searches import frame, search


def results(loss: float) -> pd.DataFrame:
    """Three seeds of a start and four candidates, a minute each; many under way end so far below one."""
    runs = []
    for seed in range(3):
        for arm, lost in (("in-flight-1", 0.0), ("paper", 0.0), ("in-flight-16", loss + 0.1 * seed)):
            runs.append(search(arm, seed, [40, 41, 42, 43, 44], 50 + (-1) ** seed * (arm == "paper") - lost))
        runs.append(search("control", seed, [40, 41], 45))
    return frame(*runs)


def test_a_loss_in_accuracy_is_told_beside_the_gain_in_time() -> None:
    said = InFlight().findings(results(3.0))
    assert "no gain of `paper` over `in-flight-1` can be told from 3 seeds" in said[0]
    assert "`in-flight-16` is worse than `in-flight-1`: -3.10" in said[0]
    assert "`in-flight-16` is better than `control`: +1.90" in said[1]
    assert any("With 16 under way and as many workers, `in-flight-16` takes 2.0 ± 0.0 minutes, 2.5" in s for s in said)


def test_without_a_loss_none_is_told() -> None:
    assert "no gain of `in-flight-16` over `in-flight-1` can be told" in InFlight().findings(results(-0.1))[0]


def test_time_is_that_of_as_many_workers_as_candidates_under_way() -> None:
    runs = timed(results(0.0)).drop_duplicates("arm").set_index("arm")
    assert runs["minutes"].to_dict() == {"in-flight-1": 5, "paper": 2, "in-flight-16": 2, "control": 2}
    assert runs["speedup"]["paper"] == 2.5 and runs["speedup"]["in-flight-1"] == 1
    (table, _) = InFlight().tables(results(0.0)).values()
    assert list(table["workers busy, %"]) == ["100 ± 0", "62 ± 0", "16 ± 0"]


def test_a_candidate_is_late_once_its_parent_is_no_longer_the_best() -> None:
    rows = frame(search("paper", 0, [40, 41, 42, 41]))
    assert late(rows) == 0
    outdated = rows.assign(parent=[float("nan"), 0, 0, 0])  # 2 and 3 have been decided before 1 was told
    assert late(outdated) == pytest.approx(2 / 3)
    assert pd.isna(late(rows[:1]))
