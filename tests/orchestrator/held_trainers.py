"""Trainers that hold still until what a test does to them has happened, so that nothing depends on who is faster.

It imports nothing of the tests: one of them sends it along with the code of a job.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from experiments.chaos.stub import StubTrainer
from workers.rank import Session
from workers.task import NodeSettings, Progress, Task, TrainingResult

TICK_S = 0.05


def held(run: Path, index: int, attempt: int = 0) -> Path:
    """The file that is there once an attempt at a job holds still."""
    return run.with_name(f"{run.name}.held-{index}-{attempt}")


def first_step(run: Path, index: int, attempt: int) -> int:
    """The step that an attempt at a job has begun with, from 1."""
    return int(_begun(run, index, attempt).read_text())


def _begun(run: Path, index: int, attempt: int) -> Path:
    return run.with_name(f"{run.name}.begun-{index}-{attempt}")


def released(run: Path) -> Path:
    """The file that lets stub training go on."""
    return run.with_name(f"{run.name}.released")


class HeldTraining:
    """Real training; the first attempts at job 0 hold before a step until they are asked to stop, or killed."""

    before_step = 3
    num_held = 1

    def __init__(self, settings: NodeSettings) -> None:
        from workers.training import NetworkTrainer  # torch, which the stubs do without

        self._inner = NetworkTrainer(settings)
        self._run = Path(settings.folder)

    def train(self, task: Task, session: Session) -> TrainingResult:
        num_asked = 0
        begun = _begun(self._run, task.index, task.attempt)
        is_first = session.place is None or session.place.rank == 0  # who writes the checkpoints

        def should_stop() -> bool:  # asked before each step
            nonlocal num_asked
            num_asked += 1
            if num_asked == self.before_step and task.index == 0 and task.attempt < self.num_held:
                if is_first:
                    held(self._run, task.index, task.attempt).touch()
                while not session.should_stop():
                    threading.Event().wait(TICK_S)
            return session.should_stop()

        def on_progress(progress: Progress) -> None:
            session.on_progress(progress)
            if is_first and progress.phase == "training" and not begun.exists():
                begun.write_text(str(progress.step - num_asked + 1))

        return self._inner.train(task, replace(session, should_stop=should_stop, on_progress=on_progress))


class TwiceHeldTraining(HeldTraining):
    """Two attempts are held."""

    num_held = 2


class MidEpochHeldTraining(HeldTraining):
    """Held between the second and the third step of the second epoch of four steps."""

    before_step = 7


class HeldStub(StubTrainer):
    """Stub training; first attempts at jobs 1 to 3 hold after a step until all are released, or asked to stop."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._run = Path(settings.folder)

    def train(self, task: Task, session: Session) -> TrainingResult:
        return super().train(task, replace(session, on_progress=self._holding(task, session)))

    def is_held(self, task: Task) -> bool:
        return task.index in (1, 2, 3) and task.attempt == 0

    def _holding(self, task: Task, session: Session) -> Callable[[Progress], None]:
        def on_progress(progress: Progress) -> None:
            session.on_progress(progress)
            if self.is_held(task):
                held(self._run, task.index).touch()
                while not released(self._run).exists() and not session.should_stop():
                    session.on_progress(progress)  # it is no hang
                    threading.Event().wait(TICK_S)

        return on_progress


class HeldReignition(HeldStub):
    """Every pretraining holds instead."""

    def is_held(self, task: Task) -> bool:
        return task.kind == "pretrain"


class Unmoving:
    """The first job ends at once; no other comes further than its first step, nor to an end."""

    def __init__(self, settings: NodeSettings) -> None:
        pass

    def train(self, task: Task, session: Session) -> TrainingResult:
        while not self.is_done(task):
            session.on_progress(_at(self.step_of(task)))
            threading.Event().wait(TICK_S)
        return TrainingResult(metrics={"AP50": 0.5}, weights=b"weights", peak_memory_bytes=0)

    def step_of(self, task: Task) -> int:
        return 1

    def is_done(self, task: Task) -> bool:
        return task.index == 0


class SlowlyMoving(Unmoving):
    """Each attempt comes a step further than the one before; the fourth comes to the end."""

    def step_of(self, task: Task) -> int:
        return 1 + task.attempt

    def is_done(self, task: Task) -> bool:
        return task.index == 0 or task.attempt == 3


def _at(step: int) -> Progress:
    return Progress(epoch=1, num_epochs=1, step=step, num_steps=9, loss=1.0, images_per_second=1.0)
