"""What workers did when, from the journal's records.

The journal says when an attempt was sent off and when its job was told, which is later than its end: outcomes are told
in the order of the jobs. The end is what the worker's clock says, where that lies between the two; else it follows
from how long the training took. Nobody saw the end of a lost attempt, so it is the latest time possible: when its job
or one of its workers was sent off again, or the driver's own end.

Invariant: no attempt ends before it starts, and those of one worker do not overlap.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.wording import one_line
from orchestrator.history import GANG_SEPARATOR
from orchestrator.journal import Record
from orchestrator.report.story import Attempt, FailureKind, Life, WorkerUse
from orchestrator.row_values import seconds_of

LOST_WORKER = "its worker was lost, or could not go on"
LOST_DRIVER = "the driver ended before it did"
NOT_NEEDED = "an earlier attempt had ended after all"

Key = tuple[int, int, int]
"""Job, attempt, epoch."""


@dataclass(slots=True)
class _Open:
    """An attempt as far as the records have told of it; `end` None while it may be at work."""

    key: Key
    workers: tuple[str, ...]
    start: float
    end: float | None = None
    outcome: str = "running"
    reason: str = ""


@dataclass(slots=True)
class _OpenLife:
    epoch: int
    begun_at: float
    last_at: float
    reason: str = ""
    has_ended: bool = False


@dataclass
class Timeline:
    """Follows the records.

    Attributes:
        last_at: the time of the newest record that has one.
    """

    last_at: float | None = None
    _attempts: dict[Key, _Open] = field(default_factory=dict)
    _by_job: dict[int, _Open] = field(default_factory=dict)
    _by_worker: dict[str, _Open] = field(default_factory=dict)
    _lives: list[_OpenLife] = field(default_factory=list)

    def apply(self, record: Record) -> None:
        """Take one record of the journal, which has been checked."""
        now = _time(record)
        if now is not None:
            self.last_at = now if self.last_at is None else max(self.last_at, now)
        match record["type"]:
            case "opened":
                self._opened(record, now)
            case "dispatched":
                self._dispatched(record, now)
            case "told":
                self._told(record, now)
            case "rejected":
                attempt = self._by_job.pop(record["index"], None)
                if attempt is not None:
                    attempt.outcome, attempt.end = "rejected", self._later(attempt, now)
            case "ended":
                life = self._life
                life.has_ended, life.reason = True, one_line(record["reason"])
        self._life.last_at = max(self._life.last_at, now or 0.0)

    @property
    def begun_at(self) -> float | None:
        """When the first driver opened the journal."""
        return self._lives[0].begun_at if self._lives and self._lives[0].begun_at else None

    def finish(self, now: float, runs: bool, roles: Mapping[int, str]) -> tuple[tuple[Attempt, ...], tuple[Life, ...]]:
        """All attempts and lives.

        Args:
            now: until when a driver that runs is looked at.
            runs: whether the last one does.
            roles: of the jobs.
        """
        last = self._lives[-1] if self._lives else None
        if last is not None and runs and not last.has_ended:
            now = max(now, last.last_at)
            last.last_at = now
        else:
            runs = False
        for attempt in self._attempts.values():
            if attempt.end is None:
                goes_on = runs and last is not None and attempt is self._by_job.get(attempt.key[0])
                attempt.end = max(attempt.start, last.last_at if last else attempt.start)
                if not goes_on:
                    attempt.outcome, attempt.reason = "lost", LOST_DRIVER
        attempts = tuple(
            Attempt(
                job=each.key[0],
                role=roles[each.key[0]],
                attempt=each.key[1],
                epoch=each.key[2],
                workers=each.workers,
                start=each.start,
                end=max(each.start, each.end or each.start),
                outcome=each.outcome,
                reason=each.reason,
            )
            for each in self._attempts.values()
        )
        lives = tuple(
            Life(
                epoch=life.epoch,
                begun_at=life.begun_at,
                ended_at=max(life.begun_at, life.last_at),
                reason=life.reason,
                runs=runs and life is last,
            )
            for life in self._lives
        )
        return attempts, lives

    @property
    def _life(self) -> _OpenLife:
        if not self._lives:
            self._lives.append(_OpenLife(1, 0.0, 0.0))
        return self._lives[-1]

    def _opened(self, record: Record, now: float | None) -> None:
        if self._lives:
            for attempt in self._by_job.values():
                if attempt.end is None:
                    attempt.end = max(attempt.start, self._life.last_at)
                    attempt.outcome, attempt.reason = "lost", LOST_DRIVER
        self._by_worker.clear()
        at = now if now is not None else (self.last_at or 0.0)
        epoch = max(map(int, record["previous"]), default=0) + 1  # logs that are empty count, too
        self._lives.append(_OpenLife(epoch, at, at))

    def _dispatched(self, record: Record, now: float | None) -> None:
        start = now if now is not None else (self.last_at or 0.0)
        index = record["index"]
        key = (index, record["attempt"], record.get("epoch", self._life.epoch))
        workers = tuple(one_line(name) for name in record["worker"].split(GANG_SEPARATOR))
        before = self._by_job.get(index)
        for lost in (before, *(self._by_worker.get(worker) for worker in workers)):
            if lost is None or lost.end is not None:
                continue
            if lost is before:
                lost.outcome, lost.reason = "lost", LOST_WORKER
            lost.end = max(lost.start, start)  # of another's job: it has ended, but is not told yet
        attempt = _Open(key, workers, start)
        self._attempts[key] = self._by_job[index] = attempt
        for worker in workers:
            self._by_worker[worker] = attempt

    def _told(self, record: Record, now: float | None) -> None:
        result, outcome = record["result"], record["outcome"]
        attempt = self._match(outcome["index"], result)
        if attempt is None:
            return
        attempt.outcome, attempt.reason = outcome["status"], one_line(outcome["error"])
        latest = now if attempt.end is None else attempt.end
        attempt.end = _end(attempt.start, latest, result)
        last = self._by_job.pop(outcome["index"], attempt)
        if last is not attempt and last.end is None:
            last.outcome, last.reason, last.end = "lost", NOT_NEEDED, self._later(last, now)

    def _match(self, index: int, result: Mapping[str, Any]) -> _Open | None:
        """The attempt that a result is of; it need not be the last, if that one's driver had gone."""
        epochs = [result["epoch"]] if result.get("epoch") else [life.epoch for life in reversed(self._lives)]
        keys = ((index, result["attempt"], epoch) for epoch in epochs)
        return next((self._attempts[key] for key in keys if key in self._attempts), self._by_job.get(index))

    @staticmethod
    def _later(attempt: _Open, now: float | None) -> float:
        return max(attempt.start, now if now is not None else attempt.start)


def _end(start: float, latest: float | None, result: Mapping[str, Any]) -> float:
    finished: float = result["finished_at"]
    if start <= finished <= (latest if latest is not None else finished):
        return finished
    end = start + seconds_of(result)
    return end if latest is None else max(start, min(end, latest))


def _time(record: Record) -> float | None:
    value = record.get("time")
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1e11 else None


def worker_uses(attempts: tuple[Attempt, ...], lives: tuple[Life, ...]) -> tuple[WorkerUse, ...]:
    """What became of each worker's time, in the order of their names."""
    busy: dict[str, float] = defaultdict(float)
    lost: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    present: dict[str, set[int]] = defaultdict(set)
    for attempt in attempts:
        for worker in attempt.workers:
            (lost if attempt.outcome == "lost" else busy)[worker] += attempt.end - attempt.start
            count[worker] += 1
            present[worker].add(attempt.epoch)
    lengths = {life.epoch: life.ended_at - life.begun_at for life in lives}
    return tuple(
        WorkerUse(
            name=name,
            num_attempts=count[name],
            busy_s=busy[name],
            lost_s=lost[name],
            idle_s=max(0.0, sum(lengths.get(epoch, 0.0) for epoch in present[name]) - busy[name] - lost[name]),
        )
        for name in sorted(count, key=_by_number)
    )


def _by_number(name: str) -> tuple[str, int]:
    head, _, tail = name.rpartition("-")
    return (head, int(tail)) if tail.isascii() and tail.isdigit() else (name, -1)


def failure_kinds(attempts: tuple[Attempt, ...]) -> tuple[FailureKind, ...]:
    """Failed and lost attempts by reason, the most frequent first."""
    jobs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for attempt in attempts:
        if attempt.outcome in ("failed", "lost"):
            jobs[attempt.outcome, attempt.reason].append(attempt.job)
    kinds = (FailureKind(what=what, reason=reason, jobs=tuple(found)) for (what, reason), found in jobs.items())
    return tuple(sorted(kinds, key=lambda kind: -len(kind.jobs)))
