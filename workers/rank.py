"""The process that trains: one task at a time, until its pipe ends.

Started by `workers.ranks.Rank`, with a pipe. What it trains with is named in the settings and
imported here, so that the node worker itself stays small, knows neither torch nor a device, and outlives every fault of
a training.

Invariant: a candidate's weights are in storage before it is told that they are there.
"""

import faulthandler
import importlib
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.failures import classify
from workers.run_folder import RunFolder, WeightsFile
from workers.task import (
    CandidateFailure,
    Fault,
    NodeSettings,
    OnProgress,
    Place,
    ShouldStop,
    Task,
    TrainingResult,
    TrainingStopped,
    ignore_progress,
)

STOP = "stop"
READY = "ready"

Blob = NDArray[np.uint8]


class Checkpoints:
    """Where the attempts at one job keep their half-finished training."""

    def __init__(self, folder: RunFolder, task: Task) -> None:
        """Write under the task's own name; read its or an earlier attempt's."""
        self._folder = folder
        self._task = task

    def read(self) -> bytes | None:
        """The newest attempt's checkpoint, None where none has any."""
        for name in (self._task.name, *self._task.earlier):
            data = self._folder.read_checkpoint(name)
            if data is not None:
                return data
        return None

    def write(self, data: bytes) -> None:
        """Replace this attempt's checkpoint."""
        self._folder.write_checkpoint(self._task.name, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a rank has for one task beside the task itself.

    Attributes:
        place: this rank's among those that train it together; None if it is alone.
        parent: the blob of the detector it grows from, if any.
        backbone: the blob of a pretrained backbone, if any.
        checkpoints: where half-finished training is kept, and found again.
        on_progress: told every few steps.
        should_stop: asked before each step.
    """

    place: Place | None
    parent: Blob | None
    backbone: Blob | None
    checkpoints: Checkpoints
    on_progress: OnProgress
    should_stop: ShouldStop


class Trainer(Protocol):
    """What a rank does with its tasks; made from `NodeSettings`, it may keep data open from one to the next."""

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Train one task; raises what `workers.failures` classifies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training that came to its end; `seconds` without what storing the weights took, if there are any."""

    metrics: dict[str, float]
    weights: WeightsFile | None
    peak_memory_bytes: int
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Helped:
    """A training that came to its end, on a rank that is not the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A training that raised; whose fault it was, in one line."""

    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A training that was asked to stop."""


def serve(connection: Connection) -> None:
    """Answer tasks until the other side is gone."""
    settings: NodeSettings = connection.recv()
    folder = RunFolder(settings.folder)
    trainer = _trainer_type(settings.trainer)(settings)
    connection.send(READY)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if message == STOP:  # it came too late for the training that it was meant for
            continue
        task, place, has_parent, has_backbone = message
        parent = _map(recv_handle(connection)) if has_parent else None
        backbone = _map(recv_handle(connection)) if has_backbone else None
        is_first_on_node = place is None or place.local_rank == 0
        session = Session(
            place=place,
            parent=parent,
            backbone=backbone,
            checkpoints=Checkpoints(folder, task),
            # Its node worker takes the silence of all its ranks for a hang.
            on_progress=connection.send if is_first_on_node else ignore_progress,
            should_stop=connection.poll,  # the only word that comes during a training is to stop
        )
        connection.send(_train(trainer, folder, task, session))


def _train(trainer: Trainer, folder: RunFolder, task: Task, session: Session) -> Trained | Helped | Failed | Stopped:
    begun = time.monotonic()
    try:
        result = trainer.train(task, session)
        if session.place is not None and session.place.rank > 0:
            return Helped()
        seconds = time.monotonic() - begun
        return Trained(
            metrics=result.metrics,
            weights=folder.write_weights(task.name, result.weights) if result.weights else None,
            peak_memory_bytes=result.peak_memory_bytes,
            notes=result.notes,
            seconds=seconds,
        )
    except TrainingStopped:
        return Stopped()
    except CandidateFailure as failure:
        return Failed(fault="candidate", reason=failure.reason)
    except Exception as error:
        traceback.print_exc()  # the whole story goes to the worker's log
        fault, reason = classify(error)
        return Failed(fault=fault, reason=reason)


def _trainer_type(name: str) -> Callable[[NodeSettings], Trainer]:
    module, _, attribute = name.partition(":")
    trainer: Callable[[NodeSettings], Trainer] = getattr(importlib.import_module(module), attribute)
    return trainer


def _map(descriptor: int) -> Blob:
    """The bytes of an open file, shared with whoever wrote them."""
    try:
        size = os.fstat(descriptor).st_size
        return np.frombuffer(mmap.mmap(descriptor, size, prot=mmap.PROT_READ), dtype=np.uint8)
    finally:
        os.close(descriptor)


def main() -> None:
    """Serve at the pipe whose descriptor is the argument."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # asked of a training that hangs: where it does
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    serve(Connection(descriptor))
