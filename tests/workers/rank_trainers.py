"""Trainers without torch for the tests of ranks: what they do, the task's kind says."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from workers.rank import Session
from workers.task import (
    CandidateFailure,
    NodeSettings,
    Progress,
    Task,
    TrainingResult,
    TrainingStopped,
)

CHILDREN = "children"


class ObedientTrainer:
    """Does what `Task.kind` names."""

    def __init__(self, settings: NodeSettings) -> None:
        self._folder = Path(settings.folder)

    def train(self, task: Task, session: Session) -> TrainingResult:
        self._leave_children(task)
        session.on_progress(progress(1))
        match task.kind.split():
            case ["add"]:
                assert session.parent is not None and session.backbone is not None
                sums = {
                    name: float(blob.sum(dtype=np.int64))
                    for name, blob in (("parent", session.parent), ("backbone", session.backbone))
                }
                metrics = sums | {"rank": float(os.getpid())}
                return TrainingResult(metrics=metrics, weights=b"w" * 99, peak_memory_bytes=1)
            case ["checkpoint"]:
                count = int(session.checkpoints.read() or b"0") + 1
                session.checkpoints.write(str(count).encode())
                return TrainingResult(metrics={"count": count}, weights=b"", peak_memory_bytes=0)
            case ["fail"]:
                raise CandidateFailure("loss became nan at epoch 1, step 1")
            case ["raise"]:
                raise ValueError("no such thing")
            case ["storage"]:
                raise OSError(28, "No space left on device")
            case ["exit", code]:
                os._exit(int(code))
            case ["signal", number]:
                os.kill(os.getpid(), int(number))
            case ["wait"]:
                while not session.should_stop():
                    session.on_progress(progress(2))
                    threading.Event().wait(0.01)
                raise TrainingStopped("asked to")
            case ["sleep"]:
                threading.Event().wait()
            case ["deadlock"]:  # in C, with the interpreter's lock held
                ctypes.PyDLL(None).sleep(10_000)
            case ["freeze"]:
                os.kill(os.getpid(), signal.SIGSTOP)
            case ["hang", "up"]:
                session.on_progress.__self__.close()  # type: ignore[attr-defined]  # the pipe's end
                threading.Event().wait()
            case ["chatter"]:
                while True:
                    session.on_progress(progress(2))
                    threading.Event().wait(0.01)
        raise AssertionError(task.kind)

    def _leave_children(self, task: Task) -> None:
        """Start a child and a grandchild, as loaders of data do, and note who they are."""
        script = "import subprocess, sys; p = subprocess.Popen(['sleep', '10000']); print(p.pid, flush=True); p.wait()"
        child = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        grandchild = child.stdout.readline().strip()
        with (self._folder / CHILDREN).open("a") as file:
            file.write(f"{os.getpid()} {child.pid} {grandchild}\n")


def progress(step: int) -> Progress:
    return Progress(epoch=1, num_epochs=1, step=step, num_steps=9, loss=1.0, images_per_second=1.0)
