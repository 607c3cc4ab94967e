"""Where a process of the run comes to a moment of the plan: at every write to storage.

Invariant: what is not struck is handed on unchanged.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NoReturn

from experiments.chaos.faults import ANY, HALF, Plan
from workers.storage import LocalFolder, Log

FOLDERS = {"weights": "weights", "results": "result", "checkpoints": "checkpoint"}


def install(plan: Plan) -> None:
    """Strike this process's writes from now on."""
    if not plan.faults:
        return
    kind: Any = LocalFolder
    if "://" in plan.address:
        from workers.object_store import ObjectStore  # pyarrow, which a local run does without

        kind = ObjectStore
    kind.write = _write(plan, kind.write)
    kind.delete = _delete(plan, kind.delete)
    kind.open_log = _open_log(plan, kind.open_log)


def _write(plan: Plan, original: Callable[[Any, str, bytes], None]) -> Callable[[Any, str, bytes], None]:
    def write(self: Any, name: str, data: bytes) -> None:
        event, job = _event(name)
        plan.strike(event, job, "before")
        if plan.matching(event, job, HALF):
            if not self.is_local:
                _die()  # an object is there whole or not at all
            os.replace = _die  # a file is written under another name first
        original(self, name, data)
        plan.strike(event, job, "after")

    return write


def _delete(plan: Plan, original: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    def delete(self: Any, name: str) -> None:
        is_weights = name.startswith("weights/")
        if is_weights:
            plan.strike("delete", _event(name)[1], "before")
        original(self, name)
        if is_weights:
            plan.strike("delete", _event(name)[1], "after")

    return delete


def _open_log(plan: Plan, original: Callable[[Any, str], Log]) -> Callable[[Any, str], Log]:
    def open_log(self: Any, name: str) -> Log:
        return StruckLog(plan, original(self, name), int(PurePosixPath(name).stem))

    return open_log


class StruckLog:
    """A log whose appends are struck."""

    def __init__(self, plan: Plan, inner: Log, epoch: int) -> None:
        """Hand on to another log."""
        self._plan = plan
        self._inner = inner
        self._epoch = epoch

    def append(self, data: bytes) -> None:
        """Append, if nothing strikes."""
        records = [json.loads(line.partition(b" ")[2]) for line in data.splitlines()]
        moments = [(record["type"], self._job(record)) for record in records]
        for event, job in moments:
            self._plan.strike(event, job, "before")
            if self._plan.matching(event, job, HALF):
                self._inner.append(data[: len(data) // 2])
                _die()
        self._inner.append(data)
        for event, job in moments:
            self._plan.strike(event, job, "after")

    def close(self) -> None:
        """Close the other."""
        self._inner.close()

    def _job(self, record: dict[str, Any]) -> int:
        match record["type"]:
            case "told":
                job: int = record["outcome"]["index"]
            case "decided":
                job = record["job"]["index"]
            case "dispatched" | "rejected":
                job = record["index"]
            case "opened":
                job = self._epoch
            case _:
                job = ANY
        return job


def _event(name: str) -> tuple[str, int]:
    path = PurePosixPath(name)
    if path.parent.name in FOLDERS:
        return FOLDERS[path.parent.name], int(path.name[:6])
    return path.stem, ANY


def _die(*args: object, **kwargs: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")
