"""The study of phases: the paper's table, against a control of as much training."""

from typing import Any

import pandas as pd
import pytest

from experiments.studies.phases import Phases, steps
from tests.studies.made_up_searches import FINAL, NAN, frame, job, search


def phased(arm: str, seed: int, rounds: tuple[float, float], refreshed: float | None, parallel: float, final: float):
    """A search from 40: a candidate in each round, a reignition after each if there is a score for its refresh."""
    plan: list[tuple[dict[str, Any], float]] = [({"role": "start", "morphs": ""}, 40.0)]
    for number, score in enumerate(rounds, start=1):
        plan.append(({"round": number}, score))
        if refreshed is not None:
            plan.append(({"round": number, "role": "pretrain", "epochs": 8.0}, NAN))
            plan.append(({"round": number, "role": "refresh"}, refreshed))
    of_level = {"phase": "parallel", "round": 2, "recipe": "parallel", "epochs": 1.0}
    plan += [(of_level | {"role": "start"}, 39.0), (of_level, parallel)]
    rows, best = [], NAN
    for index, (values, score) in enumerate(plan):
        best = score if not best >= score and score == score else best
        rows.append(job(arm, seed, index, score, best=best, parent=index - 1 if index else None, **values))
    return [*rows, job(arm, seed, len(rows), final, parent=1, best=best) | FINAL]


def results(gain: float) -> pd.DataFrame:
    """Three seeds; reignition lowers the refresh's own score, and its search ends so far above the other."""
    runs = []
    for seed in range(3):
        luck = 0.2 * seed
        runs.append(phased("reignited", seed, (42.0, 45.0 + gain + luck), 41.0, 44.0, 50.0 + gain + luck))
        runs.append(phased("not-reignited", seed, (42.0, 45.0), None, 46.0, 50.0))
        runs.append(search("control", seed, [40, 41, 41.5], 49))
    return frame(*runs)


def test_the_table_is_the_papers() -> None:
    table = next(iter(Phases().tables(results(0.0)).values()))
    plain = table[table["arm"] == "not-reignited"]
    assert list(plain["after"]) == ["start", "serial round 1", "serial round 2", "parallel"]
    assert list(plain["best so far"]) == ["40.0 ± 0.0", "42.0 ± 0.0", "45.0 ± 0.0", "46.0 ± 0.0"]
    assert list(plain["gain"]) == ["", "+2.00 ± 0.00", "+3.00 ± 0.00", "+1.00 ± 0.00"]
    assert list(table["after"])[:6] == [
        "start", "serial round 1", "reignition 1", "serial round 2", "reignition 2", "parallel",
    ]  # fmt: skip


def test_a_phase_is_held_against_a_control_of_as_many_epochs() -> None:
    found = steps(results(0.0))
    first = found[(found["seed"] == 0) & (found["arm"] == "not-reignited")].set_index("step")
    assert first["epochs"].to_dict() == {"start": 3, "serial round 1": 6, "serial round 2": 9, "parallel": 11}
    assert list(first["control"]) == [40, 41, 41.5, 41.5]
    assert list(first["over"]) == [0, 1, 3.5, 4.5]
    reignited = found[(found["seed"] == 0) & (found["arm"] == "reignited")].set_index("step")
    assert reignited["epochs"]["reignition 1"] == 9  # the refresh; a pretraining trains no detector


def test_a_refresh_has_its_own_score_beside_the_best_before_it() -> None:
    found = steps(results(0.0)).set_index(["arm", "seed", "step"]).loc["reignited", 0, "reignition 1"]
    assert (found["own"], found["best"], found["change"]) == (41, 42, -1)
    said = Phases().findings(results(0.0))
    assert any(
        "refresh of reignition 1 scores 41.0 ± 0.0 AP itself, against the best before it: -1.00" in s for s in said
    )


@pytest.mark.parametrize(
    ("gain", "words"),
    [(2.0, "`reignited` is better than `not-reignited`: +2.20"), (-2.0, "`reignited` is worse than `not-reignited`"),
     (-0.2, "no gain of `reignited` over `not-reignited` can be told from 3 seeds")],
)  # fmt: skip
def test_what_reignition_does_is_what_the_numbers_say(gain: float, words: str) -> None:
    said = Phases().findings(results(gain))
    assert words in said[1]
    assert any("round 2's own networks" in s and words.split("`: ")[0] in s for s in said)


def test_a_parallel_level_that_finds_nothing_is_said_to() -> None:
    said = Phases().findings(results(0.0))
    assert "The parallel level of `reignited` found a better network with 0 of 3 seeds." in said
    assert "The parallel level of `not-reignited` found a better network with 3 of 3 seeds." in said
