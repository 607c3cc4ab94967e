"""Rows of a growing table: packed ones read like those that are not."""

from typing import Any

import pyarrow as pa
import pytest

from orchestrator.rows import CHUNK_ROWS, Rows

SCHEMA = pa.schema(
    [("number", pa.int64()), ("is_best", pa.bool_()), ("note", pa.string()), ("score", pa.float64())],
)
NUM_ROWS = 3 * CHUNK_ROWS + 7


def row(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "is_best": number in (5, NUM_ROWS - 1),
        "note": f"note {number}" if number % 3 else None,
        "score": number / 7,
    }


@pytest.fixture
def rows() -> Rows:
    """Three finished chunks, of which two are packed, and some rows that are not finished."""
    rows = Rows(SCHEMA, marks=("is_best",))
    for number in range(NUM_ROWS):
        rows.append({"number": number, "note": "not yet"})
        rows.update(number, {name: row(number)[name] for name in ("note", "score")})
        if number < 3 * CHUNK_ROWS:
            rows.finish(number)
    rows.marks["is_best"] = {5, NUM_ROWS - 1}
    return rows


def test_a_row_reads_the_same_wherever_it_is(rows: Rows) -> None:
    assert len(rows) == NUM_ROWS
    for number in (0, 5, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS - 1, 2 * CHUNK_ROWS, NUM_ROWS - 1):
        assert rows[number] == row(number)


def test_the_rows_from_any_one_on_are_in_order(rows: Rows) -> None:
    for first in (0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS + 3, NUM_ROWS - 1, NUM_ROWS):
        assert list(rows.since(first)) == [row(number) for number in range(first, NUM_ROWS)]


def test_a_column_is_that_of_all_rows(rows: Rows) -> None:
    assert rows.column("note") == [row(number)["note"] for number in range(NUM_ROWS)]


def test_the_tables_together_are_all_rows_in_the_schemas_columns(rows: Rows) -> None:
    tables = list(rows.tables())
    assert all(table.schema == SCHEMA for table in tables)
    assert pa.concat_tables(tables).to_pylist() == [row(number) for number in range(NUM_ROWS)]


def test_a_mark_may_come_to_a_packed_row_and_go_again(rows: Rows) -> None:
    rows.marks["is_best"] = {1}
    assert rows[1]["is_best"] and not rows[5]["is_best"]
    assert [table["is_best"].to_pylist().count(True) for table in rows.tables()] == [1, 0, 0]


def test_what_a_reader_does_to_a_row_changes_nothing(rows: Rows) -> None:
    for number in (0, NUM_ROWS - 1):
        rows[number]["note"] = "scribbled"
        assert rows[number] == row(number)


def test_the_newest_finished_rows_are_not_packed_yet(rows: Rows) -> None:
    rows.update(2 * CHUNK_ROWS, {"note": "late"})
    assert rows[2 * CHUNK_ROWS]["note"] == "late"
    with pytest.raises(KeyError):
        rows.update(2 * CHUNK_ROWS - 1, {"note": "too late"})


def test_without_a_row_there_is_an_empty_table() -> None:
    rows = Rows(SCHEMA, marks=("is_best",))
    (table,) = rows.tables()
    assert table.schema == SCHEMA and len(table) == 0
