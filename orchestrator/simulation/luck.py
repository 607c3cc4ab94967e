"""What a simulated run leaves to chance: scores, stragglers, failures and losses.

Invariant: all of it is drawn from the seed and the job's or the attempt's own number, so that runs on other fleets, or
with another `in_flight`, have the same luck.
"""

import math
from dataclasses import dataclass
from random import Random

from models.families import AnySpec
from orchestrator.search.settings import Objective

START_QUALITY = 0.5
GAIN, LOSS, NOISE = 0.005, 0.02, 0.001
"""Of a fraction, what the average improvement gains and the average other change loses; and how runs of one differ."""

FADING = 5
"""After so many improvements the next one is half as likely as the first; after twice as many, a third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """How likely things are.

    Attributes:
        seed: all is drawn from it.
        improvement: that a child of the start is better than it; of later baselines less, see `FADING`. By default a
            search that is stuck after 20 grows as far as the paper's networks have.
        spread: standard deviation of the logarithm of an attempt's time: how much slow nodes are slower.
        failure: that a candidate fails by its own fault.
        loss: that an attempt loses its node.
    """

    seed: int = 0
    improvement: float = 0.3
    spread: float = 0.1
    failure: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of an attempt.

    Attributes:
        slowness: its time over the expected one; 1 on average.
        is_lost: whether its node goes down.
        fails: whether it fails by its own fault, if it is not lost.
        share: how much of it is done when that happens.
    """

    slowness: float
    is_lost: bool
    fails: bool
    share: float


def fate(chances: Chances, index: int, attempt: int, role: str) -> Fate:
    """What becomes of an attempt at a job; only candidates fail by themselves."""
    rng = Random(f"attempt {chances.seed} {index} {attempt}")
    slowness = math.exp(chances.spread * rng.gauss() - chances.spread**2 / 2)
    is_lost, share = rng.random() < chances.loss, rng.random()
    fails = role == "candidate" and Random(f"job {chances.seed} {index}").random() < chances.failure
    return Fate(slowness=slowness, is_lost=is_lost, fails=fails, share=share)


class Scores:
    """Scores of networks: a candidate is its parent's, mostly worse, sometimes better, and a little noise."""

    def __init__(self, chances: Chances, objective: Objective) -> None:
        """Nothing is known yet."""
        self._chances = chances
        self._sign = 1.0 if objective.mode == "max" else -1.0
        self._of_job: dict[int, tuple[float, int]] = {}  # its quality, and the improvements that led to it
        self._of_network: dict[str, tuple[float, int]] = {}

    def score(self, index: int, spec: AnySpec, parent: int | None) -> float:
        """The score of a job that trained a network from its parent's weights; a fraction."""
        rng = Random(f"score {self._chances.seed} {index}")
        encoding = str(spec.architecture)
        if encoding not in self._of_network:
            quality, depth = START_QUALITY, 0
            if parent in self._of_job:
                quality, depth = self._of_job[parent]
                if rng.random() < self._chances.improvement / (1 + depth / FADING):
                    quality, depth = quality + rng.expovariate(1 / GAIN), depth + 1
                else:
                    quality -= rng.expovariate(1 / LOSS)
            self._of_network[encoding] = quality, depth
        self._of_job[index] = self._of_network[encoding]
        quality = min(1.0, max(0.0, self._of_job[index][0] + rng.gauss(0.0, NOISE)))
        return quality if self._sign > 0 else 1.0 - quality
