"""The node workers: started, given tasks, watched and replaced.

A training that hangs is its node worker's to end; a node worker that does not answer any more is ended here.

Invariants:
- A worker has at most one task, and gets the next only after it has answered that it is up; a lost worker's task comes
  back as an error exactly once.
- The workers of a gang have one task together: it comes back once, from the first one, or from whichever is lost first,
  and then all the others are taken off it.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import ray
import ray.exceptions

from orchestrator.config import FleetConfig
from orchestrator.errors import RunStopped, UserError
from orchestrator.termination import STOP_S
from orchestrator.workplace import Completion
from workers import ranks
from workers.failures import CAUSES, classify, describe
from workers.node import NodeActor
from workers.task import Gang, NodeSettings, Progress, Task

REACH_S = 10.0
RETRY_S = 0.5
GRACE_S = 5.0
CAUSE_S = 2 * ranks.CAUSE_S  # nodes find theirs among their ranks first
DRAIN_QUESTION_EVERY_S = 5.0
PROGRESS_EVERY_S = 0.25
"""From a task's beginning, and from question to question, until its worker is asked how far it is.

Asking about a task of a few milliseconds would cost as much again; and nobody reads more than four answers a second."""
MAX_FAILED_STARTS = 3
GANG_PORTS = range(29400, 31400)
"""Where the ranks of several nodes meet; a firewall between nodes has to let them through."""


@dataclass
class _Worker:
    """One actor.

    Attributes:
        actor: its handle.
        host: its node's address, once it has answered.
        node_id: its node's name in Ray, once it has answered.
        is_asked_to_leave: whether its task has been asked to stop because its node is drained.
        ready: the answer we wait for before it gets a task; None if it has to be asked (again).
        is_up: whether it has answered.
        failed_starts: how often in a row it answered that it can't.
        ask_again_at: monotonic time before which it is not asked again.
        task: what it does.
        answer: the reference of its result.
        status: the reference of its progress, once asked for.
        asked_at: monotonic time when it was, or when its task was sent off.
        progress: how far it was when it last told.
    """

    actor: Any
    host: str = ""
    node_id: str = ""
    is_asked_to_leave: bool = False
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

    A handler of SIGTERM that was there before is there afterwards.

    Raises:
        KeyboardInterrupt: at SIGTERM, while Ray starts.
        UserError: if there is none to join, or none can be started.
    """
    local = not os.environ.get("RAY_ADDRESS")
    # Errors that nobody asks for are those of workers that were given up; a run that ends early would print them.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if local:
        num_cpus = config.num_workers * config.cpus_per_worker
        options |= {"address": "local", "include_dashboard": False, "num_cpus": num_cpus}
    if not ray.is_initialized():
        if not local:
            _reach(os.environ["RAY_ADDRESS"])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises bare ones, too, as where its start takes too long
            where = (
                "a local Ray can't be started"
                if local
                else f"RAY_ADDRESS: {os.environ['RAY_ADDRESS']!r} can't be joined"
            )
            raise UserError(f"{where}: {describe(error)}") from None
        except SystemExit:  # what Ray's own handler of SIGTERM raises
            raise KeyboardInterrupt("asked to end") from None
        if callable(handler):
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own in its place


def _reach(address: str) -> None:
    """See that something answers at an address of the form host:port; Ray itself would wait for a quarter of an hour.

    Raises:
        UserError: if nothing does.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"RAY_ADDRESS: {address!r} does not answer ({error}); start Ray there, or correct it") from None


class Fleet:
    """The workers of one run."""

    def __init__(self, config: FleetConfig, settings: NodeSettings, run_name: str) -> None:
        """Ask for the actors; they start in the background."""
        self._unreachable_s = 60 * config.unreachable_minutes
        self._drain_question_due = 0.0
        self._workers: dict[str, _Worker] = {}
        for number in range(config.num_workers):
            name = f"worker-{number}"
            actor = NodeActor.options(
                name=f"{run_name}/{name}",
                num_cpus=config.cpus_per_worker,
                num_gpus=config.gpus_per_worker,
                label_selector=config.label_selector or None,
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
        names: Sequence[str],
        task: Task,
        role: str,
        parent: ray.ObjectRef[Any] | None,
        backbone: ray.ObjectRef[Any] | None,
    ) -> None:
        """Give a task to an idle worker, or to several as a gang; the blobs travel by reference."""
        label = f"{role}[{task.index} {task.spec.architecture}]"
        address = self._meeting_place(self._workers[names[0]], task) if len(names) > 1 else ""
        for number, name in enumerate(names):
            worker = self._workers[name]
            assert worker.is_up and worker.task is None, f"{name} is not idle"
            gang = Gang(node_rank=number, num_nodes=len(names), address=address) if len(names) > 1 else None
            worker.task = replace(task, gang=gang)
            worker.progress = worker.status = None
            worker.asked_at = time.monotonic()
            worker.answer = worker.actor.run.options(name=label).remote(worker.task, parent, backbone)

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

        Workers leave nodes that are drained, after a checkpoint of what they do.

        Returns:
            What an operator should know of it. The tasks of workers that were ended or asked to leave come back as
            lost.
        """
        events = self._leave_drained_nodes()
        for name, worker in self._workers.items():
            if worker.task is None:
                worker.status = None
            elif worker.status is None:
                if time.monotonic() - worker.asked_at >= PROGRESS_EVERY_S:
                    worker.status, worker.asked_at = worker.actor.status.remote(), time.monotonic()
            elif ray.wait([worker.status], timeout=0)[0]:
                with contextlib.suppress(ray.exceptions.RayError):  # what it told before still counts
                    worker.progress = ray.get(worker.status) or worker.progress
                worker.status = None
            elif time.monotonic() - worker.asked_at > self._unreachable_s:
                ray.kill(worker.actor, no_restart=False)
                worker.asked_at = time.monotonic()
                events.append(f"{name} does not answer; it is ended and started anew")
        return events

    def _leave_drained_nodes(self) -> list[str]:
        """Stop what runs on nodes that Ray drains, then have their workers started elsewhere."""
        if time.monotonic() < self._drain_question_due:
            return []
        self._drain_question_due = time.monotonic() + DRAIN_QUESTION_EVERY_S
        drained = ray._private.state.state.get_draining_nodes()
        events = []
        for name, worker in self._workers.items():
            if worker.node_id not in drained:
                continue
            if worker.task is None:
                ray.kill(worker.actor, no_restart=False)
                worker.is_up, worker.ready, worker.node_id = False, None, ""
                events.append(f"{name} leaves its node, which is drained, and waits for another")
            elif not worker.is_asked_to_leave:
                for other in self._workers.values():
                    if _has(other, worker.task):  # in an evaluation the others of a gang would not know so soon
                        other.actor.request_stop.remote()
                worker.is_asked_to_leave = True
        return events

    @staticmethod
    def _meeting_place(first: _Worker, task: Task) -> str:
        """host:port on a gang's first node."""
        with contextlib.suppress(ray.exceptions.RayError):  # it may have been started again elsewhere, unnoticed
            first.host, first.node_id = ray.get(first.actor.whereabouts.remote(), timeout=REACH_S)
        # Another attempt meets at another port, should this one be taken.
        port = Random(task.name).choice(GANG_PORTS)
        return f"[{first.host}]:{port}" if ":" in first.host else f"{first.host}:{port}"

    def close(self) -> None:
        """End the actors; what they are doing ends at its next step with a checkpoint, or after a time without one."""
        busy = [worker for worker in self._workers.values() if worker.answer is not None]
        for worker in busy:
            worker.actor.request_stop.remote()
        if busy:
            ray.wait([worker.answer for worker in busy], num_returns=len(busy), timeout=STOP_S)
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
                worker.host, worker.node_id = ray.get(ref)
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
        if task is None:  # of a gang that came back a moment ago
            return None
        told = [other.progress for other in self._workers.values() if _has(other, task) and other.progress]
        progress = max(told, key=lambda each: each.step, default=None)
        worker.task = worker.answer = worker.progress = None
        worker.is_asked_to_leave = False
        try:
            result = ray.get(ref)
        except Exception as first_error:  # classified by `failures`
            culprit, cause = self._cause(task, name, first_error)
            self._disband(task, end=True)
            worker.is_up = False  # its ranks have ended, and it may not be where it was
            if isinstance(cause, ray.exceptions.RayActorError):
                for other in self._workers.values():
                    if other.task is None:  # what took this one may have taken others: they answer before the next task
                        other.is_up = False
            return Completion(task=task, worker=culprit, error=cause, progress=progress)
        if result is None:  # of a helper, which is done before the first
            return None
        self._disband(task, end=result.status != "completed")
        return Completion(task=task, worker=name, result=result)

    def _cause(self, task: Task, name: str, error: Exception) -> tuple[str, Exception]:
        """Of the errors of a gang the one that counts: where one node fails, the others lose it and fail, too.

        Args:
            task: the gang's.
            name: the worker that failed first.
            error: what it raised.

        Returns:
            The worker, and what it raised.
        """
        answers = {other.answer: each for each, other in self._workers.items() if _has(other, task)}
        errors = [(name, error)]
        for answer in ray.wait(list(answers), num_returns=len(answers), timeout=CAUSE_S)[0] if answers else ():
            try:
                ray.get(answer)
            except Exception as other_error:  # any of them may be the cause
                errors.append((answers[answer], other_error))
        return min(errors, key=lambda each: _place_as_cause(each[1]))

    def _disband(self, task: Task, *, end: bool) -> None:
        """Take a gang's other workers off its task; they get the next once they have answered again."""
        for worker in self._workers.values():
            if _has(worker, task):
                if end:
                    worker.actor.end.remote(task.name)
                worker.task = worker.answer = worker.progress = None
                worker.is_up = False


def _has(worker: _Worker, task: Task) -> bool:
    """Whether it does this task, maybe with others."""
    return worker.task is not None and worker.task.name == task.name


def _place_as_cause(error: Exception) -> tuple[bool, int]:
    """The least is what came first: the loss of a node, then what is most the training's own."""
    return not isinstance(error, ray.exceptions.RayActorError), CAUSES.index(classify(error)[0])
