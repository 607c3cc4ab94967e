"""A fleet in virtual time, behind the interface of the real one.

Waiting takes no time: it moves the clock to the next thing that happens, a training that ends or a node that comes up.

Invariants:
- The clock never goes back, and only waiting and handing out jobs move it.
- What happens follows from what was submitted and from the seed.
"""

import heapq
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf, nan
from random import Random
from typing import Protocol

from orchestrator.config import RunConfig
from orchestrator.simulation.durations import Durations
from orchestrator.simulation.luck import Chances, Scores, fate
from orchestrator.workplace import Blob, Clock, Completion, Fleet, Weights
from workers.run_folder import Result, RunFolder, WeightsFile
from workers.task import AttemptLost, Progress, Task

IDLE_STEP_S = 60.0
"""The clock moves by no more while no worker works."""

PROGRESS_STEPS = 1000
"""Into which a training's progress is divided."""


class Times(Protocol):
    """How long trainings take; see `durations.Durations`."""

    def of(self, task: Task, num_nodes: int) -> float:
        """Seconds."""


@dataclass(frozen=True)
class FromCosts:
    """A run's own durations."""

    durations: Durations

    def of(self, task: Task, num_nodes: int) -> float:
        """See `Times`."""
        return self.durations.seconds(task.kind, task.spec, task.training, num_nodes)


@dataclass(frozen=True)
class Listed:
    """Durations by the jobs' indices."""

    seconds: Sequence[float]

    def of(self, task: Task, num_nodes: int) -> float:
        """See `Times`."""
        return self.seconds[task.index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """What takes time beside training.

    Attributes:
        start_s: from the run's beginning until its workers are up.
        job_s: from the end of a training to the beginning of the worker's next one, if that waits.
        driver_s: that the driver, which does one thing at a time, needs for a job.
        replacement_s: on average, until a lost node is replaced.
    """

    start_s: float = 60.0
    job_s: float = 1.0
    driver_s: float = 0.0
    replacement_s: float = 600.0


@dataclass
class Tally:
    """What a fleet has done; times are those of single workers, in seconds.

    Attributes:
        trained_s: all training.
        repeated_s: of it, what was lost with a node and had to be done again.
        num_lost: attempts that were lost.
    """

    trained_s: float = 0.0
    repeated_s: float = 0.0
    num_lost: int = 0


@dataclass
class VirtualClock:
    """A clock that stands still until it is moved."""

    now: float

    def time(self) -> float:
        """See `Clock`."""
        return self.now

    def monotonic(self) -> float:
        """See `Clock`."""
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A task that is under way: what it does until its training ends, whole or not."""

    task: Task
    role: str
    parent: int | None
    workers: tuple[int, ...]
    begins_at: float
    seconds: float
    done: float
    is_lost: bool
    fails: bool


class VirtualFleet:
    """Workers that only seem to work."""

    def __init__(self, config: RunConfig, clock: VirtualClock, times: Times, chances: Chances, delays: Delays) -> None:
        """All nodes come up at once, after `Delays.start_s`."""
        self.tally = Tally()
        self._config = config
        self._clock = clock
        self._times = times
        self._chances = chances
        self._delays = delays
        self._scores = Scores(chances, config.objective)
        self._names = [f"worker-{number}" for number in range(config.fleet.num_workers)]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._tasks: dict[str, Task | None] = dict.fromkeys(self._names)
        self._progress: dict[str, Progress | None] = dict.fromkeys(self._names)
        self._idle: list[int] = []
        self._num_up = self._num_busy = 0
        self._saved: dict[int, float] = {}
        self._events: list[tuple[float, int, int | _Attempt]] = []
        self._order = count()
        for number in range(len(self._names)):
            self._schedule(clock.now + delays.start_s, number)

    @property
    def idle(self) -> Sequence[str]:
        """See `Fleet`."""
        return [self._names[number] for number in self._idle]

    @property
    def num_up(self) -> int:
        """See `Fleet`."""
        return self._num_up

    @property
    def tasks(self) -> dict[str, Task | None]:
        """See `Fleet`."""
        return self._tasks

    @property
    def progress(self) -> dict[str, Progress | None]:
        """See `Fleet`; nobody asks workers that don't work."""
        return self._progress

    def submit(self, names: Sequence[str], task: Task, role: str, parent: Blob, backbone: Blob) -> None:
        """See `Fleet`; `parent` is the parent's index."""
        self._clock.now += self._delays.driver_s
        self._num_busy += len(names)
        workers = tuple(self._numbers[name] for name in names)
        for name, number in zip(names, workers, strict=True):
            assert self._tasks[name] is None, f"{name} is not idle"
            self._tasks[name] = task
            self._idle.remove(number)
        luck = fate(self._chances, task.index, task.attempt, role)
        whole = self._times.of(task, len(names)) * luck.slowness
        saved = self._saved.get(task.index, 0.0)
        share = luck.share if luck.is_lost or luck.fails else 1.0
        begins_at, seconds = self._clock.now + self._delays.job_s, share * (1 - saved) * whole
        attempt = _Attempt(
            task=task,
            role=role,
            parent=parent,
            workers=workers,
            begins_at=begins_at,
            seconds=seconds,
            done=saved + share * (1 - saved),
            is_lost=luck.is_lost,
            fails=luck.fails,
        )
        self._schedule(begins_at + seconds, attempt)

    def wait(self, timeout_s: float) -> list[Completion]:
        """See `Fleet`; the clock moves to whatever happens next, however long that takes."""
        until = self._events[0][0] if self._events else inf
        if not self._num_busy:  # the driver may give up before a node comes
            until = min(until, self._clock.now + IDLE_STEP_S)
        self._clock.now = max(self._clock.now, until)
        completions = []
        while self._events and self._events[0][0] <= self._clock.now:
            _, _, event = heapq.heappop(self._events)
            if isinstance(event, _Attempt):
                completions.append(self._end(event))
            else:
                self._num_up += 1
                insort(self._idle, event)
        return completions

    def watch(self) -> list[str]:
        """See `Fleet`; there is nothing to see."""
        return []

    def close(self) -> None:
        """See `Fleet`."""

    def _schedule(self, when: float, event: int | _Attempt) -> None:
        """Have a worker come up, or an attempt end, at a time."""
        heapq.heappush(self._events, (when, next(self._order), event))

    def _end(self, attempt: _Attempt) -> Completion:
        self._num_busy -= len(attempt.workers)
        for number in attempt.workers:
            self._tasks[self._names[number]] = None
            insort(self._idle, number)
        self.tally.trained_s += attempt.seconds * len(attempt.workers)
        first = self._names[attempt.workers[0]]
        if attempt.is_lost:
            return self._lose(attempt, first)
        self._saved.pop(attempt.task.index, None)
        return Completion(task=attempt.task, worker=first, result=self._result(attempt, first))

    def _lose(self, attempt: _Attempt, worker: str) -> Completion:
        """A node goes down, and its task with it, but for the last checkpoint."""
        task, number = attempt.task, attempt.workers[0]
        saved = self._saved.get(task.index, 0.0)
        if attempt.seconds > 0:
            speed = (attempt.done - saved) / attempt.seconds
            kept = attempt.seconds - attempt.seconds % task.checkpoint_s if task.checkpoint_s else attempt.seconds
            epochs = task.training.epochs or 1
            kept_share = max(saved + kept * speed, attempt.done * epochs // 1 / epochs)
            self.tally.repeated_s += (attempt.done - kept_share) / speed * len(attempt.workers)
            self._saved[task.index] = saved = kept_share
        self.tally.num_lost += 1
        self._idle.remove(number)
        self._num_up -= 1
        rng = Random(f"node {self._chances.seed} {task.index} {task.attempt}")
        self._schedule(self._clock.now + rng.expovariate(1.0) * self._delays.replacement_s, number)
        progress = Progress(
            epoch=1,
            num_epochs=1,
            step=int(saved * PROGRESS_STEPS),
            num_steps=PROGRESS_STEPS,
            loss=nan,
            images_per_second=nan,
        )
        error = AttemptLost("infrastructure", "its node was lost")
        return Completion(task=task, worker=worker, error=error, progress=progress)

    def _result(self, attempt: _Attempt, worker: str) -> Result:
        task, metrics = attempt.task, dict[str, float]()
        if not attempt.fails:
            metrics[self._config.objective.metric] = self._scores.score(task.index, task.spec, attempt.parent)
        return Result(
            index=task.index,
            attempt=task.attempt,
            epoch=task.epoch,
            name=task.name,
            status="failed" if attempt.fails else "completed",
            worker=worker,
            started_at=attempt.begins_at,
            finished_at=attempt.begins_at + attempt.seconds,
            seconds=attempt.seconds,
            metrics=metrics,
            error="as the simulation has it" if attempt.fails else "",
            weights=None if attempt.fails else WeightsFile(name=f"{task.name}.safetensors", sha256="", size_bytes=0),
        )


class VirtualWeights:
    """Weights that are nothing but their job's index."""

    def add(self, index: int, file: WeightsFile | None) -> None:
        """See `Weights`."""

    def ref(self, index: int | None) -> Blob:
        """See `Weights`; the index."""
        return index

    def forget(self, indices: Iterable[int | None]) -> None:
        """See `Weights`."""

    def retain(self, live: set[int], parents: set[int]) -> None:
        """See `Weights`."""


@dataclass
class VirtualWorkplace:
    """A `Workplace` in virtual time.

    Attributes:
        times: how long trainings take.
        chances: how likely things are.
        delays: what takes time beside training.
        clock: the time.
        fleet: the workers, once they are asked for.
    """

    times: Times
    chances: Chances = field(default_factory=Chances)
    delays: Delays = field(default_factory=Delays)
    clock: Clock = field(default_factory=lambda: VirtualClock(0.0))
    fleet: VirtualFleet | None = None

    def open(self, config: RunConfig, folder: RunFolder, run_name: str, trainer: str) -> tuple[Fleet, Weights]:
        """See `Workplace`."""
        assert isinstance(self.clock, VirtualClock)
        self.fleet = VirtualFleet(config, self.clock, self.times, self.chances, self.delays)
        return self.fleet, VirtualWeights()
