"""The worker of one node: a Ray actor that has its rank train what it is asked to.

The only module of `workers` that imports ray. It is thin on purpose: what happens to a training happens to the rank.

Invariant: weights and result are in storage before `run` returns, so an attempt whose answer is lost is not.
"""

import math
import time
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from workers.rank import Trained
from workers.ranks import Rank
from workers.run_folder import Result, RunFolder
from workers.task import CandidateFailure, NodeSettings, Progress, Task

Blob = NDArray[np.uint8] | None


class NodeWorker:
    """Trains one task at a time; `status` and `request_stop` answer meanwhile."""

    def __init__(self, name: str, settings: NodeSettings) -> None:
        """Keep the settings: an actor whose constructor fails is never started again, so nothing is tried here."""
        self._name = name
        self._settings = settings
        self._folder: RunFolder | None = None
        self._rank: Rank | None = None
        self._progress: Progress | None = None

    def __repr__(self) -> str:
        """The name that Ray's dashboard and logs show."""
        return self._name

    def ready(self) -> str:
        """Answers once a task can be taken, with the worker's name.

        Raises:
            AttemptLost: if the rank can't be started.
            OSError: if storage fails.
        """
        self._open_folder()
        try:
            self._living_rank().wait_until_ready()
        except BaseException:
            self._end_rank()
            raise
        return self._name

    def run(self, task: Task, parent: Blob, backbone: Blob) -> Result:
        """Train one task, store its weights, then its result, then answer.

        Args:
            task: what to train.
            parent: the blob of the detector it grows from, if any.
            backbone: the blob of a pretrained backbone, if any.

        Raises:
            AttemptLost: if there is no result, by another's fault than the candidate's or nobody knows whose.
            OSError: if storage fails.
            TrainingStopped: after `request_stop`.
        """
        started_at, begun = time.time(), time.monotonic()
        self._progress = None
        trained: Trained | None = None
        error = ""
        try:
            trained = self._living_rank().train(task, parent, backbone, self._note)
        except CandidateFailure as failure:
            error = failure.reason
            self._end_rank()  # a failed training may have left anything behind: memory, a poisoned device
        except BaseException:  # whatever it was, this rank may be anywhere between two tasks
            self._end_rank()
            raise
        finally:
            self._progress = None
        seconds = trained.seconds if trained else time.monotonic() - begun
        result = Result(
            index=task.index,
            attempt=task.attempt,
            epoch=task.epoch,
            name=task.name,
            status="completed" if trained else "failed",
            worker=self._name,
            started_at=started_at,
            finished_at=started_at + seconds,
            seconds=seconds,
            metrics={name: value for name, value in trained.metrics.items() if math.isfinite(value)} if trained else {},
            error=error,
            peak_memory_bytes=trained.peak_memory_bytes if trained else 0,
            notes=trained.notes if trained else (),
            weights=trained.weights if trained else None,
        )
        self._open_folder().write_result(result)
        return result

    @ray.method(concurrency_group="control")
    def status(self) -> Progress | None:
        """How far the task under way has come; None before its first report."""
        return self._progress

    @ray.method(concurrency_group="control")
    def request_stop(self) -> None:
        """End the task under way at its next step, without a result."""
        if self._rank is not None:
            self._rank.request_stop()

    @ray.method(concurrency_group="control")
    def end(self) -> None:
        """End the rank; what it is doing is lost, but for its checkpoint."""
        self._end_rank()

    def _open_folder(self) -> RunFolder:
        if self._folder is None:
            self._folder = RunFolder(self._settings.folder)
        return self._folder

    def _living_rank(self) -> Rank:
        if self._rank is not None and not self._rank.is_alive:  # it was killed while it had nothing to do
            self._end_rank()
        if self._rank is None:
            self._rank = Rank(self._settings)
        return self._rank

    def _end_rank(self) -> None:
        rank, self._rank = self._rank, None
        if rank is not None:
            rank.kill()

    def _note(self, progress: Progress) -> None:
        self._progress = progress


# Restarted by Ray whenever it dies, but never re-run by Ray: what was lost is the driver's to decide.
NodeActor: Any = ray.remote(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})(NodeWorker)  # type: ignore[call-overload]
