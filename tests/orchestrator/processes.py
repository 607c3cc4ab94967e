"""Kills what this process has started, and nobody else's."""

import contextlib
import os
import signal
from collections.abc import Callable

from experiments.chaos.processes import descendants


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
