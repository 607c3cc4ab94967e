"""What can be seen of a run at one moment, as plain values.

Scores are fractions; times are seconds.

Invariant: a snapshot read from a file holds only printable text of one line, and numbers that are finite; whatever
else a file holds, it is no snapshot.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from models.wording import one_line
from workers.task import Progress

SCHEMA_VERSION = 1
MAX_BYTES = 4 * 2**20
"""No snapshot of any fleet is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A network that the search has come to.

    Attributes:
        index: of its job.
        score: as the search judged it.
        architecture: its encoding.
        gflops: 10^9 multiply-adds, as the trials table has them.
    """

    index: int
    score: float
    architecture: str
    gflops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A part of the budget: what is used of what."""

    what: str
    used: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """What one worker does; what is not known is None.

    Attributes:
        name: the worker's.
        job: the index of its job, None while it is idle.
        role: the job's.
        architecture: the job's.
        phase: ``getting ready`` before it has told anything, ``preparing``, ``training`` or ``evaluating``.
        epoch: from 1.
        num_epochs: of the whole training.
        step: steps done, over all epochs.
        num_steps: of the whole training.
        loss: the last batch's.
        images_per_second: of all its ranks.
        top1: share of the last training images classified rightly, in pretraining.
        seconds_left: until the last step, at the pace so far.
    """

    name: str
    job: int | None = None
    role: str = ""
    architecture: str = ""
    phase: str = ""
    epoch: int | None = None
    num_epochs: int | None = None
    step: int | None = None
    num_steps: int | None = None
    loss: float | None = None
    images_per_second: float | None = None
    top1: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was said: its number in the driver's life, when by the driver's clock, and what."""

    number: int
    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        life: tells this driver's snapshots from every other's.
        number: of the snapshot in this life, from 1.
        at: when it was made, by the driver's clock.
        elapsed_s: since this driver began, None if it isn't the driver that tells.
        title: what the run does.
        metric: the objective's.
        phase: where it is.
        round: likewise; 0 where there are none.
        num_rounds: how many there will be at most, None where nobody knows.
        start: the start network once it is trained, if it has a score.
        best: the best so far.
        num_told: jobs finished, of every role.
        num_candidates: of these, candidates.
        num_failed: of these, failed ones.
        num_pending: jobs decided and not finished.
        counter: candidates since the last improvement.
        n_stuck: as many end the round; None where nothing counts them.
        limits: of the budget.
        budget_left_s: about how long until the first limit is reached, None where that can't be known.
        budget_left_of: that limit's name.
        round_left_s: about how long until the round ends if nothing better comes, None likewise.
        workers: what they do.
        events: the last ones, in order.
    """

    life: str
    number: int
    at: float
    elapsed_s: float | None
    title: str
    metric: str
    phase: str
    round: int
    num_rounds: int | None
    start: Found | None
    best: Found | None
    num_told: int
    num_candidates: int
    num_failed: int
    num_pending: int
    counter: int
    n_stuck: int | None
    limits: tuple[Limit, ...] = ()
    budget_left_s: float | None = None
    budget_left_of: str = ""
    round_left_s: float | None = None
    workers: tuple[WorkerLine, ...] = ()
    events: tuple[Event, ...] = ()

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False)

    def to_json(self) -> bytes:
        """The snapshot as a file."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Snapshot | None":
        """The inverse of `to_json`; None for anything else, a snapshot of newer code among it."""
        try:
            if len(data) > MAX_BYTES:
                return None
            values = json.loads(data)
            if values.pop("schema_version") != SCHEMA_VERSION:
                return None
            return _SNAPSHOT.validate_json(json.dumps(_printable(values), allow_nan=False))
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return None


_SNAPSHOT = TypeAdapter(Snapshot)


def worker_line(name: str, job: int, role: str, architecture: str, progress: Progress | None) -> WorkerLine:
    """What a worker does, as it tells it; NaN there is what is not known."""
    if progress is None:
        return WorkerLine(name=name, job=job, role=role, architecture=architecture, phase="getting ready")
    return WorkerLine(
        name=name,
        job=job,
        role=role,
        architecture=architecture,
        phase=progress.phase,
        epoch=min(progress.epoch, progress.num_epochs),
        num_epochs=progress.num_epochs,
        step=progress.step,
        num_steps=progress.num_steps,
        loss=_known(progress.loss),
        images_per_second=_known(progress.images_per_second),
        top1=_known(progress.top1),
        seconds_left=_known(progress.seconds_left),
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _printable(value: Any) -> Any:
    """JSON's values with every text as one printable line."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    return value
