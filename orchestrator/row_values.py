"""What a row of the trials table holds, from the journal's records.

Pure: what only shows some rows does not need the table, nor the library that packs it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from models.costs import Cost
from models.families import AnySpec, spec_from_dict
from models.wording import one_line
from orchestrator.journal import Record

Row = dict[str, Any]

INTEGER, NUMBER, TEXT, TRUTH, TIME = "int64", "float64", "string", "bool", "timestamp"
COLUMNS: dict[str, tuple[str, str]] = {
    "index": (INTEGER, "order of decision, from 0"),
    "kind": (
        TEXT,
        "what a worker does: `train_detector`, `pretrain`, `train_supernet`, `train_full` or `evaluate`",
    ),
    "role": (
        TEXT,
        "what it is for the search: `start`, `candidate`, `control`, `confirmation`, `pretrain`, `refresh`, "
        "`supernet`, `final`, `evaluation` or `trial`",
    ),
    "phase": (
        TEXT,
        "`serial` or `parallel`; of a super-net's search `supernet` or `evolution`; `final`; beside searches `train`, "
        "`evaluate`, `pretrain` or `trials`",
    ),
    "round": (
        INTEGER,
        "the serial level's round, from 1, or the evolution's generation, from 0; later phases keep the last one's",
    ),
    "architecture": (TEXT, "the network's encoding"),
    "stem": (TEXT, "`deep` or `resnet`"),
    "base_channels": (INTEGER, "channels of the stem; missing for a multi-scale network"),
    "shortcuts": (
        TEXT,
        "a letter for every block: `i` identity, `s` subsampling, `p` projection; missing for a multi-scale network",
    ),
    "parent": (INTEGER, "the job whose weights it started from; missing where there is none"),
    "backbone": (INTEGER, "the pretraining whose backbone replaced the parent's; missing where there is none"),
    "morphs": (TEXT, "what made the network of its parent's, separated by spaces"),
    "seed": (
        TEXT,
        "the training's seed: the search's, the job that made the parent's weights, or 0, the replicate",
    ),
    "recipe": (
        TEXT,
        "which training settings: `start`, `serial`, `parallel`, `reignition`, `supernet`, `sample` or `final`",
    ),
    "status": (TEXT, "`pending`, `running`, `completed` or `failed`"),
    "score": (NUMBER, "the objective's metric, a fraction; missing where the job failed or has none"),
    "metrics": (TEXT, "every metric by its name, as JSON, fractions"),
    "gflops": (NUMBER, "10^9 multiply-adds of the backbone on one image; a multi-scale network's with its RPN"),
    "parameters": (INTEGER, "parameters of the same"),
    "seconds": (NUMBER, "how long the attempt that counts took"),
    "worker": (TEXT, "where that was, or where it runs"),
    "attempts": (INTEGER, "how many attempts there were"),
    "peak_memory_bytes": (
        INTEGER,
        "peak memory of the attempt that counts: of its first rank's GPU, or of that process",
    ),
    "error": (TEXT, "why it failed, in one line"),
    "notes": (TEXT, "what an operator should know, separated by `; `"),
    "is_baseline": (TRUTH, "whether it has been a baseline"),
    "is_best": (
        TRUTH,
        "whether it is the best baseline there has been; of a super-net's search the best sample, and once some are "
        "retrained, the best of those",
    ),
    "proposed_at": (TIME, "when it was decided, UTC"),
    "finished_at": (TIME, "when the attempt that counts ended, UTC; missing before that"),
}
"""Each column's type, in Arrow's words but for `TIME`, in microseconds, and what it holds."""


def decided_values(record: Record, cost: Callable[[AnySpec], Cost]) -> Row:
    """What a row holds once its job is decided."""
    job = record["job"]
    costs = cost(spec_from_dict(job["spec"]))
    return {
        **{name: job[name] for name in ("index", "kind", "role", "phase", "round", "parent", "backbone", "recipe")},
        **job["spec"],
        "morphs": " ".join(job["morphs"]),
        "seed": " ".join(map(str, job["seed"])),
        "status": "pending",
        "gflops": costs.macs / 1e9,
        "parameters": costs.parameters,
        "attempts": 0,
        "proposed_at": _microseconds(record["time"]),
    }


def dispatched_values(record: Record) -> Row:
    """What changes in a row when an attempt begins."""
    return {"status": "running", "worker": one_line(record["worker"]), "attempts": record["attempt"] + 1}


def told_values(record: Record, attempts: int) -> Row:
    """What changes in a row when its job's outcome is told, after so many attempts."""
    outcome, result = record["outcome"], record["result"]
    return {
        "status": outcome["status"],
        "score": outcome["score"],
        "metrics": json.dumps(outcome["metrics"]),
        "error": one_line(outcome["error"]),
        "seconds": seconds_of(result),
        "worker": one_line(result["worker"]),
        "attempts": max(result["attempt"] + 1, attempts),
        "peak_memory_bytes": result["peak_memory_bytes"],
        "notes": one_line("; ".join(result["notes"])),
        "finished_at": _microseconds(result["finished_at"]),
    }


def seconds_of(result: Mapping[str, Any]) -> float:
    """How long a told result's training took; the first format has only what the clock on the wall said."""
    seconds: float = result.get("seconds", max(0.0, result["finished_at"] - result["started_at"]))
    return seconds


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
