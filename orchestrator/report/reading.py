"""The story of a run, read from its folder.

Invariant: reading changes nothing, takes no lock, and gives of a run that still goes what was durable at that moment.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.report import networks
from orchestrator.report.networks import Judged
from orchestrator.report.story import (
    BaselineChange,
    Network,
    PhaseSpan,
    Reignition,
    RunFacts,
    Story,
    Trial,
)
from orchestrator.report.timeline import Timeline, failure_kinds, worker_uses
from orchestrator.row_values import Row
from orchestrator.runs import RunLock, storage_of, stored_config
from orchestrator.search.algorithms import SEARCHES
from orchestrator.search.protocol import Job, pareto
from workers.metric_names import split_step
from workers.run_folder import RunFolder

COMMANDS = {name: f"spnas {name} config.yaml" for name in ("train", "pretrain", "trials")}
COUNTING_PHASES = ("serial", "parallel", "evolution")


def read_story(run: str, now: float | None = None) -> Story:
    """The story of a run.

    Args:
        run: its address.
        now: seconds since 1970, to which attempts that go on are drawn; the clock's if None.

    Raises:
        UserError: if there is no run, nothing of it is told yet, or its files can't be read.
    """
    storage = storage_of(run)
    folder = RunFolder(storage)
    config = stored_config(folder)
    notes = _Notes(config)
    try:
        history = History.fold(config, Journal(storage), notes.take)
        alive = RunLock(storage).is_held()
    except OSError as error:
        raise UserError(f"run {run}: can't be read ({error.strerror or error})") from None
    if not history.state.population:
        what = "wait for its first job" if alive else "go on with it first"
        raise UserError(f"run {run}: nothing of it is finished, so there is nothing to report yet; {what}")
    return _Telling(config, folder, history, notes, alive, time.time() if now is None else now).story()


@dataclass
class _Notes:
    """What the search's state was in passing, job by job as they were told."""

    config: RunConfig
    timeline: Timeline = field(default_factory=Timeline)
    best_scores: dict[int, float | None] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=dict)
    hours: dict[int, float] = field(default_factory=dict)
    baselines: list[BaselineChange] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def take(self, history: History, record: Record) -> None:
        """Note what a record has changed."""
        self.timeline.apply(record)
        if record["type"] == "opened":
            versions = record.get("versions")
            if isinstance(versions, dict):
                self.versions |= {one_line(str(name)): one_line(str(value)) for name, value in versions.items()}
        if record["type"] != "told":
            return
        index, state = record["outcome"]["index"], history.state
        fleet = self.config.fleet
        self.hours[index] = history.worker_seconds / 3600 * (fleet.gpus_per_worker or fleet.cpus_per_worker)
        self.best_scores[index] = state.best_overall.score if state.best_overall else None
        if state.population[index].job.phase in COUNTING_PHASES:
            self.counters[index] = state.counter
        if history.baselines and (not self.baselines or self.baselines[-1].index != history.baselines[-1][0]):
            job, score = history.baselines[-1]
            self.baselines.append(BaselineChange(told=index, index=job, score=score))


@dataclass
class _Telling:
    """Puts a story together."""

    config: RunConfig
    folder: RunFolder
    history: History
    notes: _Notes
    alive: bool
    now: float

    def story(self) -> Story:
        """All of it."""
        jobs = self._jobs()
        rows = list(self.history.trials.rows.since(0))
        front = tuple(self._front(rows))
        attempts, lives = self.notes.timeline.finish(self.now, self.alive, {job.index: job.role for job in jobs})
        phases = tuple(self._phases(jobs))
        best = self.history.state.best_overall
        trials = tuple(self._trial(row, frozenset(front)) for row in rows)
        return Story(
            facts=self._facts(),
            trials=trials,
            phases=phases,
            baselines=tuple(self.notes.baselines),
            reignitions=tuple(self._reignitions(jobs)),
            front=front,
            networks=tuple(self._networks(jobs, phases)),
            lineage=()
            if best is None
            else networks.lineage(self._chain(jobs[best.index], jobs), self.config.image_size),
            attempts=attempts,
            lives=lives,
            workers=worker_uses(attempts, lives),
            failures=failure_kinds(attempts),
        )

    def _jobs(self) -> list[Job]:
        state = self.history.state
        return [
            state.pending[index] if index in state.pending else state.population[index].job
            for index in range(state.next_index)
        ]

    def _facts(self) -> RunFacts:
        config, history, timeline = self.config, self.history, self.notes.timeline
        algorithm = history.algorithm
        given = config.start.given
        n_stuck = {}
        if config.algorithm == "spnas":
            n_stuck["serial"] = config.serial.n_stuck
            if config.parallel is not None:
                n_stuck["parallel"] = config.parallel.n_stuck
        return RunFacts(
            name=one_line(self.folder.name),
            address=one_line(self.folder.address),
            title=one_line(algorithm.title),
            algorithm=config.algorithm,
            seed=config.seed,
            metric=config.objective.metric,
            maximize=config.objective.mode == "max",
            image_size=config.image_size,
            state="running" if self.alive else "ended" if history.ended else "gone",
            ended_because=history.ended,
            begun_at=timeline.begun_at,
            last_at=timeline.last_at,
            made_at=self.now,
            num_workers=config.fleet.num_workers,
            hour_name="GPU-hours" if config.fleet.gpus_per_worker else "CPU-hours",
            hours=max(self.notes.hours.values(), default=0.0),
            n_stuck=n_stuck,
            versions=self.notes.versions,
            given=one_line(given.source) if given else "",
            config_yaml=config.to_yaml(),
            reproduce=(self._command(),),
        )

    def _command(self) -> str:
        given = self.config.start.given
        if self.config.algorithm == "evaluate" and given:
            return f"spnas evaluate {one_line(given.source)} config.yaml --run again"
        return f"{COMMANDS.get(self.config.algorithm, 'spnas search config.yaml')} --run again"

    def _trial(self, row: Row, front: frozenset[int]) -> Trial:
        index, notes = row["index"], self.notes
        return Trial(
            index=index,
            kind=row["kind"],
            role=row["role"],
            phase=row["phase"],
            round=row["round"],
            architecture=row["architecture"],
            parent=row["parent"],
            backbone=row["backbone"],
            morphs=tuple(row["morphs"].split()),
            recipe=row["recipe"],
            seed=row["seed"],
            status=row["status"],
            score=row["score"],
            metrics=_final(json.loads(row["metrics"])) if row["metrics"] else {},
            gflops=row["gflops"],
            parameters=row["parameters"],
            seconds=row["seconds"],
            worker=row["worker"] or "",
            attempts=row["attempts"],
            peak_memory_bytes=row["peak_memory_bytes"],
            error=row["error"] or "",
            notes=row["notes"] or "",
            is_baseline=row["is_baseline"],
            is_best=row["is_best"],
            on_front=index in front,
            proposed_at=_seconds(row["proposed_at"]),
            finished_at=None if row["finished_at"] is None else _seconds(row["finished_at"]),
            best_score=notes.best_scores.get(index),
            counter=notes.counters.get(index),
            hours=notes.hours.get(index),
        )

    def _front(self, rows: list[Row]) -> list[int]:
        costs = {row["index"]: row["gflops"] for row in rows}
        return pareto(self.history.state, costs, self.config.objective.mode)

    def _phases(self, jobs: list[Job]) -> Iterator[PhaseSpan]:
        first = 0
        for index, job in enumerate(jobs):
            if index + 1 < len(jobs) and _place(jobs[index + 1]) == _place(job):
                continue
            best = self._best_of(jobs, first, index)
            yield PhaseSpan(
                name=_place(job),
                phase=job.phase,
                round=job.round,
                first=first,
                last=index,
                best=best[0] if best else None,
                best_score=best[1] if best else None,
            )
            first = index + 1

    def _best_of(self, jobs: list[Job], first: int, last: int) -> tuple[int, float] | None:
        """The best baseline of the jobs from first to last, or of full trainings the best of them."""
        population = self.history.state.population
        found = [(change.index, change.score) for change in self.notes.baselines if first <= change.index <= last]
        if jobs[first].role == "final":
            members = (population[index] for index in range(first, last + 1) if index in population)
            found = [(m.job.index, m.score) for m in members if m.outcome.score is not None]
        best: tuple[int, float] | None = None
        for index, score in found:
            if best is None or self.config.objective.better(score, best[1]):
                best = index, score
        return best

    def _reignitions(self, jobs: list[Job]) -> Iterator[Reignition]:
        refreshes = {job.backbone: job for job in jobs if job.role == "refresh"}
        judged = {change.index: change.score for change in self.notes.baselines}
        for job in jobs:
            if job.role != "pretrain" or not any(change.told < job.index for change in self.notes.baselines):
                continue
            before = [change.score for change in self.notes.baselines if change.told < job.index]
            refresh = refreshes.get(job.index)
            yield Reignition(
                pretrain=job.index,
                refresh=refresh.index if refresh else None,
                round=job.round,
                score_before=before[-1],
                score_after=judged.get(refresh.index) if refresh else None,
            )

    def _networks(self, jobs: list[Job], phases: tuple[PhaseSpan, ...]) -> Iterator[Network]:
        best = self.history.state.best_overall
        start = next((job for job in jobs if job.role == "start"), jobs[0])
        if self.config.algorithm == "trials" and best is not None:
            start = jobs[best.index]  # they have nothing to do with each other
        size = self.config.image_size
        names = {start.index: "start" if self.config.algorithm in SEARCHES else "network"}
        # An evolution's generations are many; its best stands for them.
        for phase in phases:
            if phase.best is not None and phase.phase not in ("evolution", "final"):
                names.setdefault(phase.best, phase.name)
        if best is not None and best.index != start.index:
            place = _place(jobs[best.index])
            names.pop(best.index, None)
            names[best.index] = f"best ({place})"
        for index, name in names.items():
            yield networks.drawn(name, self._chain(jobs[index], jobs), start, size)

    def _chain(self, job: Job, jobs: list[Job]) -> list[Judged]:
        changes = {change.index: change for change in self.notes.baselines}
        population = self.history.state.population
        chain = []
        for each in networks.ancestors(job, jobs):
            change = changes.get(each.index)
            outcome = population[each.index].outcome.score if each.index in population else None
            chain.append(
                Judged(job=each, score=change.score if change else outcome, told=change.told if change else None)
            )
        return chain


def _final(metrics: dict[str, float]) -> dict[str, float]:
    """Those of the trained network, without what was measured on the way."""
    return {name: value for name, value in metrics.items() if split_step(name) is None}


def _place(job: Job) -> str:
    """Where in a run, for people."""
    match job.phase:
        case "serial":
            return f"serial {job.round}"
        case "evolution":
            return f"generation {job.round}"
        case "supernet":
            return "super-net"
        case "final":
            return "full training"
    return job.phase


def _seconds(value: int | datetime) -> float:
    """A row's time; those that were packed come back as datetimes."""
    return value.timestamp() if isinstance(value, datetime) else value / 1e6
