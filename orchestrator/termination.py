"""SIGTERM, by which `ray job stop`, Slurm and others end a search: noted, and asked about by the driver.

Invariant: a handler does nothing but note it, so no write is cut off in the middle. `ray.init` puts a handler of its
own in the place of this one; `orchestrator.fleet.connect` puts this one back.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_S = 60.0
"""How long trainings that are asked to stop have for the step under way and a checkpoint."""

RAYS_WAIT_S = 3


def note_termination() -> Callable[[], bool]:
    """From now on note SIGTERM instead of ending.

    Returns:
        What says whether one has come.
    """
    numbers: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    return lambda: bool(numbers)


@contextmanager
def noting_interruption() -> Iterator[Callable[[], bool]]:
    """Within, note the first Ctrl-C or SIGTERM instead of ending; the second ends at once.

    Yields:
        What says whether one has come.
    """
    numbers: list[int] = []

    def note(number: int, frame: object) -> None:
        if numbers:
            raise KeyboardInterrupt
        numbers.append(number)

    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heeded = {number: handler for number, handler in earlier.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in heeded:
            signal.signal(number, note)
        yield lambda: bool(numbers)
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def advice() -> str | None:
    """What to change where Ray's job server would kill the search before trainings had the time to stop."""
    wait_s = os.environ.get("RAY_JOB_STOP_WAIT_TIME_S", str(RAYS_WAIT_S))
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ or (wait_s.isdecimal() and int(wait_s) > STOP_S):
        return None
    return (
        f"RAY_JOB_STOP_WAIT_TIME_S is {wait_s}: `ray job stop` may cut trainings off before they have written a "
        f"checkpoint; set it to {2 * STOP_S:.0f} in the job's runtime_env env_vars"
    )
