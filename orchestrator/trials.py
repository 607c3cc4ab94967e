"""The trials table: one row per job, for pandas.

Derived from the journal record by record, so it can be made anew at any time. `COLUMNS` says what each column holds.
"""

import ctypes
import io
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.costs import Cost
from models.families import AnySpec, spec_from_dict
from models.wording import one_line
from orchestrator.journal import Record
from orchestrator.rows import Row, Rows
from workers.run_folder import RunFolder

if TYPE_CHECKING:  # a fifth of a second that most commands do without
    import pandas as pd

TIMESTAMP = pa.timestamp("us", tz="UTC")
COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "index": (pa.int64(), "order of decision, from 0"),
    "kind": (
        pa.string(),
        "what a worker does: `train_detector`, `pretrain`, `train_supernet`, `train_full` or `evaluate`",
    ),
    "role": (
        pa.string(),
        "what it is for the search: `start`, `candidate`, `control`, `confirmation`, `pretrain`, `refresh`, "
        "`supernet`, `final`, `evaluation` or `trial`",
    ),
    "phase": (
        pa.string(),
        "`serial` or `parallel`; of a super-net's search `supernet` or `evolution`; `final`; beside searches `train`, "
        "`evaluate`, `pretrain` or `trials`",
    ),
    "round": (
        pa.int64(),
        "the serial level's round, from 1, or the evolution's generation, from 0; later phases keep the last one's",
    ),
    "architecture": (pa.string(), "the network's encoding"),
    "stem": (pa.string(), "`deep` or `resnet`"),
    "base_channels": (pa.int64(), "channels of the stem; missing for a multi-scale network"),
    "shortcuts": (
        pa.string(),
        "a letter for every block: `i` identity, `s` subsampling, `p` projection; missing for a multi-scale network",
    ),
    "parent": (pa.int64(), "the job whose weights it started from; missing where there is none"),
    "backbone": (pa.int64(), "the pretraining whose backbone replaced the parent's; missing where there is none"),
    "morphs": (pa.string(), "what made the network of its parent's, separated by spaces"),
    "seed": (
        pa.string(),
        "the training's seed: the search's, the job that made the parent's weights, or 0, the replicate",
    ),
    "recipe": (
        pa.string(),
        "which training settings: `start`, `serial`, `parallel`, `reignition`, `supernet`, `sample` or `final`",
    ),
    "status": (pa.string(), "`pending`, `running`, `completed` or `failed`"),
    "score": (pa.float64(), "the objective's metric, a fraction; missing where the job failed or has none"),
    "metrics": (pa.string(), "every metric by its name, as JSON, fractions"),
    "gflops": (pa.float64(), "10^9 multiply-adds of the backbone on one image; a multi-scale network's with its RPN"),
    "parameters": (pa.int64(), "parameters of the same"),
    "seconds": (pa.float64(), "how long the attempt that counts took"),
    "worker": (pa.string(), "where that was, or where it runs"),
    "attempts": (pa.int64(), "how many attempts there were"),
    "peak_memory_bytes": (
        pa.int64(),
        "peak memory of the attempt that counts: of its first rank's GPU, or of that process",
    ),
    "error": (pa.string(), "why it failed, in one line"),
    "notes": (pa.string(), "what an operator should know, separated by `; `"),
    "is_baseline": (pa.bool_(), "whether it has been a baseline"),
    "is_best": (
        pa.bool_(),
        "whether it is the best baseline there has been; of a super-net's search the best sample, and once some are "
        "retrained, the best of those",
    ),
    "proposed_at": (TIMESTAMP, "when it was decided, UTC"),
    "finished_at": (TIMESTAMP, "when the attempt that counts ended, UTC; missing before that"),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
# What another run of the same config and seed need not have in common.
INCIDENTAL_COLUMNS = ("seconds", "worker", "attempts", "peak_memory_bytes", "proposed_at", "finished_at")


class Trials:
    """The table's rows, fed with the journal's records in order."""

    def __init__(self, cost: Callable[[AnySpec], Cost]) -> None:
        """An empty table; `cost` is what a network costs."""
        self._cost = cost
        self._running: set[int] = set()
        self.rows = Rows(SCHEMA, marks=("is_baseline", "is_best"))

    def apply(self, record: Record) -> None:
        """Take one record of the journal."""
        match record["type"]:
            case "decided":
                assert record["job"]["index"] == len(self.rows), "jobs are decided in the order of their indices"
                self.rows.append(decided_values(record, self._cost))
            case "opened" | "ended":  # whatever ran then does so no longer
                for index in self._running:
                    self.rows.update(index, {"status": "pending"})
                self._running.clear()
            case "dispatched":
                self._running.add(record["index"])
                self.rows.update(record["index"], dispatched_values(record))
            case "told":
                self._told(record)

    def to_frame(self) -> "pd.DataFrame":
        """The table for pandas."""
        frame: pd.DataFrame = pa.concat_tables(self.rows.tables()).to_pandas()
        return frame

    def write(self, folder: RunFolder) -> None:
        """Write the table to the run's ``trials.parquet``."""
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, SCHEMA) as writer:
            for table in self.rows.tables():
                writer.write_table(table)
        folder.write_trials(sink.getvalue())
        del sink
        _give_memory_back()

    def _told(self, record: Record) -> None:
        index, state = record["outcome"]["index"], record["state"]
        self._running.discard(index)
        self.rows.update(index, told_values(record, self.rows[index]["attempts"]))
        self.rows.finish(index)  # outcomes are told in the order of the jobs' indices
        if state["baseline"]:
            self.rows.marks["is_baseline"].add(state["baseline"]["index"])
        if state["best_overall"]:
            self.rows.marks["is_best"] = {state["best_overall"]["index"]}


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


def _give_memory_back() -> None:
    """Return what was freed to the system; glibc keeps it, and each larger table would add to that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
