"""The durable record of a run: what was decided, dispatched and told, in order.

``journal/000001.jsonl`` holds what the run's first driver wrote, ``000002.jsonl`` the second's, and so on: each driver
is an *epoch*. A line is a checksum and a JSON object. One turn of the driver's loop is one durable append (fsync)
before anything of it takes effect.

Invariants:
- Nothing written is ever changed. A torn last line, left by a crash, is dropped by the reader; any other damage stops
  with a message and leaves the file as it is.
- An epoch's first record says how many records of every epoch before it its driver had read; the newest epoch's word
  holds, so what a superseded driver still writes is never read.
"""

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError
from workers.storage import sync_folder

SCHEMA_VERSION = 1
Record = dict[str, Any]


class Journal:
    """The journal of one run, open for reading and, after `open_epoch`, for appending."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.folder = folder
        self.epoch = 0
        self._num_read: dict[int, int] = {}
        self._descriptor: int | None = None

    def read(self) -> list[Record]:
        """Every valid record, in order.

        Raises:
            UserError: if a file is damaged elsewhere than at its end, or written by newer code.
        """
        epochs = {int(path.stem): _read(path) for path in self._files()}
        newest = max((number for number, records in epochs.items() if records), default=0)
        limits = epochs[newest][0]["previous"] if newest else {}
        kept = {
            number: records if number >= newest else records[: limits.get(str(number), 0)]
            for number, records in epochs.items()
        }
        self._num_read = {number: len(records) for number, records in kept.items()}
        return [record for records in kept.values() for record in records]

    def open_epoch(self, **values: Any) -> None:
        """Begin a new epoch, superseding the ones before and what of them has not been read.

        Args:
            values: go into the epoch's first record.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.epoch = max((int(path.stem) for path in self._files()), default=0) + 1
        previous = {str(number): count for number, count in self._num_read.items()}
        path = self.folder / f"{self.epoch:06d}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self.append([{"type": "opened", "schema_version": SCHEMA_VERSION, "previous": previous, **values}])
        sync_folder(self.folder)

    def append(self, records: Sequence[Record]) -> None:
        """Write records durably; when this returns they survive any crash."""
        assert self._descriptor is not None, "open_epoch comes first"
        if not records:
            return
        data = b"".join(_line(record) for record in records)
        written = 0
        size = os.fstat(self._descriptor).st_size
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)  # half a turn must not stand before the next one
            raise

    def close(self) -> None:
        """Close the file; the journal can be read on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _files(self) -> list[Path]:
        """The epochs' files, in order."""
        return sorted(self.folder.glob("[0-9]" * 6 + ".jsonl"))


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(path: Path) -> list[Record]:
    lines = path.read_bytes().split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if record is not None:
            records.append(record)
        elif number < len(lines):  # what follows the last newline is nothing, or torn
            raise UserError(
                f"journal {path}, line {number}: is damaged; restore the file from a copy, nothing was changed"
            )
    if records and records[0].get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"journal {path}: has format {records[0].get('schema_version')}, this version reads {SCHEMA_VERSION}; "
            "use the version of spnas that wrote it, or a newer one"
        )
    return records


def _parsed(line: bytes) -> Record | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    record = json.loads(text)
    return record if isinstance(record, dict) else None
