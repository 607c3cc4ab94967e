"""The durable record of a run: what was decided, dispatched and told, in order.

``journal/000001.jsonl`` holds what the run's first driver wrote, ``000002.jsonl`` the second's, and so on: each driver
is an *epoch*. A line is a checksum and a JSON object. One turn of the driver's loop is one durable append (fsync)
before anything of it takes effect.

Invariants:
- Nothing written is ever changed. A torn last line, left by a crash, is dropped by the reader; any other damage stops
  with a message and leaves the file as it is.
- An epoch's first record says how many records of the epoch before it were read, so what a superseded driver still
  writes is never read.
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
        self._descriptor: int | None = None

    def read(self) -> list[Record]:
        """Every valid record, in order.

        Raises:
            UserError: if a file is damaged elsewhere than at its end, or written by newer code.
        """
        epochs = [(int(path.stem), _read(path)) for path in sorted(self.folder.glob("*.jsonl"))]
        kept: list[Record] = []
        for position, (number, records) in enumerate(epochs):
            successors = epochs[position + 1 :]
            limit = next((later[0]["previous"] for _, later in successors if later), None)
            kept += records if limit is None or not records else records[: limit.get(str(number), 0)]
        return kept

    def open_epoch(self, **values: Any) -> None:
        """Begin a new epoch, superseding the ones before; `values` go into its first record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        epochs = sorted(self.folder.glob("*.jsonl"))
        self.epoch = max((int(path.stem) for path in epochs), default=0) + 1
        previous = {str(int(path.stem)): len(_read(path)) for path in epochs}
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
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; the journal can be read on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(path: Path) -> list[Record]:
    lines = path.read_bytes().split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if record is None:
            torn = number == len(lines) or (number == len(lines) - 1 and not lines[-1])
            if torn:
                break
            raise UserError(
                f"journal {path}, line {number}: is damaged, and more follows; restore the file from a copy, "
                "nothing was changed"
            )
        records.append(record)
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
