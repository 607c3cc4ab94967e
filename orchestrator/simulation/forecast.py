"""A whole run in virtual time, and what there is to say of it.

Invariant: config, assumptions and seed alone determine a forecast, but for the processor time that it took.
"""

import time
from dataclasses import dataclass, field

from orchestrator.config import RunConfig
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from orchestrator.simulation.fleet import Delays, Tally, Times, VirtualClock, VirtualWorkplace
from orchestrator.simulation.luck import Chances
from orchestrator.simulation.memory import MemoryStorage
from workers.storage import Storage
from workers.task import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a simulation takes for granted.

    Attributes:
        times: how long trainings take.
        chances: how likely things are.
        delays: what takes time beside training.
        begins_at: when the run begins, in seconds since 1970; only `budget.deadline` depends on it.
    """

    times: Times
    chances: Chances = field(default_factory=Chances)
    delays: Delays = field(default_factory=Delays)
    begins_at: float = 0.0


@dataclass
class Part:
    """A phase of a run.

    Attributes:
        seconds: between the last outcome before it and its own last one.
        trained_s: what its jobs' trainings took, the last attempts', of single workers.
        num_jobs: jobs that were told in it.
        runs_alone: whether it is a job that no other runs beside.
    """

    runs_alone: bool
    seconds: float = 0.0
    trained_s: float = 0.0
    num_jobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run comes to.

    Attributes:
        config: the run's.
        reason: why it ended.
        is_stopped: whether it could not go on by itself.
        seconds: from its beginning to its end.
        tally: what the fleet did.
        parts: its phases, by name.
        num_jobs: jobs that were told.
        num_candidates: of them, candidates.
        num_late: of these, those whose parent was no longer the baseline when they were told.
        last_wave: the time after the last job was sent off, when nodes run out of work whoever sends it.
        driver_s: processor time that the driver took.
    """

    config: RunConfig
    reason: str
    is_stopped: bool
    seconds: float
    tally: Tally
    parts: dict[str, Part]
    num_jobs: int
    num_candidates: int
    num_late: int
    last_wave: Part
    driver_s: float

    @property
    def worker_seconds(self) -> float:
        """What the workers' nodes are held for."""
        return self.seconds * self.config.fleet.num_workers

    @property
    def utilisation(self) -> float:
        """The share of that in which they train what counts; 0 where nothing began."""
        useful_s = self.tally.trained_s - self.tally.repeated_s
        return useful_s / self.worker_seconds if self.worker_seconds else 0.0

    @property
    def device_days(self) -> float:
        """GPU-days, or days of CPUs, that they are held for."""
        return self.worker_seconds * self.config.fleet.devices_per_worker / 86400

    @property
    def busy(self) -> float:
        """The share of the nodes' time in which they train, while no job runs alone."""
        parts = [part for part in self.parts.values() if not part.runs_alone]
        seconds = sum(part.seconds for part in parts) * self.config.fleet.num_workers
        return sum(part.trained_s for part in parts) / seconds if seconds else 0.0

    @property
    def busy_before_last_wave(self) -> float:
        """The same, until the last job is sent off."""
        parts = [part for part in self.parts.values() if not part.runs_alone]
        seconds = sum(part.seconds for part in parts) - self.last_wave.seconds
        trained_s = sum(part.trained_s for part in parts) - self.last_wave.trained_s
        return trained_s / (seconds * self.config.fleet.num_workers) if seconds > 0 else 0.0


class Meter:
    """An observer that notes where the time goes."""

    def __init__(self, config: RunConfig, begins_at: float) -> None:
        """Nothing has been told yet."""
        self._config = config
        self.parts: dict[str, Part] = {}
        self.num_jobs = self.num_candidates = self.num_late = 0
        self._last = self._last_sent = begins_at
        self._finished: dict[str, tuple[float, int]] = {}

    def opened(self, history: History, resumed: bool) -> None:
        """See `Observer`."""

    def told(self, history: History, record: Record) -> None:
        """Note whose time has gone by."""
        job = history.state.population[record["outcome"]["index"]].job
        result, num_nodes = record["result"], self._config.num_nodes(job.recipe)
        part = self.parts.setdefault(_name(job), Part(job.barrier))
        part.seconds += record["time"] - self._last
        part.trained_s += result["seconds"] * num_nodes
        self._last_sent = max(self._last_sent, result["started_at"])
        self._finished[result["worker"]] = result["finished_at"], num_nodes
        part.num_jobs += 1
        self._last = record["time"]
        self.num_jobs += 1
        baseline = record["state"]["baseline"]
        if job.role == "candidate":
            self.num_candidates += 1
            self.num_late += baseline is not None and baseline["index"] not in (job.parent, job.index)

    def last_wave(self) -> Part:
        """What came after the last job was sent off."""
        sent = self._last_sent
        trained_s = sum(max(0.0, end - sent) * num_nodes for end, num_nodes in self._finished.values())
        return Part(runs_alone=False, seconds=self._last - sent, trained_s=trained_s)

    def note(self, text: str) -> None:
        """See `Observer`."""

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """See `Observer`."""


def simulate(config: RunConfig, assumptions: Assumptions, storage: Storage | None = None) -> Forecast:
    """Go through a whole run in virtual time.

    Args:
        config: the run's.
        assumptions: what the simulation takes for granted.
        storage: where the run's files go; by default into memory, and away.
    """
    clock = VirtualClock(assumptions.begins_at)
    workplace = VirtualWorkplace(assumptions.times, assumptions.chances, assumptions.delays, clock)
    meter = Meter(config, clock.now)
    is_stopped = False
    begun = time.process_time()
    folder, _ = open_run(config, storage or MemoryStorage())
    try:
        reason = Driver(config, folder, meter, workplace=workplace).run()
    except RunStopped as stopped:
        reason, is_stopped = f"stopped: {stopped}", True
    return Forecast(
        config=config,
        reason=reason,
        is_stopped=is_stopped,
        seconds=clock.now - assumptions.begins_at,
        tally=workplace.fleet.tally if workplace.fleet else Tally(),
        parts=meter.parts,
        num_jobs=meter.num_jobs,
        num_candidates=meter.num_candidates,
        num_late=meter.num_late,
        last_wave=meter.last_wave(),
        driver_s=time.process_time() - begun,
    )


def _name(job: Job) -> str:
    """What a job's part of the run is called: jobs that run alone have their own."""
    where = f"serial {job.round}" if job.phase == "serial" else job.phase
    return f"{where}, {job.role}" if job.barrier and job.role != job.phase else where
