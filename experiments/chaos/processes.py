"""Processes of this machine as /proc shows them.

Invariant: a process that ends while we look is not there; zombies are dead.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
DEAD = ("Z", "X")


def parent_of(pid: int) -> int:
    """The process that started one, or has adopted it."""
    return int(_fields(pid)[1])


def command_of(pid: int) -> str:
    """The command line, or the title that a process has given itself."""
    return (PROC / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ").strip()


def is_alive(pid: int) -> bool:
    """Whether it runs, or could."""
    try:
        return _fields(pid)[0] not in DEAD
    except OSError:
        return False


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it."""
    return _fields(pid)[0] == "T"


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """(pid, command) of every living process below one."""
    children: dict[int, list[int]] = {}
    for each in _pids():
        with contextlib.suppress(OSError):
            state, parent, *_ = _fields(each)
            if state not in DEAD:
                children.setdefault(int(parent), []).append(each)
    frontier = [pid]
    while frontier:
        for child in children.get(frontier.pop(), []):
            frontier.append(child)
            with contextlib.suppress(OSError):
                yield child, command_of(child)


def with_variable(name: str, value: str) -> Iterator[tuple[int, str]]:
    """(pid, command) of every living process that was started with a variable of the environment, but this one."""
    wanted = f"{name}={value}".encode()
    for pid in _pids():
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (PROC / str(pid) / "environ").read_bytes().split(b"\0") and is_alive(pid):
                    yield pid, command_of(pid)


def _pids() -> Iterator[int]:
    return (int(folder.name) for folder in PROC.iterdir() if folder.name.isdigit())


def _fields(pid: int) -> list[str]:
    """The fields of ``stat`` from the state on; the name before it may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
