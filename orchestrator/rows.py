"""The rows of a growing table, held in little memory.

Rows come in order, change for a while and are then finished, in order too. The newest are plain dicts; finished ones
are packed, `CHUNK_ROWS` at a time, into compressed Parquet.

Invariant: a packed row never changes. What may come to a row at any time is a mark: a column that is true for the
few rows in a set, which stands beside the chunks.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.row_values import Row

CHUNK_ROWS = 512


class Rows:
    """Rows by number, from 0.

    Attributes:
        marks: the rows for which a column is true, for the columns that are marks.
    """

    def __init__(self, schema: pa.Schema, marks: tuple[str, ...]) -> None:
        """Hold rows of a schema; its columns named by `marks` need no values in the rows."""
        self.marks: dict[str, set[int]] = {name: set() for name in marks}
        self._schema = schema
        self._plain = pa.schema([field for field in schema if field.name not in marks])
        self._chunks: list[bytes] = []
        self._newest: dict[int, Row] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._chunks) * CHUNK_ROWS + len(self._newest)

    def __getitem__(self, number: int) -> Row:
        """A copy of one row, every column of the schema in it."""
        return next(self.since(number))

    def append(self, values: Mapping[str, Any]) -> None:
        """Add a row; columns without a value are None."""
        self._newest[len(self)] = {**dict.fromkeys(self._plain.names), **values}

    def update(self, number: int, values: Mapping[str, Any]) -> None:
        """Change a row that is not finished."""
        self._newest[number].update(values)

    def finish(self, number: int) -> None:
        """Say that this row and all before it change no more; the last `CHUNK_ROWS` of them stay as they are."""
        first = len(self._chunks) * CHUNK_ROWS
        if number + 1 >= first + 2 * CHUNK_ROWS:
            rows = [self._newest.pop(oldest) for oldest in range(first, first + CHUNK_ROWS)]
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema=self._plain), sink, compression="zstd")
            self._chunks.append(sink.getvalue())

    def since(self, first: int) -> Iterator[Row]:
        """Copies of the rows from this one on."""
        for chunk in range(first // CHUNK_ROWS, len(self._chunks)):
            rows = _unpacked(self._chunks[chunk]).slice(max(0, first - chunk * CHUNK_ROWS)).to_pylist()
            yield from (self._marked(number, row) for number, row in enumerate(rows, max(first, chunk * CHUNK_ROWS)))
        for number in range(max(first, len(self._chunks) * CHUNK_ROWS), len(self)):
            yield self._marked(number, self._newest[number])

    def column(self, name: str) -> list[Any]:
        """One column of all rows; it may not be a mark."""
        values = [value for chunk in self._chunks for value in _unpacked(chunk, [name])[name].to_pylist()]
        return values + [row[name] for row in self._newest.values()]

    def tables(self) -> Iterator[pa.Table]:
        """All rows as tables of the schema, at least one, in order."""
        first = 0
        for chunk in range(len(self._chunks) + 1):
            if chunk < len(self._chunks):
                table = _unpacked(self._chunks[chunk])
            else:
                table = pa.Table.from_pylist(list(self._newest.values()), schema=self._plain)
            for name, marked in self.marks.items():
                values = [number in marked for number in range(first, first + len(table))]
                table = table.append_column(name, pa.array(values, pa.bool_()))
            yield table.select(self._schema.names)
            first += len(table)

    def _marked(self, number: int, row: Row) -> Row:
        return row | {name: number in marked for name, marked in self.marks.items()}


def _unpacked(chunk: bytes, columns: list[str] | None = None) -> pa.Table:
    return pq.read_table(pa.BufferReader(chunk), columns=columns)
