"""Points of a run, handed to recorders.

Invariants:
- A point is a function of the journal up to its record, so a driver that goes on makes the same ones again; each
  recorder says which of them it has already.
- A recorder works in a thread of its own. One that fails is noted once and gets nothing more; one that hangs keeps
  neither the driver nor its end.
"""

import importlib.util
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import Job
from workers.failures import describe
from workers.run_folder import RunFolder
from workers.task import Progress

CLOSE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is recorded of a job that was told.

    Attributes:
        index: the job's, which is the point's step; jobs are told in this order, without gaps.
        at: when it was told, seconds since 1970 by the driver's clock.
        values: finite numbers by name; scores and metrics are fractions.
    """

    index: int
    at: float
    values: Mapping[str, float]


class Recorder(Protocol):
    """Records points somewhere. Any error ends the recording, never the run."""

    def open(self) -> int:
        """Begin, or go on; returns the first index that it has no point of."""

    def record(self, points: Sequence[Point]) -> None:
        """Record these, in order of their indices."""

    def close(self, has_ended: bool) -> None:
        """Nothing more comes for now; whether the run has come to an end, not just its driver."""


def check_recorders(config: RunConfig, is_local: bool) -> None:
    """See that what a config asks to be recorded can be.

    Args:
        config: the run's.
        is_local: whether the run is in a folder.

    Raises:
        UserError: one line with the key and what would be right.
    """
    asked = config.recorders
    for name, settings in (("tensorboard", asked.tensorboard), ("mlflow", asked.mlflow)):
        if settings is not None and importlib.util.find_spec(name) is None:
            raise UserError(
                f"recorders.{name}: the package {name} is not installed; pip install 'spnas[{name}]', or leave it out"
            )
    if asked.tensorboard is not None and asked.tensorboard.folder is None and not is_local:
        raise UserError("recorders.tensorboard.folder: missing, but the run is in an object store; name a folder")


def make_recorders(config: RunConfig, folder: RunFolder) -> dict[str, Recorder]:
    """The recorders that a config asks for, by the key's name; their packages are imported when they open."""
    from orchestrator.recorders.mlflow import MLflowRecorder
    from orchestrator.recorders.tensorboard import TensorBoardRecorder

    recorders: dict[str, Recorder] = {}
    if (tensorboard := config.recorders.tensorboard) is not None:
        where = tensorboard.folder or folder.storage.where("tensorboard")
        recorders["tensorboard"] = TensorBoardRecorder(Path(where), folder.address)
    if (mlflow := config.recorders.mlflow) is not None:
        recorders["mlflow"] = MLflowRecorder(mlflow, config, folder)
    return recorders


def point_of(config: RunConfig, history: History, record: Record) -> Point:
    """The point of a told record that the history has just followed."""
    outcome, state = record["outcome"], record["state"]
    row = history.trials.rows[outcome["index"]]
    hours = history.worker_seconds / 3600 * config.fleet.devices_per_worker
    values: dict[str, float] = {
        "search/round": state["round"],
        "search/stuck": state["counter"],
        "search/failed": outcome["status"] == "failed",
        "cost/gflops": row["gflops"],
        "cost/parameters": row["parameters"],
        "time/seconds": row["seconds"],
        "time/gpu_hours" if config.fleet.gpus_per_worker else "time/cpu_hours": hours,
    }
    if outcome["score"] is not None:
        values["search/score"] = outcome["score"]
    for name in ("baseline", "best_overall"):
        if state[name]:
            values[f"search/{name.removesuffix('_overall')}"] = state[name]["score"]
    values |= {f"metrics/{name}": value for name, value in outcome["metrics"].items()}
    return Point(
        index=outcome["index"], at=record["time"], values={name: float(value) for name, value in values.items()}
    )


class RecordingObserver:
    """Hands a run's points to recorders as it goes by."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        recorders: Mapping[str, Recorder],
        note: Callable[[str], None],
        close_s: float = CLOSE_S,
    ) -> None:
        """Record a run.

        Args:
            config: what it is.
            folder: its files; the journal is read again when the run goes on.
            recorders: by the key's name.
            note: told of a recorder that fails.
            close_s: how long the end waits for recorders to take what is left.
        """
        self._config = config
        self._folder = folder
        self._note = note
        self._close_s = close_s
        self._lines = [_Line(name, recorder) for name, recorder in recorders.items()]

    def opened(self, history: History, resumed: bool) -> None:
        """Hand over what was told before; the recorders leave out what they have."""
        earlier: list[Point] = []

        def follow(history: History, record: Record) -> None:
            if record["type"] == "told":
                earlier.append(point_of(self._config, history, record))

        if self._lines and resumed:
            try:
                History.fold(self._config, Journal(self._folder.storage), follow)
            except Exception as error:  # storage may fail now that did not a moment ago
                self._note(f"recorders: {describe(error)}; nothing is recorded this time, the run goes on")
                self._lines.clear()
        for line in self._lines:
            line.begin(earlier)

    def told(self, history: History, record: Record) -> None:
        """Hand over one point."""
        if self._lines:
            point = point_of(self._config, history, record)
            for line in self._lines:
                line.points.put(point)

    def note(self, text: str) -> None:
        """Notes are no points."""

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Say which recorders have failed."""
        for line in [line for line in self._lines if line.failure]:
            self._note(f"recorders.{line.name}: {line.failure}; nothing more is recorded there, the run goes on")
            self._lines.remove(line)

    def close(self, has_ended: bool) -> None:
        """Let the recorders take what is left, and say which could not."""
        for line in self._lines:
            line.points.put(_End(has_ended))
        for line in self._lines:
            line.thread.join(self._close_s)
            if line.failure:
                self._note(f"recorders.{line.name}: {line.failure}; its record is not whole")
            elif line.thread.is_alive():
                self._note(
                    f"recorders.{line.name}: has not taken everything after {self._close_s:g} s; the same command "
                    "makes up for it"
                )
        self._lines.clear()


@dataclass(frozen=True, slots=True)
class _End:
    has_ended: bool


class _Line:
    """One recorder with its thread and the points that wait for it."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self.name = name
        self.failure = ""
        self.points: queue.SimpleQueue[Point | _End] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"recorder {name}", daemon=True)
        self._recorder = recorder
        self._earlier: Sequence[Point] = ()

    def begin(self, earlier: Sequence[Point]) -> None:
        self._earlier = earlier
        self.thread.start()

    def _work(self) -> None:
        try:
            first = self._recorder.open()
            self._recorder.record([point for point in self._earlier if point.index >= first])
            while isinstance(point := self.points.get(), Point):
                if point.index >= first:
                    self._recorder.record([point])
            self._recorder.close(point.has_ended)
        except Exception as error:  # whatever it is, a run is worth more than its record
            self.failure = describe(error)
