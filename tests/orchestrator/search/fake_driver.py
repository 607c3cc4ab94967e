"""A driver in miniature: the order rule without processes, files or clocks, and accuracies made up from the job.

Outcomes come in any order, wait in a buffer, and are told one at a time by index; the algorithm decides until it waits
after every single tell. Also the settings that the tests of the search start from.
"""

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from models.architecture import Architecture, NetworkSpec
from orchestrator.search.protocol import Algorithm, Baseline, Done, Job, Member, Outcome, SearchState
from orchestrator.search.settings import Objective, ParallelSettings, SearchSettings, SerialSettings
from orchestrator.search.spnas import SpNas

START = "BB(11,d1,d1,d1)"
IMAGE_SIZE = (64, 96)
FAILED = None

Score = float | None
"""A job's score, or FAILED by the candidate's own fault."""


def search_settings(
    start: str = START,
    seed: int = 0,
    mode: str = "max",
    serial: dict[str, Any] | None = None,
    parallel: dict[str, Any] | None = None,
    pretrain_start: bool = False,
    train_full: bool = False,
    max_failures_in_a_row: int = 5,
) -> SearchSettings:
    """Settings of a small search; without `parallel` it has no such level."""
    return SearchSettings(
        seed=seed,
        objective=Objective.model_validate({"mode": mode}),
        start=NetworkSpec.fresh(Architecture.parse(start), "deep", 4),
        pretrain_start=pretrain_start,
        serial=SerialSettings.model_validate({"in_flight": 4} | (serial or {})),
        parallel=None if parallel is None else ParallelSettings.model_validate({"in_flight": 4} | parallel),
        train_full=train_full,
        image_size=IMAGE_SIZE,
        max_failures_in_a_row=max_failures_in_a_row,
    )


def noise(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the parts."""
    return zlib.crc32(repr(tuple(map(str, parts))).encode()) / 2**32


def made_up(job: Job) -> Score:
    """An accuracy that rises with depth and subnets, with luck by seed; one candidate in ten fails."""
    architecture = job.spec.architecture
    if not job.barrier and noise("failure", job.index, job.spec.architecture) < 0.1:
        return FAILED
    size = architecture.num_blocks + 2 * sum(architecture.subnets)
    return 0.2 + 0.01 * size + 0.1 * noise(architecture, job.seed, job.kind)


def constant(job: Job) -> Score:
    """Nothing is ever better than the start."""
    return 0.5


class Stopped(Exception):
    """The algorithm objected to an outcome."""


@dataclass(frozen=True)
class Told:
    """One told outcome, and what the search came to by it."""

    job: Job
    outcome: Outcome
    summary: dict[str, Any]


@dataclass
class FakeDriver:
    """Drives one search.

    Attributes:
        settings: the search's.
        algorithm_of: makes the algorithm.
        judge: gives a job's score.
        num_workers: jobs that run at the same time.
        order_seed: which of them finishes next is drawn from it.
        jobs: every job in the order of decisions.
        told: every outcome in the order of telling.
        running: jobs on workers, in the order of their start.
        done: why the search ended, "" before.
        on_change: called after every decision and every tell.
    """

    settings: SearchSettings
    algorithm_of: Callable[[SearchSettings], Algorithm] = SpNas
    judge: Callable[[Job], Score] = made_up
    num_workers: int = 1
    order_seed: int = 0
    on_change: Callable[["FakeDriver"], None] = lambda driver: None
    jobs: list[Job] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    buffer: dict[int, Outcome] = field(default_factory=dict)
    done: str = ""

    def __post_init__(self) -> None:
        self.algorithm = self.algorithm_of(self.settings)
        self.state: SearchState = self.algorithm.initial()
        self._random = random.Random(self.order_seed)
        self.decide()

    def decide(self) -> list[Job]:
        """Decide until the algorithm waits; returns the new jobs."""
        num_known = len(self.jobs)
        while isinstance(decision := self.algorithm.decide(self.state), Job):
            self.jobs.append(decision)
            self.on_change(self)
        self.done = decision.reason if isinstance(decision, Done) else ""
        return self.jobs[num_known:]

    def finish(self, *scores: Score) -> list[Job]:
        """Tell the next jobs in order these scores; returns the jobs decided after the last."""
        decided: list[Job] = []
        for score in scores:
            decided = self._tell(self.outcome(self.next_job, score))
        return decided

    def run(self, until: Callable[["FakeDriver"], bool] = lambda driver: False) -> "FakeDriver":
        """Run jobs on the workers, finishing in random order, to the search's end or until a condition holds."""
        while not self.done and not until(self):
            busy = {job.index for job in self.running} | self.buffer.keys()
            waiting = [job for index, job in sorted(self.state.pending.items()) if index not in busy]
            self.running += waiting[: self.num_workers - len(self.running)]
            job = self.running.pop(self._random.randrange(len(self.running)))
            self.buffer[job.index] = self.outcome(job, self.judge(job))
            while not self.done and self.state.pending and (index := min(self.state.pending)) in self.buffer:
                self._tell(self.buffer.pop(index))
        return self

    @staticmethod
    def outcome(job: Job, score: Score) -> Outcome:
        """A job's outcome; a pretraining has no score."""
        if score is FAILED:
            return Outcome(index=job.index, status="failed", error="out of memory")
        metrics = {"top1": score} if job.kind == "pretrain" else {"AP50": score, "AP": score / 2}
        return Outcome(index=job.index, status="completed", score=metrics.get("AP50"), metrics=metrics)

    @property
    def next_job(self) -> Job:
        """The pending job that is told next."""
        return self.state.pending[min(self.state.pending)]

    @property
    def baseline(self) -> Baseline:
        """The baseline, once there is one."""
        assert self.state.baseline is not None
        return self.state.baseline

    @property
    def best_overall(self) -> Baseline:
        """The best baseline there has been."""
        assert self.state.best_overall is not None
        return self.state.best_overall

    @property
    def roles(self) -> list[str]:
        """The role of every job."""
        return [job.role for job in self.jobs]

    def with_role(self, role: str) -> list[Job]:
        """Every job of a role."""
        return [job for job in self.jobs if job.role == role]

    def members(self) -> Iterator[Member]:
        """Every told job, by index."""
        return (self.state.population[index] for index in sorted(self.state.population))

    def _tell(self, outcome: Outcome) -> list[Job]:
        objection = self.algorithm.objection(self.state, outcome)
        if objection is not None:
            raise Stopped(objection)
        job = self.state.pending[outcome.index]
        self.algorithm.tell(self.state, outcome)
        self.told.append(Told(job, outcome, self.state.summary()))
        self.on_change(self)
        return self.decide()
