"""Where a run's jobs are done, as the driver knows it: the workers, the way of the weights, and the time.

Invariant: whatever the driver asks of workers goes through a `Workplace`, so that the same driver works on a Ray
cluster and in virtual time (`orchestrator.simulation`). Ray is imported only when a cluster's is opened.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.config import RunConfig
from orchestrator.given import given_file
from orchestrator.node_settings import node_settings
from workers.run_folder import Result, RunFolder, WeightsFile
from workers.task import Progress, Task

Blob = Any
"""What stands for a job's weights on their way: an object's reference, or None where a job starts from none."""


class Clock(Protocol):
    """The workers' time."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment; they never jump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A task that a worker is done with: its result, or the error that came instead, and how far it had come."""

    task: Task
    worker: str
    result: Result | None = None
    error: Exception | None = None
    progress: Progress | None = None


class Fleet(Protocol):
    """The workers of one run. One has at most one task; a lost worker's task comes back as an error exactly once."""

    @property
    def idle(self) -> Sequence[str]:
        """Workers that are up and have nothing to do, by number."""

    @property
    def num_up(self) -> int:
        """How many workers are up."""

    @property
    def tasks(self) -> dict[str, Task | None]:
        """What each worker does."""

    @property
    def progress(self) -> dict[str, Progress | None]:
        """How far each worker's task has come, as far as it has told."""

    def submit(self, names: Sequence[str], task: Task, role: str, parent: Blob, backbone: Blob) -> None:
        """Give a task to an idle worker, or to several as a gang."""

    def wait(self, timeout_s: float) -> list[Completion]:
        """Wait until a worker is done or has come up, or the time is over.

        Raises:
            RunStopped: if no worker can be started at all.
        """

    def watch(self) -> list[str]:
        """Look after the workers; returns what an operator should know of it."""

    def close(self) -> None:
        """End the workers."""


class Weights(Protocol):
    """The blobs of one run on their way from one job to the next."""

    def add(self, index: int, file: WeightsFile | None) -> None:
        """Learn where a finished job's weights are."""

    def ref(self, index: int | None) -> Blob:
        """What stands for a job's blob; None for no job.

        Raises:
            RunStopped: if it is lost.
        """

    def forget(self, indices: Iterable[int | None]) -> None:
        """Fetch these anew at the next `ref`."""

    def retain(self, live: set[int], parents: set[int]) -> None:
        """Delete all files but those of `live`, and hold only `parents` ready."""


class Workplace(Protocol):
    """Makes what a driver works with.

    Attributes:
        clock: the time of its workers.
    """

    clock: Clock

    def open(self, config: RunConfig, folder: RunFolder, run_name: str, trainer: str) -> tuple[Fleet, Weights]:
        """Have the workers started, in the background.

        Args:
            config: the run's.
            folder: the run's files.
            run_name: what the workers are called after.
            trainer: what their ranks train with; see `workers.rank.Trainer`.

        Raises:
            KeyboardInterrupt: if the process is asked to end meanwhile.
            UserError: if there is no cluster to work on.
        """


class SystemClock:
    """The time of this machine."""

    def time(self) -> float:
        """See `Clock`."""
        return time.time()

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()


class RayCluster:
    """The cluster of `RAY_ADDRESS`, or a Ray on this machine."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.clock: Clock = SystemClock()

    def open(self, config: RunConfig, folder: RunFolder, run_name: str, trainer: str) -> tuple[Fleet, Weights]:
        """See `Workplace`."""
        from orchestrator import fleet, weights  # Ray is imported only when there is something to run

        fleet.connect(config.fleet)
        settings = node_settings(config, folder.address, trainer)
        return fleet.Fleet(config.fleet, settings, run_name), weights.Weights(folder, given_file(config))
