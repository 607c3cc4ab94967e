"""Processes that a test has started, found through /proc, so that nobody else's are touched."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every living process below one."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it may end while we look
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(folder.name))
    frontier = [pid]
    while frontier:
        for child in parents.get(frontier.pop(), []):
            frontier.append(child)
            with contextlib.suppress(OSError):
                yield child, (Path("/proc") / str(child) / "cmdline").read_text().replace("\0", " ")


def kill_workers() -> bool:
    """Kill -9 every node worker that this process has started; False if there is none."""
    # Ray names a process after its actor or the task it runs, such as `candidate[3 BB(1,1,1)]`.
    return _kill(
        lambda command: command.startswith("ray::NodeWorker") or (command.startswith("ray::") and "[" in command)
    )


def kill_ranks() -> bool:
    """Kill -9 every rank that a node worker of this process has started; False if there is none."""
    return _kill(lambda command: "from workers.rank import main" in command)


def _kill(is_meant: Callable[[str], bool]) -> bool:
    running = [pid for pid, command in descendants(os.getpid()) if is_meant(command)]
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(running)
