"""Whose fault it was when an attempt gave no result: the infrastructure's or the candidate's.

Infrastructure: the actor, its node or an object is gone, or the storage failed. The same job runs again elsewhere,
bounded, and the candidate is not charged. Candidate: everything that its own training raises; the worker has told it
as a failed result, so what arrives here as an exception and is not known is the candidate's too.
"""

from typing import Literal

import ray.exceptions as ray_errors

Fault = Literal["infrastructure", "candidate"]

INFRASTRUCTURE: tuple[type[BaseException], ...] = (
    ray_errors.RayActorError,
    ray_errors.ObjectLostError,
    ray_errors.NodeDiedError,
    ray_errors.WorkerCrashedError,
    ray_errors.LocalRayletDiedError,
    ray_errors.OutOfMemoryError,
    ray_errors.OutOfDiskError,
    ray_errors.ObjectStoreFullError,
    ray_errors.RuntimeEnvSetupError,
    ray_errors.RaySystemError,
    ray_errors.TaskCancelledError,
    OSError,
)


def fault_of(error: BaseException) -> Fault:
    """Classify what `ray.get` raised for an attempt."""
    return "infrastructure" if isinstance(error, INFRASTRUCTURE) else "candidate"


def describe(error: BaseException) -> str:
    """One line for the log and the table: the innermost cause's type and message."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"
