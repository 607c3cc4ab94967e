"""Tables of jobs as studies record them, with made-up scores."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from experiments.studies.shared.jobs import COLUMNS

DEFAULTS: dict[str, Any] = {
    "data": "shapes",
    "seed": 0,
    "role": "trial",
    "phase": "trials",
    "round": 0,
    "architecture": "BB(1,d,d,d)",
    "parent": None,
    "backbone": None,
    "morphs": "",
    "replicate": 0,
    "recipe": "serial",
    "status": "completed",
    "metric": "AP",
    "mode": "max",
    "best": None,
    "gflops": 1.0,
    "parameters": 1000,
    "seconds": 10.0,
    "epochs": 3.0,
    "metrics": {},
}


def jobs_of(arm: str, rows: Iterable[Mapping[str, Any]], **same: Any) -> pd.DataFrame:
    """A run's jobs: `DEFAULTS`, then what is the same for all, then what each row says; indices count on."""
    made = [{**DEFAULTS, "arm": arm, "index": index, **same, **row} for index, row in enumerate(rows)]
    for row in made:
        row["metrics"] = json.dumps(row["metrics"])
    frame = pd.DataFrame(made).astype({"score": float, "best": float, "parent": float, "backbone": float})
    missing = [name for name in COLUMNS if name not in frame]
    assert not missing, f"no {missing}"
    return frame


def search_of(scores: Iterable[float], *, maximize: bool = True, **same: Any) -> pd.DataFrame:
    """A greedy search from its first score: every candidate is a child of what was best when it was told."""
    rows: list[dict[str, Any]] = []
    best, parent = None, None
    for index, score in enumerate(scores):
        row = {"score": score, "parent": parent, "role": "candidate" if rows else "start"}
        if best is None or (score > best if maximize else score < best):
            best, parent = score, index
        rows.append({**row, "best": best, "architecture": f"BB({'1' * (index + 1)},d,d,d)"})
    return jobs_of("paper", rows, **{"phase": "serial", "round": 1, **same})
