"""What is said of morphs, from scores that lose and regain what is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.morphs import Morphs, morphed
from tests.studies.made_up_jobs import jobs_of

STUDY = Morphs()
STEPS = (0, 5, 40)


def training(morphs: str, scores: tuple[float, ...], end: float, loss: float = 1.0) -> dict[str, object]:
    """A job that was measured at `STEPS` and in the end, in percent."""
    metrics = {f"step {step}/AP": score / 100 for step, score in zip(STEPS, scores, strict=False)}
    return {"morphs": morphs, "score": end, "metrics": {**metrics, "step 0/loss": loss}}


def studied(seeds: int = 5, insert_end: float = 41.0, mode: str = "max") -> pd.DataFrame:
    """Expand keeps all, insert loses 30 at once, swap 5."""
    rng, sign = np.random.default_rng(0), 1 if mode == "max" else -1

    def at(*losses: float) -> tuple[float, ...]:
        return tuple(50 - sign * loss for loss in losses)

    parts = []
    for seed in range(seeds):
        shift = rng.normal(0, 0.1)
        rows = [
            training("", at(0, 4, 2), at(-1)[0]),
            training("swap(1)", at(5 + shift, 4, -1), at(-1)[0]),
            training("expand(0)", at(0, 3, 2), at(-2 + shift)[0]),
            training("expand(1)", at(0, 3, 2), at(-2 + shift)[0]),
            training("new_stage()", at(0, 5, -1), at(-1)[0]),
            training("insert(0)", at(30 + shift, 20, 9), at(50 - insert_end)[0], loss=2.0),
            training("insert(1)", at(30, 20, 9), at(50 - insert_end + 2)[0], loss=2.0),
        ]
        parts.append(jobs_of("morphed", rows, seed=seed, mode=mode))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_lost_at_once_is_said_by_kind(mode: str) -> None:
    said = STUDY.findings(studied(mode=mode))
    assert said[0] == "At once, a block by expand loses nothing (5 seeds)."
    assert said[1].startswith("At once, the same block with random weights loses +30.")
    assert said[2].startswith("At once, a swap loses +5.") and "5 pairs" in said[2]
    assert said[3] == "At once, a new stage loses nothing (5 seeds)."
    assert said[-1].startswith("After the fast scheme, expand is better than the random block: +12.")


def test_no_difference_in_the_end_is_said_to_be_none() -> None:
    results = studied(insert_end=53.0)
    insert = results["morphs"] == "insert(0)"
    results.loc[insert, "score"] += 3 * (results.loc[insert, "seed"] - 2)
    assert STUDY.findings(results)[-1].startswith("After the fast scheme no difference between expand and the random")


def test_accuracy_is_regained_at_the_first_step_that_has_it() -> None:
    found = morphed(studied(seeds=1)).set_index("morphs")
    assert found["regained"].to_dict() == {
        "": 0,
        "swap(1)": 40,
        "expand(0)": 0,
        "expand(1)": 0,
        "new_stage()": 0,
        "insert(0)": np.inf,
        "insert(1)": np.inf,
    }
    assert not found.loc["insert(0)", "ever"] and found.loc["swap(1)", "ever"]
    at_once, back, level = STUDY.tables(studied()).values()
    assert list(at_once["morph"]) == ["none", "swap", "expand", "new_stage", "insert"]
    assert back.set_index("morph").loc["swap"].tolist() == ["0", "0", "100", "100"]
    assert level.set_index("morph").loc["swap"].tolist() == ["0", "100", "100"]
    assert level.set_index("morph").loc["insert"].tolist() == ["0", "0", "0"]
    STUDY.draw(studied())


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(0, 6), min_size=1), st.integers(1, 2))
def test_any_jobs_that_are_left_have_an_answer(kept: set[int], seeds: int) -> None:
    results = studied(seeds)
    results.loc[~results["index"].isin(kept), ["status", "score", "metrics"]] = ["failed", None, "{}"]
    said = STUDY.findings(results)
    assert all(each.endswith(".") and "nan" not in each for each in said)
    STUDY.tables(results)
    assert ("failed" in said[-1]) == (len(kept) < 7)
