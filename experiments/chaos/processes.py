"""Processes of this machine as /proc shows them.

Invariant: a process that ends while we look is not there; zombies are dead.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def parent_of(pid: int) -> int:
    """The process that started one, or has adopted it."""
    return int(_fields(pid)[1])


def command_of(pid: int) -> str:
    """The command line, or the title that a process has given itself."""
    return (PROC / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ").strip()


def is_alive(pid: int) -> bool:
    """Whether it runs, or could."""
    try:
        return _fields(pid)[0] not in ("Z", "X")
    except OSError:
        return False


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it."""
    return _fields(pid)[0] == "T"


def with_variable(name: str, value: str) -> Iterator[tuple[int, str]]:
    """(pid, command) of every living process that was started with a variable of the environment, but this one."""
    wanted = f"{name}={value}".encode()
    for folder in PROC.iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and is_alive(int(folder.name)):
                    yield int(folder.name), command_of(int(folder.name))


def _fields(pid: int) -> list[str]:
    """The fields of ``stat`` from the state on; the name before it may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
