"""Training that is none: a few short steps and a number, without torch, so that a rank starts in a moment.

Invariant: score and weights are a function of the task and of the bytes it grows from, whatever was interrupted; a step
left out, done twice, or done with another generator, and weights of another parent, change both and all that follows.
"""

import hashlib
import json
import time

import numpy as np

from experiments.chaos.beside import append_line, beside
from workers.rank import Blob, Checkpoints, Session
from workers.task import (
    NodeSettings,
    Progress,
    Task,
    TrainingResult,
    TrainingStopped,
)

LOG = "done"


class StubTrainer:
    """Trains as many steps as the task's recipe has epochs.

    What it does it writes down beside the run: (what, attempt, step) for each step and for each training that ended.

    Attributes:
        step_s: seconds that a step takes.
        checkpoint_every: steps between two checkpoints; there is one after the last step, too; 0 writes none.
    """

    step_s = 0.01
    checkpoint_every = 2

    def __init__(self, settings: NodeSettings) -> None:
        """Find the log."""
        self._log = beside(settings.folder, LOG)

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Add up random numbers; the score is what all that went into them comes to."""
        generator = np.random.default_rng(task.seed)
        num_steps = task.training.epochs
        assert num_steps is not None
        step, total = 0, 0
        saved = _read(session.checkpoints)
        if saved is not None:
            step, total, generator.bit_generator.state = saved
        while step < num_steps:
            if session.should_stop():
                raise TrainingStopped("asked to stop")
            time.sleep(self.step_s)
            total += int(generator.integers(2**32))
            step += 1
            self._note("step", task, step)
            if self.checkpoint_every and (step % self.checkpoint_every == 0 or step == num_steps):
                session.checkpoints.write(_pack(step, total, generator))
                self._note("checkpoint", task, step)
            session.on_progress(_progress(step, num_steps))
        digest = _digest(task, total, session.parent, session.backbone)
        self._note("trained", task, step)
        metric = "top1" if task.kind == "pretrain" else "AP50"
        return TrainingResult(
            metrics={metric: self._score(task, digest)}, weights=digest, peak_memory_bytes=len(digest)
        )

    def _score(self, task: Task, digest: bytes) -> float:
        return int.from_bytes(digest[:6], "big") / 2**48

    def _note(self, what: str, task: Task, step: int) -> None:
        append_line(self._log, f"{what} {task.name} {step}")


class QuickStub(StubTrainer):
    """The same in no time and without checkpoints, for what measures the rest; the start is never beaten."""

    step_s = 0.0
    checkpoint_every = 0

    def _score(self, task: Task, digest: bytes) -> float:
        return 1.0 if task.index == 0 else super()._score(task, digest) / 2


def _progress(step: int, num_steps: int) -> Progress:
    return Progress(
        epoch=step,
        num_epochs=num_steps,
        step=step,
        num_steps=num_steps,
        loss=1.0,
        images_per_second=1.0,
        top1=0.5,
        seconds_left=float(num_steps - step),
    )


def _digest(task: Task, total: int, parent: Blob | None, backbone: Blob | None) -> bytes:
    content = hashlib.blake2b(f"{task.index} {task.kind} {task.spec} {task.morphs} {task.seed} {total}".encode())
    for blob in (parent, backbone):
        content.update(b"none" if blob is None else hashlib.blake2b(blob.tobytes()).digest())
    return content.digest()


def _pack(step: int, total: int, generator: np.random.Generator) -> bytes:
    text = json.dumps([step, total, generator.bit_generator.state]).encode()
    return hashlib.blake2b(text).digest() + text


def _read(checkpoints: Checkpoints) -> tuple[int, int, dict[str, object]] | None:
    """What an earlier attempt came to; a damaged checkpoint is as none."""
    data = checkpoints.read()
    if data is None or hashlib.blake2b(data[64:]).digest() != data[:64]:
        return None
    step, total, state = json.loads(data[64:])
    return step, total, state
