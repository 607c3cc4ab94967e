"""The journal: what is appended survives, what is torn is dropped, what is damaged stops."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.journal import Journal, Record

FIRST = [{"type": "decided", "n": 1, "text": "swap(3) é \n"}, {"type": "told", "score": 0.1 + 0.2}]
SECOND = [{"type": "decided", "n": 2}]


def written(folder: Path, *appends: list[Record]) -> Path:
    """A closed journal with one epoch; returns the epoch's file."""
    journal = Journal(folder)
    journal.read()
    journal.open_epoch()
    for records in appends:
        journal.append(records)
    journal.close()
    return folder / f"{journal.epoch:06d}.jsonl"


def contents(folder: Path) -> list[Record]:
    """All records but the epochs' first."""
    return [record for record in Journal(folder).read() if record["type"] != "opened"]


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    written(tmp_path, FIRST, [], SECOND)
    assert contents(tmp_path) == FIRST + SECOND


def test_a_journal_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "missing").read() == []


def test_an_append_is_in_the_file_when_it_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open_epoch()
    journal.append(FIRST)
    assert contents(tmp_path) == FIRST
    journal.append(SECOND)
    assert contents(tmp_path) == FIRST + SECOND
    journal.close()


def test_an_epochs_first_record_carries_what_it_is_given(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open_epoch(versions={"python": "3.11"})
    journal.close()
    (opened,) = Journal(tmp_path).read()
    assert (opened["type"], opened["versions"]) == ("opened", {"python": "3.11"})


def test_every_driver_writes_an_epoch_of_its_own(tmp_path: Path) -> None:
    first, second = written(tmp_path, FIRST), written(tmp_path, SECOND)
    assert (first.name, second.name) == ("000001.jsonl", "000002.jsonl")
    assert contents(tmp_path) == FIRST + SECOND


def test_a_torn_tail_is_dropped_at_whatever_byte_it_tore(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST, SECOND)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for length in range(last, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert contents(tmp_path) == FIRST, length
        assert path.read_bytes() == whole[:length]
    path.write_bytes(whole[:-1])  # only the newline is missing
    assert contents(tmp_path) == FIRST + SECOND


def test_an_append_torn_between_two_records_keeps_the_first(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\n", 0, len(whole) - 1) + 1])
    assert contents(tmp_path) == FIRST[:1]


def test_a_journal_goes_on_after_a_torn_tail(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST, SECOND)
    path.write_bytes(path.read_bytes()[:-5])
    written(tmp_path, [{"type": "decided", "n": 3}])
    assert contents(tmp_path) == [*FIRST, {"type": "decided", "n": 3}]


def test_an_epoch_torn_in_its_first_record_is_as_if_it_had_not_begun(tmp_path: Path) -> None:
    written(tmp_path, FIRST)
    torn = written(tmp_path, [])
    for length in (0, 5, len(torn.read_bytes()) - 2):
        torn.write_bytes(torn.read_bytes()[:length])
        assert contents(tmp_path) == FIRST
    assert written(tmp_path, SECOND).name == "000003.jsonl"
    assert contents(tmp_path) == FIRST + SECOND


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("damage", [b"", b"x", b'00000000 {"type":"told"}', b"\0" * 9])
def test_damage_stops_with_the_line_and_leaves_the_file_as_it_is(tmp_path: Path, number: int, damage: bytes) -> None:
    path = written(tmp_path, FIRST, SECOND)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=rf"000001.jsonl, line {number}: is damaged; restore the file from a copy"):
        Journal(tmp_path).read()
    assert path.read_bytes() == b"\n".join(lines)


def test_one_flipped_bit_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST, SECOND)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"told")] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match="line 3"):
        Journal(tmp_path).read()


def test_what_a_superseded_driver_still_writes_is_ignored(tmp_path: Path) -> None:
    superseded, successor = Journal(tmp_path), Journal(tmp_path)
    superseded.open_epoch()
    superseded.append(FIRST)
    successor.read()
    successor.open_epoch()
    superseded.append([{"type": "told", "n": "late"}])
    successor.append(SECOND)
    superseded.append([{"type": "told", "n": "later"}])
    superseded.close()
    successor.close()
    assert contents(tmp_path) == FIRST + SECOND
    written(tmp_path, [{"type": "decided", "n": 3}])
    assert contents(tmp_path) == [*FIRST, *SECOND, {"type": "decided", "n": 3}]


def test_what_is_written_after_a_successor_has_read_is_ignored(tmp_path: Path) -> None:
    superseded, successor = Journal(tmp_path), Journal(tmp_path)
    superseded.open_epoch()
    superseded.append(FIRST)
    assert len(successor.read()) == 1 + len(FIRST)
    superseded.append([{"type": "told", "n": "late"}])
    successor.open_epoch()
    successor.append(SECOND)
    superseded.close()
    successor.close()
    assert contents(tmp_path) == FIRST + SECOND


def test_of_two_successors_the_newer_holds(tmp_path: Path) -> None:
    written(tmp_path, FIRST)
    older, newer = Journal(tmp_path), Journal(tmp_path)
    older.read()
    newer.read()
    older.open_epoch()
    newer.open_epoch()
    older.append([{"type": "told", "n": "late"}])
    newer.append(SECOND)
    older.close()
    newer.close()
    assert contents(tmp_path) == FIRST + SECOND


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("orchestrator.journal.SCHEMA_VERSION", 2)
        path = written(tmp_path, FIRST)
    before = path.read_bytes()
    with pytest.raises(UserError, match="000001.jsonl: has format 2, this version reads 1; use the version of spnas"):
        Journal(tmp_path).read()
    assert path.read_bytes() == before


def test_other_files_in_the_folder_are_none_of_the_journals(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST)
    path.with_name("000001 (copy).jsonl").write_bytes(path.read_bytes())
    assert contents(tmp_path) == FIRST


def test_a_number_that_json_does_not_have_is_refused_before_it_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open_epoch()
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append([*SECOND, {"type": "told", "score": float("nan")}])
    journal.close()
    assert contents(tmp_path) == []
