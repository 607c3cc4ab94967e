"""Run folders that somebody else has changed: journals with sound checksums and senseless records, results, names."""

import copy
import io
import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.console import in_one_line, status_table, summary_table
from orchestrator.errors import UserError
from orchestrator.history import History, decided_record, dispatched_record, told_record
from orchestrator.journal import Journal, Record
from orchestrator.lease import Lease
from orchestrator.search.protocol import Job, Outcome
from orchestrator.standing import Standing
from tests.fuzz.answers import FEW, MANY, answer, check_message, refusal
from tests.orchestrator.tiny import tiny_config
from workers.run_folder import Result, RunFolder, WeightsFile
from workers.storage import LocalFolder

CONFIG = tiny_config()
ODD = [
    None,
    True,
    -1,
    2**63,
    10**4000,
    1.5,
    float("nan"),
    float("inf"),
    1e300,
    "",
    "x",
    "\x1b[31m\n",
    "\ud800",
    "x" * 3000,
    [],
    {},
    [[]],
]
json_values = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def line(record: object, before: int) -> tuple[bytes, int]:
    """A line of the journal whose checksum is right, and that checksum."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    checksum = zlib.crc32(text, before)
    return b"%08x %s\n" % (checksum, text), checksum


def write_journal(run: Path, records: list[Any], name: str = "000001.jsonl") -> Journal:
    """A journal of these records, sound as far as the checksums say."""
    checksum, lines = 0, []
    for record in records:
        written, checksum = line(record, checksum)
        lines.append(written)
    (run / "journal").mkdir(exist_ok=True)
    (run / "journal" / name).write_bytes(b"".join(lines))
    return Journal(LocalFolder(run))


def result_of(index: int) -> Result:
    """A made-up result of a job's first attempt."""
    weights = WeightsFile(name=f"{index:06d}-0-1.safetensors", sha256="0" * 64, size_bytes=1)
    return Result(
        index=index,
        attempt=0,
        epoch=1,
        name=f"{index:06d}-0-1",
        status="completed",
        worker="worker 0",
        started_at=1.7e9,
        finished_at=1.7e9 + 1,
        seconds=1.0,
        metrics={"AP50": 0.5},
        weights=weights,
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The records of a short search."""
    journal = Journal(LocalFolder(tmp_path_factory.mktemp("sound")))
    history = History.fold(CONFIG, journal)
    algorithm, state = history.algorithm, history.state
    records: list[Record] = [{"type": "opened", "schema_version": 2, "previous": {}}]
    while len(state.population) < 6:
        while isinstance(job := algorithm.decide(state), Job):
            records.append(decided_record(job, 0.0))
            records.append(dispatched_record(job.index, 0, 1, "worker 0", 0.0))
        job = state.pending[min(state.pending)]
        score = None if job.kind == "pretrain" else 0.1 + job.index / 100
        outcome = Outcome(index=job.index, status="completed", score=score, metrics={"AP50": 0.5})
        algorithm.tell(state, outcome)
        records.append(told_record(outcome, result_of(job.index), state, 0.0))
    return [*records, {"type": "ended", "time": 1.7e9, "reason": "told to stop"}]


def show(run: Path, journal: Journal) -> str | None:
    """What `spnas report` and a driver find in a journal, or None where it is refused; `spnas status` looks, too."""

    def folded() -> str:
        history = History.fold(CONFIG, journal)
        history.trials.write(RunFolder(LocalFolder(run)))
        return tables(Standing.of(history))

    read = answer(lambda: tables(Standing.read(CONFIG, journal)), UserError)
    text = answer(folded, UserError)
    assert text is None or text == read
    return text


def tables(standing: Standing) -> str:
    """What people see of it."""
    file = io.StringIO()
    console = Console(file=file, width=200)
    console.print(in_one_line(standing))
    console.print(status_table(CONFIG, standing, 20))
    console.print(summary_table(CONFIG, standing))
    return file.getvalue()


def fields(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields within a record."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list | tuple) else ()
    return [found for key in keys for found in ((*path, key), *fields(value[key], (*path, key)))]


def test_the_sound_journal_is_shown(sound: list[Record], tmp_path: Path) -> None:
    assert "worker 0" in (show(tmp_path, write_journal(tmp_path, sound)) or "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every example writes its journal to."""
    return tmp_path_factory.mktemp("run")


def test_every_field_of_every_record_may_be_anything(sound: list[Record], run: Path) -> None:
    plain = json.loads(json.dumps(sound))
    values = [value for value in ODD if value != 10**4000]
    firsts = {record["type"]: number for number, record in reversed(list(enumerate(plain)))}
    for number in firsts.values():
        for turn, path in enumerate(fields(plain[number])):
            for value in (..., values[turn % len(values)], values[(turn + 7) % len(values)]):
                records = copy.deepcopy(plain)
                inner = records[number]
                for key in path[:-1]:
                    inner = inner[key]
                if value is ...:
                    del inner[path[-1]]
                else:
                    inner[path[-1]] = value
                show(run, write_journal(run, records))


@MANY
@given(data=st.data())
def test_records_that_are_changed_lost_doubled_or_moved_are_refused_or_shown(
    data: st.DataObject, sound: list[Record], run: Path
) -> None:
    records = json.loads(json.dumps(sound))
    for _ in range(data.draw(st.integers(1, 2))):
        number = data.draw(st.integers(0, len(records) - 1))
        match data.draw(st.sampled_from(["change", "lose", "double", "move"])):
            case "change":
                path = data.draw(st.sampled_from(fields(records[number]) or [("type",)]))
                inner = records[number]
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = data.draw(json_values.filter(_is_written))
            case "lose":
                del records[number]
            case "double":
                records.insert(number, records[number])
            case "move":
                records.append(records.pop(number))
        if not records:
            break
    show(run, write_journal(run, records))


def _is_written(value: object) -> bool:
    """Whether json writes it; of numbers of thousands of digits it writes none."""
    try:
        json.dumps(value)
    except ValueError:
        return False
    return True


OPENED = b'{"type":"opened","schema_version":2,"previous":%s}'
HOSTILE: dict[str, list[Any]] = {
    "a list": [[]],
    "a number": [1],
    "no type": [{}],
    "a type that is a list": [{"type": []}],
    "deep": [OPENED % b"{}", b'{"type":' + b"[" * 10**5 + b"]" * 10**5 + b"}"],
    "a long number": [OPENED % b"{}", b'{"type":"told","n":' + b"9" * 10**5 + b"}"],
    "no text": [OPENED % b"{}", b'{"type":"\xff"}'],
    "a type that is unknown": [OPENED % b"{}", {"type": "\x1b[31m" * 1000}],
    "another first record": [{"type": "told", "schema_version": 2, "previous": {}}],
    "format 0": [{"type": "opened", "schema_version": 0, "previous": {}}],
    "format 4": [{"type": "opened", "schema_version": 4, "previous": {}}],
    "a format that is endless": [{"type": "opened", "schema_version": 10**4000, "previous": {}}],
    "a format that is a word": [{"type": "opened", "schema_version": "2", "previous": {}}],
    "no format": [{"type": "opened", "previous": {}}],
    "previous that is a list": [OPENED % b"[]"],
    "previous of words": [OPENED % b'{"1":"x"}'],
    "previous of no epoch": [OPENED % b'{"x":0}'],
    "previous below zero": [OPENED % b'{"1":-1}'],
    "previous of a half": [OPENED % b'{"1":0.5}'],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_journal_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    text = refusal(lambda: History.fold(CONFIG, write_journal(tmp_path, HOSTILE[name] + [{"type": "x"}])), UserError)
    assert text.startswith("journal ")


@FEW
@given(st.binary(max_size=200))
@example(b"\n" * 100)
@example(b"00000000 \n")
@example(b"00000000 ")
def test_any_bytes_are_a_journal_or_refused(run: Path, data: bytes) -> None:
    (run / "journal").mkdir(exist_ok=True)
    (run / "journal" / "000001.jsonl").write_bytes(data)
    answer(lambda: Journal(LocalFolder(run)).read(), UserError)


ODD_NAMES = [
    "000000.jsonl",
    "0000001.jsonl",
    "\u0661" * 6 + ".jsonl",
    "1.jsonl",
    "x.jsonl",
    ".jsonl",
    "000002.jsonl.tmp",
    "-00001.jsonl",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_another_name_is_no_epoch(name: str, sound: list[Record], tmp_path: Path) -> None:
    journal = write_journal(tmp_path, sound)
    (tmp_path / "journal" / name).write_bytes(b"garbage")
    read = answer(journal.read, UserError)
    assert read is None or len(read) == len(sound)


def test_an_epoch_of_a_high_number_is_found_at_once(sound: list[Record], tmp_path: Path) -> None:
    journal = write_journal(tmp_path, sound)
    (tmp_path / "journal" / "999999999.jsonl").write_bytes(b"")
    assert len(journal.read()) == len(sound)


def test_a_folder_a_pipe_or_a_device_is_no_epoch(sound: list[Record], tmp_path: Path) -> None:
    journal = write_journal(tmp_path, sound)
    (tmp_path / "journal" / "000002.jsonl").mkdir()
    os.mkfifo(tmp_path / "journal" / "000003.jsonl")
    (tmp_path / "journal" / "000004.jsonl").symlink_to("/dev/zero")
    assert len(journal.read()) == len(sound)


def test_a_pipe_in_a_run_is_never_waited_for(tmp_path: Path) -> None:
    folder = RunFolder(LocalFolder(tmp_path))
    (tmp_path / "results").mkdir()
    for name in ("config.yaml", "stop", "results/000001-0-1.json"):
        os.mkfifo(tmp_path / name)
    for read in (folder.read_config, folder.stop_requested, lambda: folder.read_result("000001-0-1")):
        with pytest.raises(OSError, match="is no file"):
            read()


def check_result(run: Path, data: bytes) -> Result | None:
    """What the stored bytes are read as."""
    (run / "results").mkdir(exist_ok=True)
    (run / "results" / "000001-0-1.json").write_bytes(data)
    return answer(lambda: RunFolder(LocalFolder(run)).read_result("000001-0-1"))


STORED = {"schema_version": 2, **json.loads(json.dumps(asdict(result_of(1))))}


@MANY
@given(path=st.sampled_from(fields(STORED)), value=json_values.filter(_is_written) | st.just(...), more=st.booleans())
@example(path=("metrics",), value=[], more=False)
@example(path=("metrics", "AP50"), value=float("nan"), more=False)
@example(path=("weights",), value="abc", more=False)
@example(path=("finished_at",), value="x", more=True)
@example(path=("finished_at",), value=10**400, more=True)  # more than a float holds
@example(path=("finished_at",), value=10**400, more=False)
def test_a_result_of_any_fields_is_one_or_refused(path: tuple[Any, ...], value: Any, more: bool, run: Path) -> None:
    record = copy.deepcopy(STORED)
    if more:
        record["schema_version"] = 1
        del record["name"], record["epoch"], record["seconds"]
    inner: Any = record
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        inner.pop(path[-1], None)
    else:
        inner[path[-1]] = value
    result = check_result(run, json.dumps(record).encode())
    if result is not None:
        assert result.finished_at - result.started_at + result.seconds + sum(result.metrics.values()) < float("inf")
        check_message("x" + "".join(map(repr, (result.status, result.error, result.worker)))[:900])


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b"{}", b"[" * 10**6, b"9" * 10**6, b"\xff", b'{"schema_version": {}}', b'{"schema_version": 3}'],
    ids=lambda data: repr(data[:8]),
)
def test_a_result_of_something_else_is_refused(data: bytes, run: Path) -> None:
    assert check_result(run, data) is None


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "a/../../b", "a\x00b", "a\\b"])
def test_no_name_in_a_record_leads_out_of_the_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = RunFolder(LocalFolder(tmp_path / "run"))
    file = WeightsFile(name=name, sha256="0" * 64, size_bytes=6)
    assert "can't be the name of a run's file" in refusal(lambda: folder.read_weights(file))


@pytest.mark.parametrize(
    "lease",
    [b"", b"[]", b"{", b"\xff", b"[" * 10**6, b'{"pid": "x"}', b'{"pid": 1e999, "generation": []}', b'{"pid": -1}'],
    ids=lambda lease: repr(lease[:8]),
)
def test_a_lease_of_something_else_is_one_of_nobody(lease: bytes, tmp_path: Path) -> None:
    storage = LocalFolder(tmp_path)
    storage.write("driver.lock", lease)
    assert not Lease(storage, beat_s=0.001, watch_s=0.01, settle_s=0.001).is_held()
