"""What a message shows of a value that somebody else wrote: a name, a number, a whole file by mistake.

Invariant: the answers are printable, bounded, and made in bounded time, whatever the value is.
"""

import reprlib

MAX_VALUE = 200
MAX_LINE = 1000


class _Short(reprlib.Repr):
    """The usual `repr`, with what is long or deep left out."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxlong = self.maxother = MAX_VALUE

    def repr_int(self, number: int, level: int) -> str:
        """A number; Python refuses to print one of thousands of digits."""
        return repr(number) if number.bit_length() <= 4 * MAX_VALUE else f"a number of {number.bit_length()} bits"


_short = _Short()


def brief(value: object) -> str:
    """The `repr` of a value, cut to `MAX_VALUE` characters."""
    return one_line(_short.repr(value), MAX_VALUE)


def one_line(text: str, length: int = MAX_LINE) -> str:
    """A text without line breaks or control characters; what is too long loses its middle."""
    if len(text) <= length and text.isprintable():
        return text
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in _cut(text, length)
    )
    return _cut(shown, length)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-(length // 2 - 5) :]}"
