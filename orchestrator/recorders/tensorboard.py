"""Event files for TensorBoard.

Invariant: a driver's file has every point of the run, and takes the place of the files of drivers before it; so every
point is there once, whatever died when.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.recorders.recording import Point

FILE_VERSION = "brain.Event:2"


class TensorBoardRecorder:
    """Records points as scalars, one tag for each name, the job's index as the step."""

    def __init__(self, folder: Path, run: str) -> None:
        """Record into a folder, which may have other files.

        Args:
            folder: made when it is needed.
            run: tells this run from any other.
        """
        self._folder = folder
        self._suffix = f".{hashlib.sha256(run.encode()).hexdigest()[:12]}.spnas"
        self._file: BinaryIO
        self._records: Any

    def open(self) -> int:
        """See `Recorder`; everything is written anew."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = list(self._folder.glob(f"events.out.tfevents.*{self._suffix}"))
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time_ns()}.{os.getpid()}{self._suffix}"
        self._file = (self._folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version=FILE_VERSION).SerializeToString())
        self._records.flush()
        for path in earlier:
            path.unlink(missing_ok=True)
        return 0

    def record(self, points: Sequence[Point]) -> None:
        """See `Recorder`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for point in points:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            event = Event(wall_time=point.at, step=point.index, summary=Summary(value=values))
            self._records.write(event.SerializeToString())
        self._records.flush()

    def close(self, has_ended: bool) -> None:
        """See `Recorder`."""
        self._file.close()
