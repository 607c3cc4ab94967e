"""The durable record of a run: what was decided, dispatched and told, in order.

The log ``journal/000001.jsonl`` holds what the run's first driver wrote, ``000002.jsonl`` the second's, and so on: each
driver is an *epoch*. A line is a checksum and a JSON object; the checksum goes on from that of the line before, so that
a line can't be lost unnoticed. One turn of the driver's loop is one durable append before anything of it takes effect.

Invariants:
- Nothing written is ever changed. A torn last line, left by a crash, is dropped by the reader; any other damage stops
  with a message and leaves the log as it is.
- An epoch's first record says how many records of every epoch before it its driver had read; the newest epoch's word
  holds, so what a superseded driver still writes is never read.
- A driver opens the epoch after the last one it has read; if that is taken, another driver has been faster.
"""

import json
import re
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json

from orchestrator.errors import Superseded, UserError
from workers.storage import Log, Storage

SCHEMA_VERSION = 3
FIRST_CHAINED = 2
"""The first format whose checksums go on from line to line."""

Record = dict[str, Any]


class Journal:
    """The journal of one run, open for reading and, after `open_epoch`, for appending.

    Attributes:
        folder: where it is.
        epoch: the number of this driver, 0 before `open_epoch`.
        on_append: told after each append how many seconds it took; must not raise.
    """

    def __init__(self, storage: Storage, folder: str = "journal") -> None:
        """Name the place; nothing is read or made yet."""
        self.folder = storage.where(folder)
        self.epoch = 0
        self.on_append: Callable[[float], None] = _ignore
        self._storage = storage
        self._prefix = folder
        self._num_read: dict[int, int] = {}
        self._log: Log | None = None
        self._checksum = 0

    def read(self) -> list[Record]:
        """Every valid record, in order.

        Raises:
            OSError: if storage fails.
            UserError: if a log is damaged elsewhere than at its end, or written by newer code.
        """
        names = (name for name in self._storage.logs(self._prefix) if re.fullmatch(r"[0-9]{6,9}\.jsonl", name))
        kept: dict[int, list[Record]] = {}
        limits: dict[str, int] | None = None
        for number in sorted({int(name.partition(".")[0]) for name in names}, reverse=True):
            limit = None if limits is None else limits.get(str(number), 0)
            kept[number] = self._read_epoch(number, limit)
            if limits is None and kept[number]:
                limits = kept[number][0]["previous"]
        lost = [number for number, count in (limits or {}).items() if count and number not in map(str, kept)]
        if lost:
            raise UserError(
                f"journal {self.folder}: the log of epoch {lost[0]} is missing; restore it from a copy, nothing was "
                "changed"
            )
        self._num_read = {number: len(records) for number, records in sorted(kept.items())}
        self.epoch = max(self._num_read, default=0)
        return [record for number in self._num_read for record in kept[number]]

    def open_epoch(self, **values: Any) -> None:
        """Begin a new epoch, superseding the ones before and what of them has not been read.

        Args:
            values: go into the epoch's first record.

        Raises:
            OSError: if storage fails.
            Superseded: if another driver has begun one since we read.
        """
        epoch = self.epoch + 1
        name = self._log_name(epoch)
        try:
            self._log = self._storage.open_log(name)
        except FileExistsError:
            raise Superseded(f"another driver has begun {self._storage.where(name)}") from None
        self.epoch = epoch
        previous = {str(number): count for number, count in self._num_read.items()}
        self.append([{"type": "opened", "schema_version": SCHEMA_VERSION, "previous": previous, **values}])

    def append(self, records: Sequence[Record]) -> None:
        """Write records durably; when this returns they survive any crash.

        Raises:
            OSError: if storage fails.
        """
        assert self._log is not None, "open_epoch comes first"
        if not records:
            return
        checksum, lines = self._checksum, []
        for record in records:
            text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
            checksum = zlib.crc32(text, checksum)
            lines.append(b"%08x %s\n" % (checksum, text))
        begun = time.perf_counter()
        try:
            self._log.append(b"".join(lines))
            self._checksum = checksum
        except OSError:
            raise  # nothing of it stands
        except BaseException:  # Ctrl-C: nobody knows whether it stands, so nothing may follow it
            self._log.close()
            raise
        self.on_append(time.perf_counter() - begun)

    def close(self) -> None:
        """Close the log; the journal can be read on."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _log_name(self, epoch: int) -> str:
        return f"{self._prefix}/{epoch:06d}.jsonl"

    def _read_epoch(self, number: int, limit: int | None) -> list[Record]:
        """The records of one epoch, up to as many as the newest epoch's driver had read."""
        name = self._log_name(number)
        where = f"journal {self._storage.where(name)}"
        try:
            lines = self._storage.read_log(name).split(b"\n")
        except FileNotFoundError:
            lines = [b""]
        except ValueError as error:
            raise UserError(f"journal {error}; restore it from a copy, nothing was changed") from None
        records: list[Record] = []
        checksum = 0
        for position, line in enumerate(lines, start=1):
            if len(records) == limit:
                break
            record = _parsed(line, checksum)
            if record is not None:
                records.append(record)
                if position == 1:
                    _check_opened(record, where)
                if records[0]["schema_version"] >= FIRST_CHAINED:
                    checksum = int(line[:8], 16)
            elif position < len(lines):  # what follows the last newline is nothing, or torn
                raise UserError(f"{where}, line {position}: is damaged; restore it from a copy, nothing was changed")
        if limit is not None and len(records) < limit:
            raise UserError(
                f"{where}: has {len(records)} records, but had {limit} when the next driver read it; restore it from a "
                "copy, nothing was changed"
            )
        return records


def _ignore(seconds: float) -> None:
    pass


def _parsed(line: bytes, checksum: int) -> Record | None:
    """The record of a line, None if it is damaged."""
    expected, _, text = line.partition(b" ")
    if expected != b"%08x" % zlib.crc32(text, checksum):
        return None
    try:
        record = _from_json(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("type"), str) else None


def _from_json(text: bytes) -> Any:
    """The value of a JSON text, in half the time that Python's own reader takes."""
    try:
        return from_json(text)
    except ValueError:  # it refuses halves of characters, which we may have written
        return json.loads(text)


def _check_opened(record: Record, where: str) -> None:
    version, previous = record.get("schema_version"), record.get("previous")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(f"{where}: has format {version}, this version reads up to {SCHEMA_VERSION}; use a newer spnas")
    if (
        record["type"] != "opened"
        or not (isinstance(version, int) and version >= 1)
        or not isinstance(previous, dict)
        or not all(re.fullmatch("[0-9]{1,9}", number) for number in previous)
        or not all(isinstance(count, int) and count >= 0 for count in previous.values())
    ):
        raise UserError(f"{where}, line 1: is no epoch's first record; restore it from a copy, nothing was changed")
