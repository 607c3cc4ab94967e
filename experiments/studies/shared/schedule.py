"""How long a search takes with enough workers, from how long its jobs took: the driver's order, without a driver.

Invariant: as in the search, outcomes are told in the order of the jobs' indices, and what a job waits for is a function
of roles and indices alone. Each of `in_flight` jobs has a worker of its own, so none waits for one.
"""

from collections.abc import Sequence

BARRIERS = ("start", "pretrain", "refresh", "final")
"""Roles that run alone; see `orchestrator.search.protocol.Job`."""


def waits_for(roles: Sequence[str], in_flight: int) -> list[int]:
    """The job that has to be told before each job is decided, -1 for none; all before it are told then, too.

    A barrier waits for all before it, and whatever follows waits for it. Of others, job k waits for job
    k - `in_flight`. In a paired search, a generation waits for all of the one before it, its confirmations for it.

    Args:
        roles: of the jobs, in order.
        in_flight: how many may be under way.
    """
    found: list[int] = []
    first = 0  # of what may be under way together
    for index, role in enumerate(roles):
        if role in BARRIERS or _begins_anew(roles, index):
            first = index
        found.append(max(first - 1, index - in_flight))
        if role in BARRIERS:
            first = index + 1
    return found


def _begins_anew(roles: Sequence[str], index: int) -> bool:
    """Whether a paired search decides a job only once nothing is under way: a generation's first, or its winner's."""
    before = roles[max(0, index - 2) : index]
    if roles[index] == "control":  # beside a confirmation it is the confirmation's own, unless children follow
        return before[-1:] != ["confirmation"] or roles[index + 1 : index + 2] == ["candidate"]
    return roles[index] == "confirmation" and before != ["confirmation", "control"]


def seconds_with_workers(seconds: Sequence[float], roles: Sequence[str], in_flight: int) -> float:
    """How long jobs take with as many workers as may be under way, from the first's begin to the last's end.

    Args:
        seconds: that each job took on its worker, in order; what passes between jobs is not counted.
        roles: of the same jobs.
        in_flight: how many may be under way.
    """
    told: list[float] = []
    for taken, awaited in zip(seconds, waits_for(roles, in_flight), strict=True):
        decided = told[awaited] if awaited >= 0 else 0.0
        told.append(max(decided + taken, told[-1] if told else 0.0))
    return told[-1] if told else 0.0
