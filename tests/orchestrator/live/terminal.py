"""Terminals to look at: what a person would see of what is written to them."""

import contextlib
import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

REPOSITORY = Path(__file__).parents[3]
UNWANTED = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


class Picture:
    """What a person sees of the bytes that were written.

    Attributes:
        raw: these.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    def feed(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    def resize(self, columns: int, lines: int) -> None:
        """As if a person had pulled at the window."""
        self._screen.resize(lines, columns)

    @property
    def shown(self) -> list[str]:
        """The lines that are seen now."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def scrolled(self) -> list[str]:
        """The lines that have left it at the top, and those that are seen."""
        columns = range(self._screen.columns)
        top = ["".join(line[column].data for column in columns).rstrip() for line in self._screen.history.top]
        return top + self.shown


class Terminal(io.TextIOBase):
    """A terminal within this process, for what writes to a text file."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.picture = Picture(columns, lines)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.picture.feed(text.replace("\n", "\r\n").encode())
        return len(text)


class Command:
    """`spnas` with its output in a terminal."""

    def __init__(self, *arguments: str | Path, columns: int = 80, lines: int = 24) -> None:
        self.picture = Picture(columns, lines)
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
            cwd=REPOSITORY,
            env={key: value for key, value in os.environ.items() if key not in UNWANTED} | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        self.picture.resize(columns, lines)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_until(self, condition: Callable[[Sequence[str]], bool]) -> list[str]:
        """The first picture that fulfils it; pytest's time limit ends the wait."""
        while not condition(self.picture.shown):
            assert self._read(), "it has ended:\n" + "\n".join(self.picture.scrolled)
        return self.picture.shown

    def _read(self) -> bool:
        """Take what is written next; False once nobody can write any more."""
        with contextlib.suppress(OSError):  # what Linux says at the end
            if data := os.read(self._master, 65536):
                self.picture.feed(data)
                return True
        return False

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait until it has ended; its exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait()
