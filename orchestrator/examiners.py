"""The doctor's actors: placed as node workers would be, asked all at once, never waited for without an end.

Invariant: a question is answered within its time by every examiner: by its answer, or by a `Silence` with the reason.
Who has not answered once is ended and not asked again.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.exceptions

from orchestrator.config import FleetConfig
from orchestrator.diagnosis import Node, Silence
from workers.examiner import ExaminerActor, Whereabouts
from workers.failures import classify
from workers.task import NodeSettings

END_S = 10.0

Answer = TypeVar("Answer")


def nodes() -> list[Node]:
    """The cluster's nodes that are alive, by address."""
    found = []
    for entry in ray.nodes():  # type: ignore[no-untyped-call]
        resources = entry["Resources"]
        if entry["Alive"]:
            found.append(
                Node(
                    node=entry["NodeID"],
                    host=entry["NodeManagerAddress"],
                    num_cpus=int(resources.get("CPU", 0)),
                    num_gpus=int(resources.get("GPU", 0)),
                    store_bytes=int(resources.get("object_store_memory", 0)),
                    session=str(Path(entry["ObjectStoreSocketName"]).parents[1]),
                    labels=entry["Labels"],
                )
            )
    return sorted(found, key=lambda node: node.host)


class Examiners:
    """One for each worker that could be placed."""

    def __init__(self, config: FleetConfig, settings: NodeSettings, num_expected: int, timeout_s: float) -> None:
        """Place as many as there are workers; wait for those that the cluster has room for.

        Args:
            config: what a worker's place must have.
            settings: what a worker gets to know.
            num_expected: how many are waited for.
            timeout_s: how long.
        """
        self._actors: dict[str, Any] = {}
        self.where: dict[str, Whereabouts] = {}
        self.missing: dict[str, Silence] = {}
        for number in range(config.num_workers):
            self._actors[f"worker-{number}"] = ExaminerActor.options(
                num_cpus=config.cpus_per_worker,
                num_gpus=config.gpus_per_worker,
                label_selector=config.label_selector or None,
            ).remote(settings)
        refs = {name: actor.where.remote() for name, actor in self._actors.items()}
        ray.wait(list(refs.values()), num_returns=max(1, num_expected), timeout=timeout_s)
        for name, answer in _collect(refs, timeout_s).items():
            if isinstance(answer, Silence):
                self.missing[name] = answer
                ray.kill(self._actors.pop(name))
            else:
                self.where[name] = answer

    @property
    def names(self) -> list[str]:
        """Of those that answer, by number."""
        return list(self._actors)

    def ask(self, method: str, timeout_s: float, asked: Mapping[str, tuple[Any, ...]]) -> dict[str, Any | Silence]:
        """Ask at once, and wait for the answers.

        Args:
            method: of `workers.examiner.Examiner`.
            timeout_s: how long they have.
            asked: who is asked, and with what arguments.
        """
        refs = {
            name: getattr(self._actors[name], method).remote(*arguments)
            for name, arguments in asked.items()
            if name in self._actors
        }
        if refs:
            ray.wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
        answers = _collect(refs, timeout_s)
        self._end([name for name, answer in answers.items() if isinstance(answer, Silence) and answer.is_lasting])
        return {name: answers.get(name, Silence("infrastructure", "it did not answer before")) for name in asked}

    def close(self) -> None:
        """End them, with all that they have started."""
        self._end(self.names)

    def _end(self, names: Sequence[str]) -> None:
        actors = [self._actors.pop(name) for name in names]
        ends = [actor.end.remote() for actor in actors]
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=END_S)
        for actor in actors:
            ray.kill(actor)


def within(timeout_s: float, function: Callable[[], Answer]) -> Answer | Silence:
    """Ask this machine itself, whose disks may hang as any other's."""
    answers: list[Answer | Silence] = []

    def answer() -> None:
        try:
            answers.append(function())
        except Exception as error:
            answers.append(_silence(error))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[0] if answers else _late(timeout_s)


def _collect(refs: dict[str, Any], timeout_s: float) -> dict[str, Any | Silence]:
    """What has come; the wait is over."""
    answers: dict[str, Any | Silence] = {}
    for name, ref in refs.items():
        if not ray.wait([ref], timeout=0)[0]:
            answers[name] = _late(timeout_s)
            continue
        try:
            answers[name] = ray.get(ref)
        except Exception as error:
            answers[name] = _silence(error)
    return answers


def _late(timeout_s: float) -> Silence:
    return Silence("unclear", f"no answer within {timeout_s:g} s", is_lasting=True)


def _silence(error: Exception) -> Silence:
    cause = getattr(error, "cause", None) or error
    fault, reason = classify(cause)
    if isinstance(cause, ValueError):  # what a check has refused names its key; the error's type says nothing more
        reason = reason.removeprefix(f"{type(cause).__name__}: ")
    return Silence(fault, reason, is_lasting=isinstance(error, ray.exceptions.RayActorError))
