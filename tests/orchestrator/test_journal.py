"""The journal over each kind of storage: what is appended survives, what is torn is dropped, what is damaged stops."""

import itertools
import json
import os
import time
import zlib
from pathlib import Path

import pytest

from experiments.s3_server import S3Server
from orchestrator.errors import Superseded, UserError
from orchestrator.journal import SCHEMA_VERSION, Journal, Record
from workers.object_store import part_name
from workers.storage import LocalFolder, Storage, open_storage

FIRST = [{"type": "decided", "n": 1, "text": "swap(3) é \n"}, {"type": "told", "score": 0.1 + 0.2}]
SECOND = [{"type": "decided", "n": 2}]
THIRD = [{"type": "decided", "n": 3}]
LATE = [{"type": "told", "n": "late"}]


@pytest.fixture
def storage(address: str) -> Storage:
    return open_storage(address)


def opened(storage: Storage) -> Journal:
    """The journal of a driver that has read it and begun its epoch."""
    journal = Journal(storage)
    journal.read()
    journal.open_epoch()
    return journal


def written(storage: Storage, *appends: list[Record]) -> str:
    """Write one epoch; returns its log's name."""
    journal = opened(storage)
    for records in appends:
        journal.append(records)
    journal.close()
    return f"journal/{journal.epoch:06d}.jsonl"


def contents(storage: Storage) -> list[Record]:
    """All records but the epochs' first."""
    return [record for record in Journal(storage).read() if record["type"] != "opened"]


def rewrite(storage: Storage, log: str, data: bytes) -> None:
    """Put other bytes in a log's place; in an object store as one part, as if it had been merged."""
    if isinstance(storage, LocalFolder):
        (storage.path / log).write_bytes(data)
    else:
        for name in storage.names(log):
            storage.delete(f"{log}/{name}")
        storage.write(f"{log}/{part_name(0, 2)}", data)


def test_what_is_appended_is_read_in_order(storage: Storage) -> None:
    written(storage, FIRST, [], SECOND)
    assert contents(storage) == FIRST + SECOND


def test_a_journal_that_was_never_begun_is_empty(storage: Storage) -> None:
    assert Journal(storage).read() == []
    assert storage.entries() == []


def test_an_append_is_stored_when_it_returns(storage: Storage) -> None:
    journal = opened(storage)
    journal.append(FIRST)
    assert contents(storage) == FIRST
    journal.append(SECOND)
    assert contents(storage) == FIRST + SECOND
    journal.close()


def test_an_epochs_first_record_carries_what_it_is_given(storage: Storage) -> None:
    journal = Journal(storage)
    journal.open_epoch(versions={"python": "3.11"})
    journal.close()
    (first,) = Journal(storage).read()
    assert (first["type"], first["versions"]) == ("opened", {"python": "3.11"})


def test_every_driver_writes_an_epoch_of_its_own(storage: Storage) -> None:
    first, second = written(storage, FIRST), written(storage, SECOND)
    assert (first, second) == ("journal/000001.jsonl", "journal/000002.jsonl")
    assert contents(storage) == FIRST + SECOND


def test_many_appends_are_read_in_order(storage: Storage) -> None:
    appends: list[list[Record]] = [[{"type": "told", "n": number}] for number in range(150)]
    written(storage, *appends)
    assert contents(storage) == list(itertools.chain(*appends))


def test_a_torn_tail_is_dropped_at_whatever_byte_it_tore(storage: Storage) -> None:
    log = written(storage, FIRST, SECOND)
    whole = storage.read_log(log)
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for length in range(last, len(whole) - 1):
        rewrite(storage, log, whole[:length])
        assert contents(storage) == FIRST, length
        assert storage.read_log(log) == whole[:length]
    rewrite(storage, log, whole[:-1])  # only the newline is missing
    assert contents(storage) == FIRST + SECOND


def test_an_append_torn_between_two_records_keeps_the_first(storage: Storage) -> None:
    log = written(storage, FIRST)
    whole = storage.read_log(log)
    rewrite(storage, log, whole[: whole.rindex(b"\n", 0, len(whole) - 1) + 1])
    assert contents(storage) == FIRST[:1]


def test_a_journal_goes_on_after_a_torn_tail(storage: Storage) -> None:
    log = written(storage, FIRST, SECOND)
    rewrite(storage, log, storage.read_log(log)[:-5])
    written(storage, THIRD)
    assert contents(storage) == FIRST + THIRD


def test_an_epoch_torn_in_its_first_record_is_as_if_it_had_not_begun(storage: Storage) -> None:
    written(storage, FIRST)
    torn = written(storage)
    whole = storage.read_log(torn)
    for length in (len(whole) - 2, 5, 0):
        rewrite(storage, torn, whole[:length])
        assert contents(storage) == FIRST
    assert written(storage, SECOND) == "journal/000003.jsonl"
    assert contents(storage) == FIRST + SECOND


def damaged(storage: Storage, log: str, data: bytes, match: str) -> None:
    """Check that a log with these bytes stops with a message, and stays as it is."""
    rewrite(storage, log, data)
    with pytest.raises(UserError, match=match):
        Journal(storage).read()
    assert storage.read_log(log) == data


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_damage_stops_with_the_line_and_leaves_the_log_as_it_is(storage: Storage, number: int) -> None:
    log = written(storage, FIRST, SECOND)
    for damage in (b"", b"x", b'00000000 {"type":"told"}', b"\0" * 9, b"%08x 7" % zlib.crc32(b"7")):
        lines = storage.read_log(log).split(b"\n")
        lines[number - 1] = damage
        damaged(storage, log, b"\n".join(lines), f"{log}, line {number}: is damaged; restore it from a copy, nothing")


def test_a_line_that_is_lost_or_stands_elsewhere_is_damage(storage: Storage) -> None:
    log = written(storage, FIRST, SECOND)
    opening, one, two, three, end = storage.read_log(log).split(b"\n")
    damaged(storage, log, b"\n".join([opening, two, three, end]), "line 2")
    damaged(storage, log, b"\n".join([opening, one, three, end]), "line 3")
    damaged(storage, log, b"\n".join([opening, two, one, three, end]), "line 2")
    damaged(storage, log, b"\n".join([opening, one, one, two, three, end]), "line 3")


def test_one_flipped_bit_is_damage(storage: Storage) -> None:
    log = written(storage, FIRST, SECOND)
    whole = bytearray(storage.read_log(log))
    whole[whole.index(b"told")] ^= 1
    damaged(storage, log, bytes(whole), "line 3")


def test_records_that_the_next_driver_had_read_and_that_are_gone_stop(storage: Storage) -> None:
    log = written(storage, FIRST, SECOND)
    written(storage, THIRD)
    whole = storage.read_log(log)
    lines = whole.splitlines(keepends=True)
    for length in range(4):
        damaged(storage, log, b"".join(lines[:length]), f"{log}: has {length} records, but had 4 when the next driver")
    rewrite(storage, log, whole + b"what a superseded driver could not finish writing")
    assert contents(storage) == FIRST + SECOND + THIRD


def test_what_a_superseded_driver_still_writes_is_ignored(storage: Storage) -> None:
    superseded = opened(storage)
    superseded.append(FIRST)
    successor = opened(storage)
    superseded.append(LATE)
    successor.append(SECOND)
    superseded.append(LATE)
    superseded.close()
    successor.close()
    assert contents(storage) == FIRST + SECOND
    written(storage, THIRD)
    assert contents(storage) == FIRST + SECOND + THIRD


def test_what_is_written_after_a_successor_has_read_is_ignored(storage: Storage) -> None:
    superseded, successor = opened(storage), Journal(storage)
    superseded.append(FIRST)
    assert len(successor.read()) == 1 + len(FIRST)
    superseded.append(LATE)
    successor.open_epoch()
    successor.append(SECOND)
    superseded.close()
    successor.close()
    assert contents(storage) == FIRST + SECOND


def test_of_two_successors_the_first_to_begin_holds(storage: Storage) -> None:
    written(storage, FIRST)
    slow, fast = Journal(storage), Journal(storage)
    slow.read()
    fast.read()
    fast.open_epoch()
    with pytest.raises(Superseded, match="another driver has begun .*000002.jsonl"):
        slow.open_epoch()
    fast.append(SECOND)
    fast.close()
    assert contents(storage) == FIRST + SECOND


def test_a_newer_format_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("orchestrator.journal.SCHEMA_VERSION", SCHEMA_VERSION + 1)
        log = written(storage, FIRST)
    damaged(storage, log, storage.read_log(log), f"has format {SCHEMA_VERSION + 1}, this version reads up to")


def of_format_1(*records: Record) -> bytes:
    """A log of the first format, whose checksums are each line's own."""
    texts = [json.dumps(record).encode() for record in records]
    return b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in texts)


def test_the_first_format_is_read_and_gone_on_with(storage: Storage) -> None:
    old: list[Record] = [{"type": "opened", "schema_version": 1, "previous": {}}, *SECOND, *THIRD]
    log = written(storage)
    rewrite(storage, log, of_format_1(*old))
    assert contents(storage) == SECOND + THIRD
    written(storage, FIRST)
    assert contents(storage) == SECOND + THIRD + FIRST
    assert storage.read_log(log) == of_format_1(*old)


def test_other_files_beside_the_logs_are_none_of_the_journals(storage: Storage) -> None:
    log = written(storage, FIRST)
    for name in ("journal/000001 (copy).jsonl", "journal/notes.txt"):
        copy = storage.open_log(name)
        copy.append(storage.read_log(log))
        copy.close()
    assert contents(storage) == FIRST


def test_a_number_that_json_does_not_have_is_refused_before_it_is_written(storage: Storage) -> None:
    journal = opened(storage)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append([*SECOND, {"type": "told", "score": float("nan")}])
    journal.append(FIRST)
    journal.close()
    assert contents(storage) == FIRST


def test_clocks_that_jump_change_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = itertools.cycle([4e9, 0.0, -1e9, 1e12])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    written(storage, FIRST)
    written(storage, SECOND)
    assert contents(storage) == FIRST + SECOND


def test_a_turn_that_could_not_be_stored_does_not_stand_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalFolder(tmp_path)
    journal = opened(storage)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            journal.append(FIRST)
    assert contents(storage) == []
    journal.append(SECOND)
    journal.close()
    assert contents(storage) == SECOND


def test_nothing_follows_an_append_that_was_interrupted(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(storage)
    journal.append(FIRST)
    log = journal._log
    assert log is not None

    class InterruptedLog:
        def append(self, data: bytes) -> None:
            log.append(data)
            raise KeyboardInterrupt

        def close(self) -> None:
            log.close()

    monkeypatch.setattr(journal, "_log", InterruptedLog())
    with pytest.raises(KeyboardInterrupt):
        journal.append(SECOND)
    with pytest.raises(OSError, match="descriptor|closed"):
        journal.append(THIRD)
    assert contents(storage) == FIRST + SECOND


def test_a_local_append_is_one_write_and_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(LocalFolder(tmp_path))
    calls, write, sync = [], os.write, os.fsync

    def counted_write(descriptor: int, data: bytes) -> int:
        calls.append("write")
        return write(descriptor, data)

    def counted_sync(descriptor: int) -> None:
        calls.append("sync")
        sync(descriptor)

    with monkeypatch.context() as counting:
        counting.setattr(os, "write", counted_write)
        counting.setattr(os, "fsync", counted_sync)
        journal.append(FIRST + SECOND)
    journal.close()
    assert calls == ["write", "sync"]


def test_a_missing_object_in_the_middle_stops_with_its_name(s3_server: S3Server, tmp_path: Path) -> None:
    storage = open_storage(s3_server.address(f"bucket/{tmp_path.name}"))
    log = written(storage, FIRST, SECOND, THIRD)
    storage.delete(f"{log}/{part_name(1, 1)}")
    before = storage.names(log)
    with pytest.raises(UserError, match=rf"journal s3://.*{log}: part {part_name(1, 1)} is missing; restore it from"):
        Journal(storage).read()
    assert storage.names(log) == before


def test_a_lost_epoch_stops_with_its_log(address: str) -> None:
    storage = open_storage(address)
    log = written(storage, FIRST)
    written(storage, SECOND)
    for name in [log] if storage.is_local else [f"{log}/{name}" for name in storage.names(log)]:
        storage.delete(name)
    with pytest.raises(
        UserError, match="(epoch 1 is missing|000001.jsonl: has 0 records, but had 3 .*); restore it from"
    ):
        Journal(storage).read()
