"""What the driver tells, turned into lines and snapshots for whoever looks.

Invariants:
- A view is told lines as they come and snapshots about twice a second; it changes nothing and keeps nothing from the
  others.
- Time left is told only where something bounds it, and only at the pace that this driver has seen so far.
"""

import secrets
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.live.snapshot import Event, Found, Limit, Snapshot, WorkerLine, worker_line
from orchestrator.live.wording import percent, place
from orchestrator.row_values import Row
from orchestrator.search.protocol import Baseline, Job
from workers.task import Progress

MOST_EVENTS = 12
PACE_OF = 20
"""Candidates that the pace is taken from, the last ones."""

LEAST_PACE_OF = 3


class View(Protocol):
    """Where a run is shown."""

    def say(self, text: str) -> None:
        """Something has happened."""

    def show(self, snapshot: Snapshot) -> None:
        """This is how it stands."""

    def close(self) -> None:
        """Nothing more comes."""


class Teller:
    """Sees a run go by and tells its views."""

    def __init__(self, config: RunConfig, *views: View) -> None:
        """Tell these views of a run of this config."""
        self._config = config
        self._views = views
        self._life = secrets.token_hex(8)
        self._number = 0
        self._begun: float | None = None
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._num_events = 0
        self._baseline: int | None = None
        self._start: Found | None = None
        self._best: Found | None = None
        self._num_candidates = 0
        self._num_failed = 0
        self._told_at: deque[float] = deque(maxlen=PACE_OF + 1)

    def opened(self, history: History, resumed: bool) -> None:
        """Say what begins or goes on."""
        self._begun = time.monotonic()
        self.look_back(history)
        if resumed:
            told, pending = len(history.state.population), len(history.state.pending)
            self.note(f"going on after {told} finished jobs, {pending} pending")
        else:
            given = self._config.start.given
            begun_from = f", with the weights of {given.source}" if given else ""
            self.note(f"a new {history.algorithm.title}{begun_from}, seed {self._config.seed}")

    def look_back(self, history: History) -> None:
        """Count what was told before this driver."""
        state = history.state
        if state.baseline:
            self._baseline = state.baseline.index
        for member in state.population.values():
            self._num_candidates += member.job.role == "candidate"
            self._num_failed += member.job.role == "candidate" and not member.outcome.completed
        for index in (0, 1):  # the second where the first is its pretraining
            if index in state.population:
                self._note_start(history.trials.rows[index])

    def told(self, history: History, record: Record) -> None:
        """One line per outcome, and one when the baseline changes."""
        outcome, state = record["outcome"], record["state"]
        row = history.trials.rows[outcome["index"]]
        self._note_start(row)
        if row["role"] == "candidate":
            self._num_candidates += 1
            self._num_failed += outcome["status"] == "failed"
            self._told_at.append(time.monotonic())
        metric = self._config.objective.metric
        if outcome["status"] == "failed":
            what = f"failed: {one_line(outcome['error'])}"
        elif metric in outcome["metrics"]:
            what = f"{metric} {percent(outcome['metrics'][metric])}"
        else:
            what = "  ".join(f"{name} {percent(value)}" for name, value in outcome["metrics"].items())
        stuck = f"  stuck {state['counter']:<3}" if row["round"] else ""
        self.note(
            f"{place(row['phase'], row['round'])}  #{row['index']:<4} {row['role']:<12} {what:<9}  "
            f"{row['seconds']:4.0f} s{stuck}  {row['architecture']}"
        )
        baseline = state["baseline"]
        if baseline and baseline["index"] != self._baseline:
            self._baseline = baseline["index"]
            self.note(
                f"    the baseline is now #{baseline['index']} {baseline['architecture']}, "
                f"{metric} {percent(baseline['score'])}"
            )

    def note(self, text: str) -> None:
        """Say what an operator should know."""
        self._num_events += 1
        self._events.append(Event(number=self._num_events, at=time.time(), text=text))
        for view in self._views:
            view.say(text)

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Show what the workers do."""
        snapshot = self.snapshot(history, jobs, progress)
        for view in self._views:
            view.show(snapshot)

    def close(self) -> None:
        """Close the views."""
        for view in self._views:
            view.close()

    def snapshot(
        self, history: History, jobs: Mapping[str, Job | None], progress: Mapping[str, Progress | None]
    ) -> Snapshot:
        """How the run stands; costs the same however long its history is."""
        self._number += 1
        state, pace = history.state, self._pace()
        self._note_best(history, state.best_overall)
        n_stuck = self._n_stuck(state.phase)
        left = self._budget_left(history, pace)
        return Snapshot(
            life=self._life,
            number=self._number,
            at=time.time(),
            elapsed_s=None if self._begun is None else time.monotonic() - self._begun,
            title=one_line(history.algorithm.title),
            metric=self._config.objective.metric,
            phase=state.phase,
            round=state.round,
            num_rounds=self._num_rounds(state.phase),
            start=self._start,
            best=self._best,
            num_told=len(state.population),
            num_candidates=self._num_candidates,
            num_failed=self._num_failed,
            num_pending=len(state.pending),
            counter=state.counter,
            n_stuck=n_stuck,
            limits=self._limits(history),
            budget_left_s=left[0] if left else None,
            budget_left_of=left[1] if left else "",
            round_left_s=pace * (n_stuck - state.counter) if pace and n_stuck and n_stuck > state.counter else None,
            workers=tuple(_line(name, job, progress.get(name)) for name, job in jobs.items()),
            events=tuple(self._events),
        )

    def _note_start(self, row: Row) -> None:
        if self._start is None and row["role"] == "start" and row["score"] is not None:
            self._start = _found(row["index"], row["score"], row)

    def _note_best(self, history: History, best: Baseline | None) -> None:
        known = (self._best.index, self._best.score) if self._best else None
        if best and known != (best.index, best.score):
            self._best = _found(best.index, best.score, history.trials.rows[best.index])

    def _n_stuck(self, phase: str) -> int | None:
        """How many candidates without an improvement end what is under way."""
        if phase == "serial":
            return self._config.serial.n_stuck
        return self._config.parallel.n_stuck if phase == "parallel" and self._config.parallel else None

    def _num_rounds(self, phase: str) -> int | None:
        """How many rounds a phase has at most."""
        return {"serial": self._config.serial.num_rounds, "evolution": self._config.evolution.generations}.get(phase)

    def _limits(self, history: History) -> tuple[Limit, ...]:
        budget, fleet = self._config.budget, self._config.fleet
        limits = []
        if budget.max_candidates is not None:
            limits.append(Limit(what="candidates", used=self._num_candidates, most=budget.max_candidates))
        if budget.max_gpu_hours is not None:
            what = "GPU-hours" if fleet.gpus_per_worker else "CPU-hours"
            used = history.worker_seconds / 3600 * fleet.devices_per_worker
            limits.append(Limit(what=what, used=used, most=budget.max_gpu_hours))
        return tuple(limits)

    def _pace(self) -> float | None:
        """Seconds for each candidate, of the last ones that this driver has seen."""
        if len(self._told_at) <= LEAST_PACE_OF:
            return None
        return (self._told_at[-1] - self._told_at[0]) / (len(self._told_at) - 1)

    def _budget_left(self, history: History, pace: float | None) -> tuple[float, str] | None:
        """About how long until the first limit of the budget is reached, and which that is."""
        budget, fleet = self._config.budget, self._config.fleet
        left: list[tuple[float, str]] = []
        if budget.deadline is not None:
            deadline = budget.deadline if budget.deadline.tzinfo else budget.deadline.replace(tzinfo=UTC)
            left.append(((deadline - datetime.now(UTC)).total_seconds(), "budget.deadline"))
        if budget.max_candidates is not None and pace:
            left.append((pace * (budget.max_candidates - self._num_candidates), "budget.max_candidates"))
        if budget.max_gpu_hours is not None:
            hours = budget.max_gpu_hours - history.worker_seconds / 3600 * fleet.devices_per_worker
            # As fast as it can be spent: with every worker at work.
            left.append((3600 * hours / (fleet.devices_per_worker * fleet.num_workers), "budget.max_gpu_hours"))
        if not left:
            return None
        seconds, limit = min(left)
        return max(0.0, seconds), limit


def _found(index: int, score: float, row: Row) -> Found:
    return Found(index=index, score=score, architecture=row["architecture"], gflops=row["gflops"])


def _line(name: str, job: Job | None, progress: Progress | None) -> WorkerLine:
    if job is None:
        return WorkerLine(name=name)
    return worker_line(name, job.index, job.role, str(job.spec.architecture), progress)
