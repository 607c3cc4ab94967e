"""What a worker is asked and what it answers.

Invariant: a `Task`, its data, and the parent's weights determine the `TrainingResult` to the last bit on CPU,
but for `peak_memory_bytes`; in particular no seed is drawn anywhere but from `Task.seed`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.families import AnySpec
from models.morphism import Morph
from workers.settings import (
    ClassificationDataSettings,
    DetectionDataSettings,
    DetectorSettings,
    TrainingSettings,
)

NETWORK_TRAINER = "workers.training:NetworkTrainer"
REHEARSAL_TRAINER = "workers.rehearsal:RehearsalTrainer"

ALL_REDUCE = "all_reduce"
"""The kind of a task that trains nothing, but has its ranks reach each other; see `workers.rehearsal`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a worker needs to know of the config, the same for all its tasks.

    Attributes:
        folder: the address of the run's storage.
        data: the detection data set.
        reignition_data: the classification data set, if there is one.
        detector: everything but the backbone.
        max_stages: levels of the pyramid.
        utilization: which utilisations the paths of a super-net have; see `models.msnas_encoding.Utilization`.
        num_ranks: processes that train together on each node, one for each GPU.
        has_gpus: whether they may use the GPUs that they see.
        num_loaders: threads that read images ahead for each of them; 0 reads when they are wanted.
        trainer: what its ranks train with, as module:class; see `workers.rank.Trainer`.
    """

    folder: str
    data: DetectionDataSettings
    reignition_data: ClassificationDataSettings | None
    detector: DetectorSettings
    max_stages: int
    utilization: str = "constrained"
    num_ranks: int = 1
    has_gpus: bool = True
    num_loaders: int = 0
    trainer: str = NETWORK_TRAINER


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """A node's place among those that train one task together.

    Attributes:
        node_rank: its number, from 0; the first one stores and answers.
        num_nodes: how many there are.
        address: host:port on the first node where all ranks meet.
    """

    node_rank: int
    num_nodes: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rank's place among those that train one task together.

    Attributes:
        rank: its number among all, from 0.
        size: how many there are.
        local_rank: its number on its node, which is its device's.
        address: host:port where all meet.
    """

    rank: int
    size: int
    local_rank: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training to run.

    Attributes:
        index: the job's index in the search.
        attempt: counts the tries of this job, from 0.
        epoch: the journal's epoch of the driver that sent it.
        kind: the job's kind, such as ``train_detector``, ``train_supernet``, ``pretrain``, ``score`` or
            ``evaluate``.
        spec: the network to train.
        morphs: what makes `spec` out of the parent's.
        training: the schedule.
        seed: determines data order, flips, samplers and fresh weights; children that are compared have the
            same.
        start_weights: without a parent: None (random), ``torchvision:resnet18`` and the like, or a file.
        earlier: names of earlier attempts at this job, the newest first; the first that has a checkpoint is gone on
            from, if that is whole.
        checkpoint_s: seconds between two checkpoints within an epoch.
        stall_s: seconds without a sign of life after which the training counts as hung; None waits for ever.
        deadline_s: seconds after which it counts as hung in any case; None for no limit.
        gang: this node's place among several; None where one node trains it alone.
    """

    index: int
    attempt: int
    kind: str
    spec: AnySpec
    morphs: tuple[Morph, ...]
    training: TrainingSettings
    seed: tuple[int, ...]
    start_weights: str | None = None
    epoch: int = 0
    earlier: tuple[str, ...] = ()
    checkpoint_s: float = 300.0
    stall_s: float | None = None
    deadline_s: float | None = None
    gang: Gang | None = None

    @property
    def name(self) -> str:
        """The attempt's name, which all its files bear."""
        return attempt_name(self.index, self.attempt, self.epoch)


def attempt_name(index: int, attempt: int, epoch: int) -> str:
    """The name of an attempt; the epoch is in it, so that a superseded driver's attempts are apart from all others."""
    return f"{index:06d}-{attempt}-{epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training has come; what is not known at the moment is NaN.

    Attributes:
        epoch: from 1.
        num_epochs: of the whole training.
        step: steps done, over all epochs.
        num_steps: of the whole training.
        loss: the last batch's; not before the first step and in evaluation.
        images_per_second: of all ranks together.
        top1: share of the last training images that were classified rightly, from 0 to 1; in pretraining only.
        seconds_left: until the last step, at the pace so far.
        phase: what it does.
    """

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    loss: float
    images_per_second: float
    top1: float = math.nan
    seconds_left: float = math.nan
    phase: Literal["preparing", "training", "evaluating"] = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        metrics: fractions from 0 to 1, as ``AP``, ``AP50`` or ``top1``; and an evaluation's ``images_per_second`` and
            ``latency_ms``.
        weights: a blob of `models.blob`; its metadata say spec, kind, metrics' class names. Empty where none are made.
        peak_memory_bytes: the most memory in use, of the device on CUDA and of the process on CPU.
        notes: what an operator should know, such as layers that had to be fresh.
    """

    metrics: dict[str, float]
    weights: bytes
    peak_memory_bytes: int
    notes: tuple[str, ...] = ()


class CandidateFailure(Exception):
    """The candidate's own fault: the same task would fail anywhere, as with a loss that became NaN."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, one line."""
        super().__init__(reason)
        self.reason = reason


class TrainingStopped(Exception):
    """`should_stop` said yes: nobody's fault, and there is no result."""


Fault = Literal["candidate", "infrastructure", "unclear"]


class AttemptLost(Exception):
    """An attempt that ended without a result, and whose fault that was: see `workers.failures`."""

    def __init__(self, fault: Fault, reason: str) -> None:
        """Keep both; the reason is one line."""
        super().__init__(fault, reason)
        self.fault = fault
        self.reason = reason

    def __str__(self) -> str:
        """The reason."""
        return self.reason


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


def ignore_progress(progress: Progress) -> None:
    """An `on_progress` that does nothing."""


def never_stop() -> bool:
    """A `should_stop` that never does."""
    return False
