"""JSON files that somebody else has made: whole where they are small, element by element where they are large.

Invariant: what is no JSON, no file, or larger than it may be is a `ValueError` of one line that names file and place;
what can't be reached stays the `OSError` it is. `stream_json` never holds a list's elements together, so that a file
of half a gigabyte takes the memory of its text and not the ten times that its objects would.
"""

import json
import math
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.wording import brief, one_line

MAX_BYTES = 64 * 2**20  # of a file that is read whole
MAX_STREAMED_BYTES = 8 * 2**30  # of one whose lists are streamed

_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """The value a JSON file holds.

    Raises:
        ValueError: where it is no regular file, too large, no UTF-8 or no JSON.
        OSError: where it can't be reached.
    """
    text = _text(path, max_bytes)
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are a ValueError, too
        raise _no_json(path, error) from error


def stream_json(
    path: Path, lists: Mapping[str, Callable[[Any], object]], *, max_bytes: int = MAX_STREAMED_BYTES
) -> dict[str, Any]:
    """Read a JSON document whose top is an object or a list, and hand on the elements of its long lists one by one.

    Args:
        path: the file.
        lists: what is given each element of the list at a key of the top; ``""`` is for a top that is a list itself.
        max_bytes: the largest file that is read.

    Returns:
        The values at all other keys of the top, and at those of `lists` that hold no list.

    Raises:
        ValueError: as `read_json` does, and whatever the callables raise.
        OSError: where the file can't be reached.
    """
    text = _text(path, max_bytes)
    try:
        start = _skip(text, 0)
        if text.startswith("[", start) and "" in lists:
            rest: dict[str, Any] = {}
            end = _each(text, start, path, lists[""])
        elif text.startswith("{", start):
            rest, end = _members(text, start, path, lists)
        else:
            raise json.JSONDecodeError("Expecting an object" + (" or a list" if "" in lists else ""), text, start)
        if (end := _skip(text, end)) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _no_json(path, error) from error
    return rest


def number(value: object, what: str) -> float:
    """A finite number.

    Raises:
        ValueError: for anything else, of which `what` says what it is.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{what} is {brief(value)}, not a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{what} is {brief(value)}, not finite")
    return found


def _text(path: Path, max_bytes: int) -> str:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
        raise ValueError(f"{one_line(str(path))}: is no file of at most {max_bytes} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{one_line(str(path))}: is not UTF-8 text (byte {error.start})") from error


def _no_json(path: Path, error: Exception) -> ValueError:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(str(error), 300)
    return ValueError(f"{one_line(str(path))}: is no JSON ({reason})")


def _skip(text: str, position: int) -> int:
    """The place of the next character that is no space."""
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _members(
    text: str, start: int, path: Path, lists: Mapping[str, Callable[[Any], object]]
) -> tuple[dict[str, Any], int]:
    """The values of the object that starts there, but for streamed lists, and the place behind it."""
    rest: dict[str, Any] = {}
    end = _skip(text, start + 1)
    if text.startswith("}", end):
        return rest, end + 1
    while True:
        if not text.startswith('"', end):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, end)
        key, end = _decoder.raw_decode(text, end)
        end = _skip(text, end)
        if not text.startswith(":", end):
            raise json.JSONDecodeError("Expecting ':' delimiter", text, end)
        end = _skip(text, end + 1)
        if key in lists and text.startswith("[", end):
            end = _each(text, end, path, lists[key])
        else:
            rest[key], end = _decode(text, end, path)
        end = _skip(text, end)
        if text.startswith("}", end):
            return rest, end + 1
        if not text.startswith(",", end):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        end = _skip(text, end + 1)


def _each(text: str, start: int, path: Path, take: Callable[[Any], object]) -> int:
    """Hand on the elements of the list that starts there; the place behind it."""
    end = _skip(text, start + 1)
    if text.startswith("]", end):
        return end + 1
    while True:
        value, end = _decode(text, end, path)
        take(value)
        end = _skip(text, end)
        mark = text[end : end + 1]
        if mark == "]":
            return end + 1
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        end = _skip(text, end + 1)


def _decode(text: str, position: int, path: Path) -> tuple[Any, int]:
    try:
        return _decoder.raw_decode(text, position)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise _no_json(path, error) from error
