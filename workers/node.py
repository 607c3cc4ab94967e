"""The worker of one node: a Ray actor that has its ranks train what it is asked to.

The only module of `workers` that imports ray. It is thin on purpose: what happens to a training happens to the ranks.

Invariant: weights and result are in storage before `run` returns, so an attempt whose answer is lost is not.
"""

import math
import threading
import time
from typing import Any

import ray

from workers.rank import Blob, Trained
from workers.ranks import Ranks
from workers.run_folder import Result, RunFolder
from workers.task import CandidateFailure, NodeSettings, Progress, Task, TrainingStopped


class NodeWorker:
    """Trains one task at a time; `status` and `request_stop` answer meanwhile."""

    def __init__(self, name: str, settings: NodeSettings) -> None:
        """Keep the settings: an actor whose constructor fails is never started again, so nothing is tried here."""
        self._name = name
        self._settings = settings
        self._folder: RunFolder | None = None
        self._ranks: Ranks | None = None
        self._progress: Progress | None = None
        self._changing = threading.Lock()
        self._ended = ""

    def __repr__(self) -> str:
        """The name that Ray's dashboard and logs show."""
        return self._name

    def ready(self) -> tuple[str, str]:
        """Answers once a task can be taken, with `whereabouts`.

        Raises:
            AttemptLost: if they can't be started.
            OSError: if storage fails.
        """
        self._open_folder()
        try:
            self._living_ranks().wait_until_ready()
        except BaseException:
            self._end_ranks()
            raise
        return _whereabouts()

    def run(self, task: Task, parent: Blob | None, backbone: Blob | None) -> Result | None:
        """Train one task, store its weights, then its result, then answer.

        Of a gang, the first node does so; the others answer None, or raise `CandidateFailure`.

        Args:
            task: what to train.
            parent: the blob of the detector it grows from, if any.
            backbone: the blob of a pretrained backbone, if any.

        Raises:
            AttemptLost: if there is no result, by another's fault than the candidate's or nobody knows whose.
            OSError: if storage fails.
            TrainingStopped: after `request_stop`.
        """
        if task.name == self._ended:
            raise TrainingStopped("ended before it began")
        is_helper = task.gang is not None and task.gang.node_rank > 0
        started_at, begun = time.time(), time.monotonic()
        self._progress = None
        trained: Trained | None = None
        error = ""
        try:
            trained = self._living_ranks().train(task, parent, backbone, self._note)
        except CandidateFailure as failure:
            self._end_ranks()  # a failed training may have left anything behind: memory, a poisoned device
            if is_helper:
                raise
            error = failure.reason
        except BaseException:  # whatever it was, the ranks may be anywhere between two tasks
            self._end_ranks()
            raise
        finally:
            self._progress = None
        if is_helper:
            return None
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

    # It is asked so often that, listed among the tasks, it would soon drive the trainings out of Ray's dashboard.
    @ray.method(concurrency_group="control", enable_task_events=False)
    def status(self) -> Progress | None:
        """How far the task under way has come; None before its first report."""
        return self._progress

    @ray.method(concurrency_group="control")
    def whereabouts(self) -> tuple[str, str]:
        """The node's address, and its name in Ray."""
        return _whereabouts()

    @ray.method(concurrency_group="control")
    def request_stop(self) -> None:
        """End the task under way at its next step, without a result."""
        if self._ranks is not None:
            self._ranks.request_stop()

    @ray.method(concurrency_group="control")
    def end(self, task_name: str = "") -> None:
        """End the ranks; what they are doing is lost, but for its checkpoint.

        Args:
            task_name: of the task that is meant; should it come only now, it does not begin.
        """
        self._ended = task_name
        self._end_ranks()

    def _open_folder(self) -> RunFolder:
        if self._folder is None:
            self._folder = RunFolder(self._settings.folder)
        return self._folder

    def _living_ranks(self) -> Ranks:
        with self._changing:  # new ranks start only when the old ones have given their devices back
            if self._ranks is not None and not self._ranks.are_alive:  # one was killed while it had nothing to do
                self._ranks.kill()
                self._ranks = None
            if self._ranks is None:
                self._ranks = Ranks(self._settings)
            return self._ranks

    def _end_ranks(self) -> None:
        with self._changing:
            if self._ranks is not None:
                self._ranks.kill()
                self._ranks = None

    def _note(self, progress: Progress) -> None:
        self._progress = progress


def _whereabouts() -> tuple[str, str]:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address, ray.get_runtime_context().get_node_id()


# Restarted by Ray whenever it dies, but never re-run by Ray: what was lost is the driver's to decide.
NodeActor: Any = ray.remote(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})(NodeWorker)  # type: ignore[call-overload]
