"""The doctor's hand on a node: a Ray actor where a node worker would be, with what a node worker would have.

Invariant: nothing of it is left behind once `end` has answered, and nothing that it starts outlives it.
"""

import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from workers.data import check_classification_data, check_detection_data
from workers.data.interface import DataReport
from workers.examination import Room, room, versions
from workers.rank import Trained
from workers.ranks import Ranks
from workers.storage import LocalFolder, open_storage
from workers.task import NodeSettings, Task, ignore_progress


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The node that an actor is on: Ray's name for it, and its address."""

    node: str
    host: str


class Examiner:
    """Answers what a worker in its place would meet."""

    def __init__(self, settings: NodeSettings) -> None:
        """Keep the settings; the run's storage is theirs, but for the ranks, whose own is of the moment."""
        self._settings = settings
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._ranks: Ranks | None = None
        self._ending = threading.Lock()

    def where(self) -> Whereabouts:
        """Answers once it is up."""
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return Whereabouts(ray.get_runtime_context().get_node_id(), host)

    def versions(self) -> dict[str, str]:
        """See `workers.examination.versions`."""
        return versions()

    def room(self, session: str) -> Room:
        """See `workers.examination.room`."""
        storage = open_storage(self._settings.folder) if self._settings.folder else None
        return room(Path(session), storage.path if isinstance(storage, LocalFolder) else None)

    def data(self) -> list[DataReport]:
        """What is found in the data sets, as at the beginning of a search.

        Raises:
            ValueError: for what is missing or refused.
        """
        reports = [check_detection_data(self._settings.data)]
        if self._settings.reignition_data is not None:
            reports.append(check_classification_data(self._settings.reignition_data))
        return reports

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the run.

        Raises:
            OSError: if storage fails.
        """
        open_storage(self._settings.folder).write(name, data)

    def read(self, name: str) -> bytes:
        """Read a file of the run.

        Raises:
            OSError: if there is none, or storage fails.
        """
        return open_storage(self._settings.folder).read(name)

    def delete(self, name: str) -> None:
        """Delete a file of the run.

        Raises:
            OSError: if storage fails.
        """
        open_storage(self._settings.folder).delete(name)

    def train(self, task: Task) -> Trained | None:
        """Have the ranks do a task; see `workers.ranks.Ranks.train`.

        Raises:
            CandidateFailure: if it failed by its own fault.
            AttemptLost: if it failed by another's, or nobody knows whose.
        """
        if self._ranks is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="spnas-doctor-")
            folder = str(Path(self._scratch.name).absolute())
            self._ranks = Ranks(replace(self._settings, folder=folder))
        try:
            return self._ranks.train(task, None, None, ignore_progress)
        except BaseException:
            self._end()
            raise

    @ray.method(concurrency_group="control")
    def end(self) -> None:
        """End the ranks and remove what they have written."""
        self._end()

    def _end(self) -> None:
        with self._ending:  # who comes second returns when the first is through
            if self._ranks is not None:
                self._ranks.kill()
            if self._scratch is not None:
                self._scratch.cleanup()
            self._ranks = self._scratch = None


ExaminerActor: Any = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1})(Examiner)  # type: ignore[call-overload]
