"""What a run tells Ray's dashboard: gauges and counters that every node exports to Prometheus, named ``ray_spnas_...``.

Invariants:
- Metrics never disturb a search: what goes wrong here is said once, and the search goes on without.
- There are few series: they are told apart by run, worker, status, phase and metric, never by network or job.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.search.protocol import Job
from workers.failures import describe
from workers.task import Progress

RECENT_CANDIDATES = 20
MOST_APPENDS = 1000
APPEND_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Instruments:
    """What is exported; every series bears its run."""

    def __init__(self) -> None:
        """Name them to Ray, which has to be up."""
        from ray.util.metrics import Counter, Gauge, Histogram  # Ray is imported only when there is something to run

        self.candidates = Gauge("spnas_candidates", "candidates by status", ("run", "status"))
        self.best_score = Gauge("spnas_best_score", "score of the best baseline there has been", ("run", "metric"))
        self.baseline_score = Gauge("spnas_baseline_score", "score that candidates have to beat", ("run", "metric"))
        self.stuck = Gauge("spnas_stuck", "candidates since the last improvement", ("run",))
        self.round = Gauge("spnas_round", "the serial level's round, from 1", ("run",))
        self.phase = Gauge("spnas_phase", "1 for the phase that the search is in", ("run", "phase"))
        self.candidate_seconds = Gauge(
            "spnas_candidate_seconds", f"mean training time of the last {RECENT_CANDIDATES} candidates", ("run",)
        )
        self.worker_seconds = Counter(
            "spnas_worker_seconds", "time that a worker was busy, or idle", ("run", "worker", "state")
        )
        self.reignition_epoch = Gauge("spnas_reignition_epoch", "epochs done of a reignition; 0 without one", ("run",))
        self.reignition_images_per_second = Gauge(
            "spnas_reignition_images_per_second", "speed at which a reignition trains; 0 while none does", ("run",)
        )
        self.reignition_top1 = Gauge(
            "spnas_reignition_top1", "share of its last training images that a reignition classifies rightly", ("run",)
        )
        self.reignition_seconds_left = Gauge(
            "spnas_reignition_seconds_left", "time until a reignition's last step; 0 without one", ("run",)
        )
        self.journal_append_seconds = Histogram(
            "spnas_journal_append_seconds",
            "time until an append to the journal was durable",
            list(APPEND_S),
            ("run",),
        )


# Ray keeps a name once for a process, whatever runs in it.
_instruments = cache(Instruments)


class MetricsObserver:
    """Exports a run as it goes by."""

    def __init__(self, config: RunConfig, run: str, note: Callable[[str], None]) -> None:
        """Export under the name `run`.

        Args:
            config: what is searched.
            run: the run's name.
            note: told what keeps metrics from being exported.
        """
        self._metric = config.objective.metric
        self._run = one_line(run).encode("ascii", "backslashreplace").decode()  # Ray takes nothing else
        self._note = note
        self._has_complained = False
        self._told: Counter[str] = Counter()
        self._seconds: deque[float] = deque(maxlen=RECENT_CANDIDATES)
        self._appends: deque[float] = deque(maxlen=MOST_APPENDS)
        self._phases: set[str] = set()
        self._jobs: dict[str, Job | None] = {}
        self._progress: dict[str, Progress | None] = {}
        self._looked_at = 0.0

    def opened(self, history: History, resumed: bool) -> None:
        """Count what was told before; Ray is not up yet."""
        with self._harmlessly():
            members = history.state.population.values()
            self._told.update(member.outcome.status for member in members if member.job.role == "candidate")
            rows = history.trials.rows
            for row in rows.since(max(0, len(rows) - 2 * RECENT_CANDIDATES)):
                self._count_seconds(row["role"], row["seconds"])

    def told(self, history: History, record: Record) -> None:
        """Count an outcome."""
        with self._harmlessly():
            row = history.trials.rows[record["outcome"]["index"]]
            if row["role"] == "candidate":
                self._told[row["status"]] += 1
            self._count_seconds(row["role"], row["seconds"])
            self._export(history)

    def note(self, text: str) -> None:
        """Notes are no numbers."""

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Export what the workers do."""
        with self._harmlessly():
            now, before = time.monotonic(), self._jobs
            seconds = now - self._looked_at if before else 0.0
            self._jobs, self._progress, self._looked_at = dict(jobs), dict(progress), now
            self._export(history)
            for worker, job in jobs.items():
                # A look comes right after a job ends and before the next begins, so busy is who is so at either of two.
                state = "busy" if job is not None or before.get(worker) is not None else "idle"
                if seconds > 0:
                    tags = {"run": self._run, "worker": worker, "state": state}
                    _instruments().worker_seconds.inc(seconds, tags)

    def appended(self, seconds: float) -> None:
        """Take note of how long an append to the journal took; to be given to `Journal.on_append`."""
        self._appends.append(seconds)

    @contextmanager
    def _harmlessly(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is, a search is worth more than its dashboard
            if not self._has_complained:
                self._has_complained = True
                self._note(f"metrics are incomplete: {describe(error)}; the search goes on")

    def _count_seconds(self, role: str, seconds: float | None) -> None:
        if role == "candidate" and seconds is not None:
            self._seconds.append(seconds)

    def _export(self, history: History) -> None:
        """Set what may have changed; Ray exports it every few seconds."""
        instruments, state, run = _instruments(), history.state, {"run": self._run}
        at_work = {job.index for job in self._jobs.values() if job is not None}
        pending = [index for index, job in state.pending.items() if job.role == "candidate"]
        num_running = sum(index in at_work for index in pending)
        by_status = {"pending": len(pending) - num_running, "running": num_running}
        for status in ("completed", "failed"):
            by_status[status] = self._told[status]
        for status, count in by_status.items():
            instruments.candidates.set(count, run | {"status": status})
        if state.best_overall:
            instruments.best_score.set(state.best_overall.score, run | {"metric": self._metric})
        if state.baseline:
            instruments.baseline_score.set(state.baseline.score, run | {"metric": self._metric})
        instruments.stuck.set(state.counter, run)
        instruments.round.set(state.round, run)
        self._phases.add(state.phase)
        for phase in self._phases:
            instruments.phase.set(int(phase == state.phase), run | {"phase": phase})
        if self._seconds:
            instruments.candidate_seconds.set(sum(self._seconds) / len(self._seconds), run)
        reignition = self._reignition()
        instruments.reignition_epoch.set(_epochs_done(reignition) if reignition else 0, run)
        training = reignition if reignition is not None and reignition.phase == "training" else None
        instruments.reignition_images_per_second.set(training.images_per_second if training else 0, run)
        instruments.reignition_top1.set(training.top1 if training else 0, run)
        instruments.reignition_seconds_left.set(training.seconds_left if training else 0, run)
        while self._appends:
            instruments.journal_append_seconds.observe(self._appends.popleft(), run)

    def _reignition(self) -> Progress | None:
        """How far the reignition under way is; of a gang's workers one tells for all."""
        told = (self._progress.get(worker) for worker, job in self._jobs.items() if job and job.kind == "pretrain")
        return next((progress for progress in told if progress), None)


def _epochs_done(progress: Progress) -> float:
    return progress.num_epochs * progress.step / max(1, progress.num_steps)
