"""The trials table: one row per job, for pandas.

Derived from the journal record by record, so it can be made anew at any time. `row_values.COLUMNS` says what it
holds.
"""

import ctypes
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from models.costs import Cost
from models.families import AnySpec
from orchestrator.journal import Record
from orchestrator.row_values import COLUMNS, TIME, decided_values, dispatched_values, told_values
from orchestrator.rows import Rows
from workers.run_folder import RunFolder

if TYPE_CHECKING:  # a fifth of a second that most commands do without
    import pandas as pd

TIMESTAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [(name, TIMESTAMP if kind == TIME else pa.type_for_alias(kind)) for name, (kind, _) in COLUMNS.items()]
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


def _give_memory_back() -> None:
    """Return what was freed to the system; glibc keeps it, and each larger table would add to that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
