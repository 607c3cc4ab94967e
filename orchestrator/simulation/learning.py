"""What a run that has been says of the next one: how long its trainings took, and what came between them.

Invariant: the run is only read; a simulation of the same run by what is learned has its times on average.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import GANG_SEPARATOR, History
from orchestrator.journal import Journal, Record
from orchestrator.row_values import seconds_of
from orchestrator.runs import storage_of, stored_config
from orchestrator.search.protocol import Job
from orchestrator.simulation.durations import Durations, Images, Pace, images_of
from orchestrator.simulation.fleet import Delays
from orchestrator.simulation.luck import FADING, Chances
from workers.run_folder import RunFolder

LEAST_COSTS = 3
"""Networks of different costs without which no slope can be told."""

PRIOR = 5
"""Candidates that the usual chance of an improvement weighs; a short run without one does not rule it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a run has taught.

    Attributes:
        pace: of its devices in all trainings.
        paces: in those of a kind with a batch size.
        chances: of failures, losses and improvements, and how much times differ.
        delays: between its trainings.
        num_trainings: that all this is from.
    """

    pace: Pace
    paces: Mapping[tuple[str, int], Pace]
    chances: Chances
    delays: Delays
    num_trainings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """An attempt that was told.

    Attributes:
        job: its job.
        worker: that did it, the first of several.
        num_nodes: how many did it together.
        place: among all attempts that this worker was sent, those that were lost and those it helped with, too.
        driver: which of the run's drivers told it.
        decided_at: when its job was; all times are in seconds since 1970.
        dispatched_at: when it was sent off.
        finished_at: when its training ended.
        seconds: how long that took.
        is_whole: whether it is completed and went on from no earlier one.
        num_attempts: at the job, this one and those before it.
        status: of its outcome.
    """

    job: Job
    worker: str
    num_nodes: int
    place: int
    driver: int
    decided_at: float
    dispatched_at: float
    finished_at: float
    seconds: float
    is_whole: bool
    num_attempts: int
    status: str

    @property
    def started_at(self) -> float:
        """When its training began."""
        return self.finished_at - self.seconds


@dataclass
class _Reader:
    """Gathers a journal's attempts."""

    attempts: list[_Attempt] = field(default_factory=list)
    opened_at: list[float] = field(default_factory=list)
    baselines: set[int] = field(default_factory=set)
    _decided: dict[int, Record] = field(default_factory=dict)
    _dispatched: dict[int, tuple[int, int, Record]] = field(default_factory=dict)
    _num_sent: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))

    def take(self, history: History, record: Record) -> None:
        """Take a record that the history has followed."""
        match record["type"]:
            case "opened":
                self.opened_at.append(record.get("time", 0.0))
            case "decided":
                self._decided[record["job"]["index"]] = record
            case "dispatched":
                driver, workers = len(self.opened_at), record["worker"].split(GANG_SEPARATOR)
                for worker in workers:
                    self._num_sent[driver, worker] += 1
                self._dispatched[record["index"]] = driver, self._num_sent[driver, workers[0]], record
            case "told":
                self._told(history, record)

    def _told(self, history: History, record: Record) -> None:
        result, outcome, baseline = record["result"], record["outcome"], record["state"]["baseline"]
        index = outcome["index"]
        if baseline is not None:  # which may be an earlier job, once that is confirmed
            self.baselines.add(baseline["index"])
        decided = self._decided.pop(index)
        driver, place, dispatched = self._dispatched.pop(index, (0, 0, {}))
        if not dispatched.get("time"):
            return  # nothing is known of when it was
        workers = dispatched["worker"].split(GANG_SEPARATOR)
        self.attempts.append(
            _Attempt(
                job=history.state.population[index].job,
                worker=workers[0],
                num_nodes=len(workers),
                place=place,
                driver=driver,
                decided_at=decided["time"],
                dispatched_at=dispatched["time"],
                finished_at=result["finished_at"],
                seconds=seconds_of(result),
                is_whole=outcome["status"] == "completed" and result["attempt"] == 0,
                num_attempts=dispatched["attempt"] + 1,
                status=outcome["status"],
            )
        )


def learn(run: str, seed: int) -> Learned:
    """Learn from a run.

    Args:
        run: its address.
        seed: of the chances.

    Raises:
        UserError: if it is none, or no training of it is completed.
    """
    storage = storage_of(run)
    config = stored_config(RunFolder(storage))
    reader = _Reader()
    History.fold(config, Journal(storage), reader.take)
    whole = [attempt for attempt in reader.attempts if attempt.is_whole and attempt.seconds > 0]
    if not whole:
        raise UserError(f"--like: {run} has no completed training to learn from; name a run that has come further")
    images, _ = images_of(config)
    fitted = _Fit(config, images, whole)
    return Learned(
        pace=fitted.pace,
        paces=fitted.paces,
        chances=_chances(reader, seed, fitted.spread),
        delays=_delays(reader),
        num_trainings=len(whole),
    )


class _Fit:
    """Paces that a run's times tell."""

    def __init__(self, config: RunConfig, images: Images, attempts: list[_Attempt]) -> None:
        durations = Durations(config, images, Pace())
        points: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        for attempt in attempts:
            job, training = attempt.job, config.recipe(attempt.job.recipe)
            devices = config.fleet.devices_per_worker * attempt.num_nodes
            device_s = attempt.seconds * devices / durations.num_images(job.kind, training)
            points[job.kind, training.batch_size].append((durations.gmacs(job.kind, job.spec), device_s))
        self.pace = _pace([point for some in points.values() for point in some])
        self.paces = {what: _pace(some) for what, some in points.items()}
        rests = [
            [log(device_s / self.paces[what].seconds(gmacs)) for gmacs, device_s in some]
            for what, some in points.items()
        ]
        self.spread = (
            pstdev(rest for some in rests if len(some) > 1 for rest in some) if max(map(len, rests)) > 1 else 0
        )


def _pace(points: list[tuple[float, float]]) -> Pace:
    """The affine pace through (10^9 multiply-adds, seconds); where none of both parts is negative."""
    costs, times = np.array(points).T
    if len(set(costs.tolist())) >= LEAST_COSTS:
        slope, constant = np.polyfit(costs, times, 1)
        if slope >= 0 and constant >= 0:
            return Pace(per_image_s=float(constant), per_gmac_s=float(slope))
        if slope < 0:
            return Pace(per_image_s=float(times.mean()))
    return Pace(per_gmac_s=float(times.sum() / costs.sum()))


def _chances(reader: _Reader, seed: int, spread: float) -> Chances:
    candidates = [attempt for attempt in reader.attempts if attempt.job.role == "candidate"]
    completed = [attempt for attempt in candidates if attempt.status == "completed"]
    values: dict[str, Any] = {}
    if candidates:
        values["failure"] = 1 - len(completed) / len(candidates)
    if completed and reader.baselines:  # other searches' candidates become none
        num_better = sum(attempt.job.index in reader.baselines for attempt in completed)
        # The k-th improvement takes (1 + k / FADING) / improvement candidates on average.
        tries = num_better + num_better * (num_better - 1) / (2 * FADING)
        usual = Chances().improvement
        values["improvement"] = min(1.0, (tries + usual * PRIOR) / (len(completed) + PRIOR))
    return Chances(seed=seed, spread=spread, loss=_losses(reader), **values)


def _losses(reader: _Reader) -> float:
    """The share of attempts that were lost, in a run of a single driver: those of others are lost with it."""
    num_attempts = sum(attempt.num_attempts for attempt in reader.attempts)
    return 0.0 if len(reader.opened_at) > 1 else 1 - len(reader.attempts) / num_attempts


def _delays(reader: _Reader) -> Delays:
    """What came between two trainings of one worker, where the next was there to be sent off already."""
    by_worker: dict[tuple[int, str], list[_Attempt]] = defaultdict(list)
    for attempt in sorted(reader.attempts, key=lambda each: each.started_at):
        by_worker[attempt.driver, attempt.worker].append(attempt)
    gaps = [
        after.started_at - before.finished_at
        for attempts in by_worker.values()
        for before, after in zip(attempts, attempts[1:], strict=False)
        if after.decided_at <= before.finished_at and after.place == before.place + 1
    ]
    lags = [attempt.started_at - attempt.dispatched_at for attempt in reader.attempts]
    values = {"job_s": max(0.0, fmean(gaps or lags))}
    starts = [
        min(each.started_at for each in reader.attempts if each.driver == number) - opened
        for number, opened in enumerate(reader.opened_at, start=1)
        if opened and any(each.driver == number for each in reader.attempts)
    ]
    if starts:
        values["start_s"] = max(0.0, fmean(starts) - values["job_s"])
    return Delays(**values)
