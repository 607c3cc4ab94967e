"""Jobs of made-up searches, as `experiments.studies.shared.jobs` records them."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import pandas as pd

from experiments.studies.shared.jobs import COLUMNS

NAN = float("nan")
START = "BB(1,dd1,d,1)"


def search(
    arm: str, seed: int, scores: Sequence[float | None], final: float | None = None, mode: str = "max", **values: Any
) -> list[dict[str, Any]]:
    """A search by the paper's rule, one candidate at a time: each score is of a morph of the best so far.

    Args:
        arm: its name.
        seed: its seed.
        scores: of the start and its candidates; None for what has failed.
        final: of the full training; None for a run without.
        mode: ``max`` or ``min``.
        values: of all its jobs, by column, in place of the usual ones.
    """
    better = max if mode == "max" else min
    rows: list[dict[str, Any]] = []
    best: dict[str, Any] = {"index": None, "score": NAN, "architecture": START}
    for index, score in enumerate(scores):
        row = job(arm, seed, index, score, parent=best["index"], mode=mode)
        if index == 0:
            row |= {"role": "start", "recipe": "start", "morphs": "", "architecture": START}
        if score is not None and (best["index"] is None or better(score, best["score"]) != best["score"]):
            best = row
        rows.append(row | {"best": best["score"]})
    if final is not None:
        row = job(arm, seed, len(rows), final, parent=best["index"], mode=mode)
        rows.append(row | FINAL | {"architecture": best["architecture"], "best": best["score"]})
    return [row | values for row in rows]


FINAL: dict[str, Any] = {"role": "final", "phase": "final", "recipe": "final", "epochs": 10.0, "morphs": ""}


def training(arm: str, seed: int, score: float, **values: Any) -> list[dict[str, Any]]:
    """A run of one full training."""
    return [job(arm, seed, 0, score) | FINAL | {"best": score, "architecture": START} | values]


def trials(arm: str, seed: int, networks: dict[str, float], **values: Any) -> list[dict[str, Any]]:
    """A run of networks that are each trained by themselves."""
    best = list(accumulate(networks.values(), max))
    values = {"role": "trial", "phase": "trials", "morphs": ""} | values
    return [
        job(arm, seed, index, score) | {"architecture": name, "best": best[index]} | values
        for index, (name, score) in enumerate(networks.items())
    ]


def job(arm: str, seed: int, index: int, score: float | None, **values: Any) -> dict[str, Any]:
    """A candidate of 3 epochs that took a minute."""
    return {
        "data": "shapes",
        "arm": arm,
        "seed": seed,
        "index": index,
        "role": "candidate",
        "phase": "serial",
        "round": 1,
        "architecture": f"{arm} {seed} {index}",
        "parent": None,
        "morphs": "expand(0)",
        "replicate": 0,
        "recipe": "serial",
        "status": "failed" if score is None else "completed",
        "metric": "AP",
        "mode": "max",
        "score": NAN if score is None else score,
        "best": NAN,
        "gflops": 1.0 + index,
        "parameters": 1000,
        "seconds": 60.0,
        "epochs": 3.0,
        "metrics": "{}",
    } | values


def frame(*runs: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Runs as a study records them."""
    found = pd.DataFrame([row for run in runs for row in run], columns=list(COLUMNS))
    return found.astype({"parent": float, "score": float, "best": float})
