"""Trainers in whose ranks the planned faults strike.

Invariant: without a plan beside the run they do what the trainers do that they are made of.
"""

import os
from dataclasses import replace

from experiments.chaos.faults import Plan
from experiments.chaos.hooks import install
from experiments.chaos.stub import StubTrainer
from workers.rank import Session, Trainer
from workers.task import NodeSettings, Progress, Task, TrainingResult


class FaultyTrainer:
    """Another trainer, struck as it begins and at its signs of life."""

    def __init__(self, settings: NodeSettings, inner: Trainer) -> None:
        """Read the plan; storage is struck in this process from now on."""
        self._inner = inner
        self._plan = Plan(settings.folder)
        install(self._plan)

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Train one task as the other does, if nothing strikes."""
        count = 0

        def strike(progress: Progress) -> None:
            nonlocal count
            session.on_progress(progress)
            count += 1
            self._plan.strike("step", task.index, "after", count)

        self._plan.strike("begin", task.index, "before")
        return self._inner.train(task, replace(session, on_progress=strike))


class FaultyStub(FaultyTrainer):
    """Stub training with faults."""

    def __init__(self, settings: NodeSettings) -> None:
        """See `FaultyTrainer`."""
        super().__init__(settings, StubTrainer(settings))


class FaultyNetwork(FaultyTrainer):
    """Real training with faults, on the CPU, where it is exact."""

    def __init__(self, settings: NodeSettings) -> None:
        """See `FaultyTrainer`."""
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from workers.training import NetworkTrainer  # torch, which the stub does without

        super().__init__(settings, NetworkTrainer(settings))
