"""The node workers: started, given tasks, watched and replaced.

A training that hangs is its node worker's to end; a node worker that does not answer any more is ended here.

Invariant: a worker has at most one task, and gets the next only after it has answered that it is up; a lost worker's
task comes back as an error exactly once.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from orchestrator.config import FleetConfig
from orchestrator.errors import RunStopped, UserError
from workers.failures import describe
from workers.node import NodeActor
from workers.run_folder import Result
from workers.task import NodeSettings, Progress, Task

RETRY_S = 0.5
GRACE_S = 5.0
MAX_FAILED_STARTS = 3

Blob = ray.ObjectRef[Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A task that a worker is done with: its result, or the error that came instead."""

    task: Task
    worker: str
    result: Result | None = None
    error: Exception | None = None


@dataclass
class _Worker:
    """One actor.

    Attributes:
        actor: its handle.
        ready: the answer we wait for before it gets a task; None if it has to be asked (again).
        is_up: whether it has answered.
        failed_starts: how often in a row it answered that it can't.
        ask_again_at: monotonic time before which it is not asked again.
        task: what it does.
        answer: the reference of its result.
        status: the reference of its progress, once asked for.
        asked_at: monotonic time when it was.
        progress: how far it was when it last told.
    """

    actor: Any
    ready: ray.ObjectRef[Any] | None = None
    is_up: bool = False
    failed_starts: int = 0
    ask_again_at: float = 0.0
    task: Task | None = None
    answer: ray.ObjectRef[Any] | None = None
    status: ray.ObjectRef[Any] | None = None
    asked_at: float = 0.0
    progress: Progress | None = None


def connect(config: FleetConfig) -> None:
    """Connect to the cluster of `RAY_ADDRESS`, or start one on this machine, unless Ray is up already.

    Raises:
        UserError: if the cluster is smaller than the fleet.
    """
    local = not os.environ.get("RAY_ADDRESS")
    # Errors that nobody asks for are those of workers that were given up; a run that ends early would print them.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if local:
        num_cpus = config.num_workers * config.cpus_per_worker
        options |= {"address": "local", "include_dashboard": False, "num_cpus": num_cpus}
    if not ray.is_initialized():
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            where = (
                "a local Ray can't be started"
                if local
                else f"RAY_ADDRESS: {os.environ['RAY_ADDRESS']!r} can't be joined"
            )
            raise UserError(f"{where}: {describe(error)}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler aborts without giving anything back
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for unit, per_worker in (("CPU", config.cpus_per_worker), ("GPU", config.gpus_per_worker)):
        needed = config.num_workers * per_worker
        if present.get(unit, 0) < needed:
            raise UserError(
                f"fleet.num_workers: {config.num_workers} workers with {per_worker} {unit}s each need {needed}, "
                f"the cluster has {int(present.get(unit, 0))}; ask for fewer"
            )


class Fleet:
    """The workers of one run."""

    def __init__(self, config: FleetConfig, settings: NodeSettings, run_name: str) -> None:
        """Ask for the actors; they start in the background."""
        self._unreachable_s = 60 * config.unreachable_minutes
        self._workers: dict[str, _Worker] = {}
        for number in range(config.num_workers):
            name = f"worker-{number}"
            actor = NodeActor.options(
                name=f"{run_name}/{name}",
                num_cpus=config.cpus_per_worker,
                num_gpus=config.gpus_per_worker,
            ).remote(name, settings)
            self._workers[name] = _Worker(actor)

    @property
    def idle(self) -> list[str]:
        """Workers that are up and have nothing to do, by number."""
        return [name for name, worker in self._workers.items() if worker.is_up and worker.task is None]

    @property
    def num_up(self) -> int:
        """How many workers are up."""
        return sum(worker.is_up for worker in self._workers.values())

    @property
    def tasks(self) -> dict[str, Task | None]:
        """What each worker does."""
        return {name: worker.task for name, worker in self._workers.items()}

    @property
    def progress(self) -> dict[str, Progress | None]:
        """How far each worker's task has come, as far as it has told."""
        return {name: worker.progress for name, worker in self._workers.items()}

    def submit(
        self,
        name: str,
        task: Task,
        role: str,
        parent: ray.ObjectRef[Any] | None,
        backbone: ray.ObjectRef[Any] | None,
    ) -> None:
        """Give an idle worker a task; the blobs travel by reference."""
        worker = self._workers[name]
        assert worker.is_up and worker.task is None, f"{name} is not idle"
        label = f"{role}[{task.index} {task.spec.architecture}]"
        worker.task = task
        worker.progress = worker.status = None
        worker.answer = worker.actor.run.options(name=label).remote(task, parent, backbone)

    def wait(self, timeout_s: float) -> list[Completion]:
        """Wait until a worker is done or has come up, or the time is over.

        Raises:
            RunStopped: if no worker can be started at all.
        """
        self._ask_who_is_up()
        waited = {worker.answer: name for name, worker in self._workers.items() if worker.answer is not None}
        waited |= {worker.ready: name for name, worker in self._workers.items() if worker.ready is not None}
        if not waited:
            time.sleep(min(timeout_s, RETRY_S))
            return []
        done, _ = ray.wait(list(waited), num_returns=1, timeout=timeout_s)
        if done:  # whatever else is done by now, too
            done, _ = ray.wait(list(waited), num_returns=len(waited), timeout=0)
        completions = (self._collect(waited[ref], ref) for ref in done)
        return [completion for completion in completions if completion is not None]

    def watch(self) -> list[str]:
        """Ask busy workers how far they are, take the answers to earlier questions, and end who has not answered.

        Never blocks.

        Returns:
            The workers that were ended; their tasks come back as lost.
        """
        ended = []
        for name, worker in self._workers.items():
            if worker.task is None:
                worker.status = None
            elif worker.status is None:
                worker.status, worker.asked_at = worker.actor.status.remote(), time.monotonic()
            elif ray.wait([worker.status], timeout=0)[0]:
                try:
                    worker.progress = ray.get(worker.status)
                except ray.exceptions.RayError:
                    worker.progress = None
                worker.status = None
            elif time.monotonic() - worker.asked_at > self._unreachable_s:
                ray.kill(worker.actor, no_restart=False)
                worker.asked_at = time.monotonic()
                ended.append(name)
        return ended

    def close(self) -> None:
        """End the actors; what they are doing ends at its next step, or after a grace, without a result."""
        busy = [worker for worker in self._workers.values() if worker.answer is not None]
        for worker in busy:
            worker.actor.request_stop.remote()
        if busy:
            ray.wait([worker.answer for worker in busy], num_returns=len(busy), timeout=GRACE_S)
        ends = [worker.actor.end.remote() for worker in self._workers.values()]
        ray.wait(ends, num_returns=len(ends), timeout=GRACE_S)
        for worker in self._workers.values():
            ray.kill(worker.actor)
        self._workers.clear()

    def _ask_who_is_up(self) -> None:
        for worker in self._workers.values():
            if not worker.is_up and worker.ready is None and time.monotonic() >= worker.ask_again_at:
                worker.ready = worker.actor.ready.remote()

    def _collect(self, name: str, ref: ray.ObjectRef[Any]) -> Completion | None:
        worker = self._workers[name]
        if ref == worker.ready:
            worker.ready = None
            try:
                ray.get(ref)
                worker.is_up, worker.failed_starts = True, 0
            except ray.exceptions.ActorUnavailableError:
                worker.ask_again_at = time.monotonic() + RETRY_S  # it is being started again
            except ray.exceptions.RayError as error:
                worker.failed_starts += 1
                worker.ask_again_at = time.monotonic() + RETRY_S * 2**worker.failed_starts
                if all(other.failed_starts >= MAX_FAILED_STARTS for other in self._workers.values()):
                    raise RunStopped(f"no worker can be started; {name}: {describe(error)}") from None
            return None
        task = worker.task
        assert task is not None
        worker.task = worker.answer = worker.progress = None
        try:
            return Completion(task=task, worker=name, result=ray.get(ref))
        except Exception as error:  # classified by `failures`
            if isinstance(error, ray.exceptions.RayActorError):
                for other in self._workers.values():
                    if other.task is None:  # what took this one may have taken others: they answer before the next task
                        other.is_up = False
            return Completion(task=task, worker=name, error=error)
