"""JSON read whole or element by element."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.answers import FEW, MANY, answer
from workers.data.json_files import number, read_json, stream_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "a.json"


@FEW
@given(
    rest=st.dictionaries(st.text(max_size=3), values, max_size=3),
    items=st.lists(values, max_size=5),
    indent=st.sampled_from([None, 0, 3]),
)
def test_a_stream_gives_what_the_whole_holds(
    path: Path, rest: dict[str, Any], items: list[Any], indent: int | None
) -> None:
    rest.pop("items", None)
    path.write_text(json.dumps({**rest, "items": items}, indent=indent))
    found: list[Any] = []
    assert stream_json(path, {"items": found.append}) == rest
    assert found == items
    path.write_text(json.dumps(items, indent=indent))
    found.clear()
    assert stream_json(path, {"": found.append}) == {}
    assert found == items == read_json(path)


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"items"',
    '"a"',
    "1",
    "null",
    " ",
    "\n",
    "nan",
    "NaN",
    "1e999",
    '"',
    "\\",
    "\x00",
]


@MANY
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example('{"items": [1,]}')
@example('{"items": [1] "a": 1}')
@example('\ufeff{"items": []}')
def test_a_stream_reads_and_refuses_what_pythons_own_reader_does(path: Path, text: str) -> None:
    path.write_text(text)
    try:
        whole = json.loads(text.removeprefix("\ufeff"))
    except ValueError:
        whole = None
    found = answer(lambda: stream_json(path, {"items": lambda item: None, "": lambda item: None}))
    assert (found is not None) == isinstance(whole, dict | list)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"items":' * 10**5, "9" * 10**5, '{"items": [' + "9" * 10**5 + "]}"])
def test_what_is_endless_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    for read in (read_json, lambda path: stream_json(path, {"items": lambda item: None, "": lambda item: None})):
        with pytest.raises(ValueError, match=r"a\.json: is no JSON"):
            read(path)


def test_a_pipe_a_large_file_and_other_encodings_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("[1, 2, 3]")
    for name in ("pipe", "large"):
        with pytest.raises(ValueError, match=rf"{name}: is no file of at most 5 bytes"):
            read_json(tmp_path / name, max_bytes=5)
    (tmp_path / "latin").write_bytes(b'["\xe9"]')
    with pytest.raises(ValueError, match=r"latin: is not UTF-8 text \(byte 2\)"):
        read_json(tmp_path / "latin")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone")


@pytest.mark.parametrize("value", [None, "1", True, [1], float("nan"), float("-inf"), 10**400])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="x1 is .*, not (a number|finite)"):
        number(value, "x1")
    assert number(3, "x1") == 3.0
