"""Training a super-net: at every step one path of it, drawn uniformly from all valid ones (MSNAS, section 3.4).

Invariant: a step's path depends on nothing but the space, the task's seed and the step; so all ranks train the same,
and a training that goes on from a checkpoint draws on as if it had never stopped.
"""

from dataclasses import dataclass

import numpy as np
from torchvision.models.detection import FasterRCNN

from models.detectors import choose_path
from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace
from workers.task import Task

KIND = "train_supernet"
"""The kind of a task that trains one."""

PATHS = 1
"""Parts what the paths are drawn from from what `seed_everything` draws from the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The paths of one training of a super-net.

    Attributes:
        space: what they are drawn from.
        start: the one that the super-net is evaluated as, for who watches it; no search reads that.
        seed: the task's.
    """

    space: SearchSpace
    start: MultiScale
    seed: tuple[int, ...]

    @classmethod
    def of(cls, task: Task, utilization: str) -> "Paths | None":
        """Those of a task, with the utilisations that its search samples; None if it trains no super-net."""
        if task.kind != KIND:
            return None
        assert isinstance(task.spec, MultiScaleSpec), f"{task.spec.architecture} has no super-net"
        start = task.spec.architecture
        return cls(space=SearchSpace.around(start, utilization), start=start, seed=task.seed)

    def at(self, step: int) -> MultiScale:
        """The path, encoder and utilisation, of a step from 0."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(PATHS, step))
        return self.space.draw(np.random.default_rng(sequence))

    def choose(self, detector: FasterRCNN, step: int) -> None:
        """Let a super-net's detector compute the path of a step."""
        choose_path(detector, self.at(step))

    def end(self, detector: FasterRCNN) -> None:
        """Let it compute the start's path, after the last step."""
        choose_path(detector, self.start)
