"""Whose fault it is that an attempt ended without a result: the candidate's, the infrastructure's, or nobody can say.

- *candidate*: its own training fails, as it would anywhere: a loss that is not finite, no memory left, an exception.
  It is told as failed, and the search goes on.
- *infrastructure*: a node, an actor, an object, storage or a device is gone or failing. The job runs again elsewhere,
  and the candidate is never charged.
- *unclear*: the rank crashed, was killed, or hung. Once may be the node's fault; the second time it is the candidate's.

Types are told by their names along the order of inheritance, messages where the type says too little, as with CUDA,
whose errors are all of one type; processes by how they ended.

Invariant: every error and every exit has an answer; an exception that no table knows is the candidate's. Neither torch
nor Ray is imported.
"""

import signal
from typing import Literal

from models.wording import one_line
from workers.task import AttemptLost, CandidateFailure, Fault

Kind = Literal["candidate", "infrastructure", "unclear", "out of memory", "by its message"]

MAX_REASON = 300

TYPES: dict[str, Kind] = {
    "builtins.MemoryError": "out of memory",
    "torch.OutOfMemoryError": "out of memory",
    "builtins.OSError": "infrastructure",  # data and storage, pipes and sockets
    "builtins.EOFError": "infrastructure",
    "builtins.ImportError": "infrastructure",  # the machine lacks a package or one of its libraries
    "torch.distributed.DistError": "infrastructure",
    "torch.cuda.DeferredCudaCallError": "infrastructure",  # CUDA could not be initialised
    "workers.task.TrainingStopped": "infrastructure",
    "ray.exceptions.RayError": "infrastructure",  # a lost actor, node or object, a full object store, a partition
    "ray.exceptions.OutOfMemoryError": "unclear",  # Ray ended it as the node ran out: it or its neighbours
    "ray.exceptions.UserCodeException": "candidate",
    "ray.exceptions.CrossLanguageError": "candidate",
    "builtins.RuntimeError": "by its message",
    "builtins.AssertionError": "by its message",
    "builtins.Exception": "candidate",
    "builtins.BaseException": "infrastructure",  # the process was told to end
}
"""The kind of each type and of those that inherit from it, the nearest one's first."""

MESSAGES: tuple[tuple[str, Kind], ...] = (
    # other processes, and what is shared with them
    ("dataloader worker (pid", "infrastructure"),
    ("pin memory thread", "infrastructure"),
    ("shared memory object", "infrastructure"),
    ("unable to mmap", "infrastructure"),
    ("nccl", "infrastructure"),
    ("gloo", "infrastructure"),
    # memory
    ("out of memory", "out of memory"),
    ("defaultcpuallocator", "out of memory"),
    ("can't allocate memory", "out of memory"),
    ("cannot allocate memory", "out of memory"),
    ("status_alloc_failed", "out of memory"),  # of cuBLAS and cuDNN
    # what a program does wrong on a device
    ("device-side assert", "candidate"),
    ("illegal memory access", "candidate"),
    ("illegal instruction", "candidate"),
    ("misaligned address", "candidate"),
    # a device or its driver that fails
    ("unspecified launch failure", "infrastructure"),
    ("launch timed out", "infrastructure"),
    ("uncorrectable", "infrastructure"),  # ECC, NVLink
    ("hardware", "infrastructure"),
    ("busy or unavailable", "infrastructure"),
    ("no cuda-capable device", "infrastructure"),
    ("no cuda gpus", "infrastructure"),
    ("might not have a cuda gpu", "infrastructure"),
    ("compiled with cuda enabled", "infrastructure"),
    ("compiled without cuda", "infrastructure"),
    ("no kernel image", "infrastructure"),
    ("invalid device ordinal", "infrastructure"),
    ("nvidia driver", "infrastructure"),
    ("cuda driver", "infrastructure"),
    ("driver shutting down", "infrastructure"),
    ("incompatible driver", "infrastructure"),
    ("initialization error", "infrastructure"),
    ("not_initialized", "infrastructure"),  # cuBLAS and cuDNN
    ("system not yet initialized", "infrastructure"),
    ("cuda error: unknown error", "infrastructure"),
)
"""What a message's first line says in small letters, and the kind it tells; the first that is found counts.

The lines after it are advice, which names errors that did not happen."""


CAUSES: tuple[Fault, ...] = ("candidate", "unclear", "infrastructure")
"""Of the faults of those that train together, the first that is found is the cause, and the others its effects."""

ENDED_BY_SOMEBODY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask a process to go. SIGKILL is not among them: the kernel sends it to who takes too much memory."""


def fault_of_exit(code: int, *, is_alone: bool = True) -> tuple[Fault, str]:
    """Whose fault it is that a rank's process ended by itself, and the reason in one line.

    Args:
        code: what `subprocess` gives: an exit code, or a signal's number below zero.
        is_alone: whether it trained without others. NCCL aborts a rank that has lost another one.
    """
    if code >= 0:
        return "unclear", f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    is_effect = -code == signal.SIGABRT and not is_alone
    fault: Fault = "infrastructure" if is_effect or -code in ENDED_BY_SOMEBODY else "unclear"
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return fault, f"its process was ended by {name}{hint}"


def classify(error: BaseException) -> tuple[Fault, str]:
    """Whose fault an error is, and the reason in one line.

    Args:
        error: what a training raised, or what asking a worker for it did.
    """
    error = getattr(error, "cause", None) or error  # what a worker raised, Ray wraps
    if isinstance(error, CandidateFailure):
        return "candidate", error.reason
    if isinstance(error, AttemptLost):
        return error.fault, error.reason
    first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = _kind(error, first_line)
    if kind == "out of memory":
        return "candidate", one_line(f"out of memory: {first_line or type(error).__name__}", MAX_REASON)
    reason = one_line(f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__, MAX_REASON)
    return kind if kind in ("infrastructure", "unclear") else "candidate", reason


def describe(error: BaseException) -> str:
    """One line for the log: the innermost cause's type and message."""
    return classify(error)[1]


def _kind(error: BaseException, first_line: str) -> Kind:
    names = (f"{ancestor.__module__}.{ancestor.__qualname__}" for ancestor in type(error).__mro__)
    kind = next(TYPES[name] for name in names if name in TYPES)
    if kind != "by its message":
        return kind
    return next((told for part, told in MESSAGES if part in first_line.lower()), "candidate")
