"""The only answers that hostile input may get."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import settings

from models.wording import MAX_LINE
from orchestrator.errors import MAX_LINES

Value = TypeVar("Value")

# Bounded, so that all of these tests together stay under a minute on one slow core.
FEW = settings(max_examples=50, derandomize=True, deadline=None, database=None)
MANY = settings(max_examples=300, derandomize=True, deadline=None, database=None)


def answer(read: Callable[[], Value], error: type[Exception] = ValueError) -> Value | None:
    """What `read` gives, or None where it raises an error that says shortly what is wrong."""
    try:
        return read()
    except error as caught:
        check_message(str(caught))
        return None


def refusal(read: Callable[[], object], error: type[Exception] = ValueError) -> str:
    """The short message that something must be refused with."""
    try:
        value = read()
    except error as caught:
        check_message(str(caught))
        return str(caught)
    raise AssertionError(f"not refused, but read as {value!r:.500}")


def check_message(text: str) -> None:
    """A message is there, in a few printable lines that are not endless."""
    lines = text.split("\n")
    assert text and "Traceback" not in text
    assert len(lines) <= MAX_LINES
    assert all(line.isprintable() and len(line) <= MAX_LINE for line in lines), text[:2000]
