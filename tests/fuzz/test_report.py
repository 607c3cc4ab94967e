"""The report of run folders that somebody else has changed: told, or refused in a few lines."""

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.journal import Journal, Record
from orchestrator.report.reading import read_story
from tests.fuzz.answers import FEW, answer
from tests.fuzz.test_journal import ODD, fields, write_journal
from tests.orchestrator.made_up_runs import made_up_run, search_config

VALUES = [value for value in ODD if value != 10**4000]
SERIAL = {"acceptance": "paired", "n_stuck": 4, "num_rounds": 1, "in_flight": 4, "max_candidates": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every example writes its journal to."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def records(run: Path) -> list[Record]:
    """Those of a whole search, one driver's."""
    folder = made_up_run(run, search_config(serial=SERIAL, parallel=None, final=None), losses=0.2)
    return Journal(folder.storage).read()


def told(run: Path, records: list[Any]) -> str | None:
    """A run's story as JSON, or None where it is refused."""
    write_journal(run, records)

    def read() -> str:
        text = json.dumps(asdict(read_story(str(run))), allow_nan=False)
        text.encode()
        return text

    return answer(read, UserError)


def changed(records: list[Record], number: int, path: tuple[Any, ...], value: Any) -> list[Record]:
    """The records with one field set otherwise, or taken out."""
    records = copy.copy(records)
    inner = records[number] = copy.deepcopy(records[number])
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return records


def test_the_sound_run_is_told(records: list[Record], run: Path) -> None:
    assert "worker-0" in (told(run, records) or "")


def test_every_field_of_every_record_may_be_anything(records: list[Record], run: Path) -> None:
    firsts = {record["type"]: number for number, record in reversed(list(enumerate(records)))}
    for number in firsts.values():
        for turn, path in enumerate(fields(records[number])):
            for value in (..., VALUES[turn % len(VALUES)], VALUES[(turn + 7) % len(VALUES)]):
                told(run, changed(records, number, path, value))


@FEW
@given(data=st.data())
def test_records_that_are_lost_doubled_or_moved_are_told_or_refused(
    data: st.DataObject, records: list[Record], run: Path
) -> None:
    number = data.draw(st.integers(1, len(records) - 1))
    rest = records[:number] + records[number + 1 :]
    place = data.draw(st.integers(1, len(rest)))
    told(
        run,
        data.draw(
            st.sampled_from([rest, [*rest[:place], records[number], *rest[place:]], [*records, records[number]]])
        ),
    )


@FEW
@given(time=st.sampled_from(VALUES) | st.floats() | st.integers(), number=st.integers(0, 200))
def test_times_may_be_anything(time: Any, number: int, records: list[Record], run: Path) -> None:
    number %= len(records)
    if "time" in records[number]:
        told(run, changed(records, number, ("time",), time))
