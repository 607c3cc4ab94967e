"""The trials table: one row per job, for pandas.

Derived from the journal record by record, so it can be made anew at any time. Columns:

========================  ==========================================================================================
index                     order of decision, from 0
kind, role                what a worker does, and what it is for the search (see `protocol.Job`)
phase, round              where in the search
architecture, stem,       the network, and the kind of every block's shortcut
base_channels, shortcuts
parent, backbone          jobs whose weights it started from; missing where there is none
morphs                    what made it of its parent, separated by spaces
seed                      its training's seed: search seed, weights' maker, replicate
recipe                    which training settings
status                    pending, running, completed or failed
score, metrics            the objective; every metric, as JSON
gflops, parameters        10^9 multiply-adds and parameters of the backbone; a multi-scale network's with its RPN
seconds, worker,          how long its last attempt took, where, and how many attempts there were
attempts
peak_memory_bytes         of that attempt
error, notes              why it failed; what an operator should know
is_baseline, is_best      whether it has been a baseline; whether it is the best of them (SP-NAS's full training is
                          none), or of the samples, and once some are retrained, of those
proposed_at, finished_at  UTC
========================  ==========================================================================================
"""

import ctypes
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.costs import Cost
from models.families import AnySpec, spec_from_dict
from models.wording import one_line
from orchestrator.journal import Record
from orchestrator.rows import Row, Rows
from workers.run_folder import RunFolder

TIMESTAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("kind", pa.string()),
        ("role", pa.string()),
        ("phase", pa.string()),
        ("round", pa.int64()),
        ("architecture", pa.string()),
        ("stem", pa.string()),
        ("base_channels", pa.int64()),
        ("shortcuts", pa.string()),
        ("parent", pa.int64()),
        ("backbone", pa.int64()),
        ("morphs", pa.string()),
        ("seed", pa.string()),
        ("recipe", pa.string()),
        ("status", pa.string()),
        ("score", pa.float64()),
        ("metrics", pa.string()),
        ("gflops", pa.float64()),
        ("parameters", pa.int64()),
        ("seconds", pa.float64()),
        ("worker", pa.string()),
        ("attempts", pa.int64()),
        ("peak_memory_bytes", pa.int64()),
        ("error", pa.string()),
        ("notes", pa.string()),
        ("is_baseline", pa.bool_()),
        ("is_best", pa.bool_()),
        ("proposed_at", TIMESTAMP),
        ("finished_at", TIMESTAMP),
    ]
)
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
                self.rows.append(self._row(record))
            case "opened" | "ended":  # whatever ran then does so no longer
                for index in self._running:
                    self.rows.update(index, {"status": "pending"})
                self._running.clear()
            case "dispatched":
                self._running.add(record["index"])
                self.rows.update(
                    record["index"],
                    {"status": "running", "worker": one_line(record["worker"]), "attempts": record["attempt"] + 1},
                )
            case "told":
                self._told(record)

    def to_frame(self) -> pd.DataFrame:
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

    def _row(self, decided: Record) -> Row:
        job = decided["job"]
        costs = self._cost(spec_from_dict(job["spec"]))
        return {
            **{name: job[name] for name in ("index", "kind", "role", "phase", "round", "parent", "backbone", "recipe")},
            **job["spec"],
            "morphs": " ".join(job["morphs"]),
            "seed": " ".join(map(str, job["seed"])),
            "status": "pending",
            "gflops": costs.macs / 1e9,
            "parameters": costs.parameters,
            "attempts": 0,
            "proposed_at": _microseconds(decided["time"]),
        }

    def _told(self, record: Record) -> None:
        outcome, result, state = record["outcome"], record["result"], record["state"]
        index = outcome["index"]
        self._running.discard(index)
        self.rows.update(
            index,
            {
                "status": outcome["status"],
                "score": outcome["score"],
                "metrics": json.dumps(outcome["metrics"]),
                "error": one_line(outcome["error"]),
                "seconds": seconds_of(result),
                "worker": one_line(result["worker"]),
                "attempts": max(result["attempt"] + 1, self.rows[index]["attempts"]),
                "peak_memory_bytes": result["peak_memory_bytes"],
                "notes": one_line("; ".join(result["notes"])),
                "finished_at": _microseconds(result["finished_at"]),
            },
        )
        self.rows.finish(index)  # outcomes are told in the order of the jobs' indices
        if state["baseline"]:
            self.rows.marks["is_baseline"].add(state["baseline"]["index"])
        if state["best_overall"]:
            self.rows.marks["is_best"] = {state["best_overall"]["index"]}


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
