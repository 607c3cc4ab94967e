"""What ``spnas simulate`` does: a forecast of a config, and of what it comes to with other values of `in_flight`.

Invariant: nothing is started and nothing is written; a run that is learned from is only read.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.errors import UserError
from orchestrator.live.wording import duration
from orchestrator.simulation.durations import Durations, Images, Pace, images_of, published_pace
from orchestrator.simulation.fleet import Delays, FromCosts
from orchestrator.simulation.forecast import Assumptions, Forecast, simulate
from orchestrator.simulation.learning import learn
from orchestrator.simulation.luck import Chances

NEARLY = 0.97
"""A share of the busiest nodes' work that is as good as all of it."""

NUM_SEEDS, MANY_JOBS = 5, 2000
"""Seeds that are compared, unless a run has so many jobs that this would take long."""

LONGEST_S = 1000.0
"""Seconds that an image may take, by an asked pace; far more, and times are beyond what tables hold."""

MULTIPLES = (1, 2, 4)
"""Of the nodes: the values of `in_flight` that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a user asks.

    Attributes:
        path: the config's file.
        overrides: ``key.path=value``.
        nodes: workers to simulate; None: the config's.
        in_flight: values to compare; none: the config's and some multiples of the nodes.
        losses_per_100_jobs: nodes that are lost; None: as the run that is learned from, or none.
        seed: of chance.
        like: a run to learn from.
        pace: of each device, ``12`` images a second with the start network, or ``2.5TFLOPS``.
    """

    path: Path
    overrides: Sequence[str] = ()
    nodes: int | None = None
    in_flight: Sequence[int] = ()
    losses_per_100_jobs: float | None = None
    seed: int = 0
    like: str | None = None
    pace: str | None = None


def answer(question: Question) -> Iterator[Table | str]:
    """What there is to show, part by part as it is found.

    Raises:
        UserError: for what the user got wrong.
    """
    changes = {} if question.nodes is None else {"fleet.num_workers": question.nodes}
    config = load_config(question.path, question.overrides, changes)
    images, notes = images_of(config)
    assumptions, about = _assumptions(question, config, images)
    yield from notes
    yield from about
    values = _values_of_in_flight(question, config)
    first = simulate(_with_in_flight(config, values[0]), assumptions)
    yield _parts_table(first)
    yield from _totals(first)
    num_seeds = 1 if first.num_jobs > MANY_JOBS else NUM_SEEDS
    forecasts = {values[0]: [first]} | {value: [] for value in values[1:]}
    for value, some in forecasts.items():
        for number in range(len(some), num_seeds):
            some.append(simulate(_with_in_flight(config, value), _with_seed(assumptions, number)))
    if num_seeds > 1:
        yield from _spread(forecasts[values[0]])
    if len(values) > 1 and any(forecast.num_candidates for some in forecasts.values() for forecast in some):
        yield _comparison(forecasts)
        yield _advice(forecasts)


def _assumptions(question: Question, config: RunConfig, images: Images) -> tuple[Assumptions, list[str]]:
    """What is taken for granted, and what to say of it."""
    chances, delays = Chances(seed=question.seed), Delays()
    if question.like is not None and question.pace is not None:
        raise UserError(f"--pace: {question.pace!r}, but --like has the pace from {question.like}; leave one out")
    if question.like is not None:
        learned = learn(question.like, question.seed)
        chances, delays = learned.chances, learned.delays
        durations = Durations(config, images, learned.pace, learned.paces)
        about = f"as in {question.like}, from {learned.num_trainings} trainings"
    elif question.pace is not None:
        pace = _asked_pace(question.pace, Durations(config, images, Pace()))
        durations, about = Durations(config, images, pace), f"{question.pace} for each device, as asked for"
    else:
        pace, about = published_pace(config)
        durations = Durations(config, images, pace)
    if question.losses_per_100_jobs is not None:
        chances = replace(chances, loss=question.losses_per_100_jobs / 100)
    lines = [
        f"pace: {about}",
        f"chance, from seed {question.seed}: times differ by {100 * chances.spread:.0f} %, {100 * chances.loss:.3g} of "
        f"100 jobs lose their node, which is replaced after {duration(delays.replacement_s)}, "
        f"{100 * chances.failure:.3g} of 100 candidates fail, {100 * chances.improvement:.3g} are better than their "
        f"parent; {delays.job_s:.2g} s between two trainings, {delays.start_s:.0f} s to start",
    ]
    return Assumptions(times=FromCosts(durations), chances=chances, delays=delays, begins_at=time.time()), lines


def _asked_pace(text: str, durations: Durations) -> Pace:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(images/s|TFLOPS|TFLOP/s)?\s*", text, re.IGNORECASE)
    start = durations.gmacs("train_detector", durations.config.start.spec)
    if match is not None and 0 < (rate := float(match[1])) < 1e9:
        is_tflops = match[2] is not None and match[2].upper().startswith("TFLOP")
        pace = Pace.of_tflops(rate) if is_tflops else Pace(per_gmac_s=1 / (rate * start))
        if pace.seconds(start) <= LONGEST_S:
            return pace
    raise UserError(
        f"--pace: {text!r} is no pace of a device; give images a second with the start network, such as 12, or "
        f"operations a second, such as 2.5TFLOPS; an image may take {LONGEST_S:g} s"
    )


def _values_of_in_flight(question: Question, config: RunConfig) -> list[int]:
    """The values to simulate, the first one in full; 0 where there is nothing to choose."""
    if config.algorithm != "spnas":
        if question.in_flight:
            raise UserError(f"--in-flight: {config.algorithm} has no in_flight; leave it out")
        return [0]
    if question.in_flight:
        return list(dict.fromkeys(question.in_flight))
    own = config.serial.in_flight
    return [own, *sorted({multiple * config.fleet.num_workers for multiple in MULTIPLES} - {own})]


def _with_seed(assumptions: Assumptions, number: int) -> Assumptions:
    return replace(assumptions, chances=replace(assumptions.chances, seed=assumptions.chances.seed + number))


def _with_in_flight(config: RunConfig, value: int) -> RunConfig:
    if not value:
        return config
    parallel = config.parallel and config.parallel.model_copy(update={"in_flight": value})
    serial = config.serial.model_copy(update={"in_flight": value})
    return config.model_copy(update={"serial": serial, "parallel": parallel})


def _parts_table(forecast: Forecast) -> Table:
    """Where the time goes."""
    table = _table("phase", "jobs", "time", "share")
    for name, part in forecast.parts.items():
        share = part.seconds / forecast.seconds
        table.add_row(name, str(part.num_jobs), duration(part.seconds), f"{100 * share:.1f} %")
    return table


def _totals(forecast: Forecast) -> Iterator[str]:
    fleet, tally = forecast.config.fleet, forecast.tally
    device = "GPU" if fleet.gpus_per_worker else "CPU"
    yield f"ends: {forecast.reason}"
    yield (
        f"{duration(forecast.seconds)} on {fleet.num_workers} nodes of {fleet.devices_per_worker} {device}s: "
        f"{forecast.device_days:.1f} {device}-days, {100 * forecast.utilisation:.1f} % of them in training that counts"
    )
    yield (
        f"{forecast.num_jobs} jobs, {forecast.num_candidates} of them candidates; {tally.num_lost} attempts lost with "
        f"their node, {duration(tally.repeated_s)} of one node's training repeated"
    )
    if forecast.num_jobs:
        job_s = forecast.driver_s / forecast.num_jobs
        yield (
            f"the driver itself took {1e3 * job_s:.2g} ms of processor time for a job, without Ray's share; trainings "
            f"of under {fleet.num_workers * job_s:.2g} s on {fleet.num_workers} nodes would be more than it can follow"
        )


def _spread(forecasts: list[Forecast]) -> Iterator[str]:
    """How forecasts with several seeds differ."""
    times = sorted(forecast.seconds for forecast in forecasts)
    least, middle, most = times[0], median(times), times[-1]
    yield f"with {len(times)} seeds: {duration(least)} to {duration(most)}, {duration(middle)} in the middle"
    stopped = [forecast for forecast in forecasts if forecast.is_stopped]
    if stopped:
        yield f"{len(stopped)} of them {stopped[0].reason}"


def _comparison(forecasts: dict[int, list[Forecast]]) -> Table:
    """What other values come to, in the middle of all seeds."""
    table = _table("in_flight", "time", "candidates", "nodes busy with them", "of older baselines")
    for value, some in sorted(forecasts.items()):
        late = median(forecast.num_late / max(1, forecast.num_candidates) for forecast in some)
        table.add_row(
            str(value),
            duration(_time(some)),
            f"{median(forecast.num_candidates for forecast in some):.0f}",
            f"{100 * _busy(some):.1f} %",
            f"{100 * late:.0f} %",
        )
    return table


def _advice(forecasts: dict[int, list[Forecast]]) -> str:
    """Which value to take, and why."""
    most = max(map(_busy, forecasts.values()))
    value = min(value for value, some in forecasts.items() if _busy(some) >= NEARLY * most)
    if forecasts[value][0].config.serial.paired:
        more = "makes generations longer"
    else:
        more = "has more candidates grow from a baseline that is old by then"
    advice = (
        f"take in_flight {value}: the least that keeps nodes busy for {100 * _busy(forecasts[value]):.1f} % of the "
        f"candidates' time, of at most {100 * most:.1f} %; a larger one {more}"
    )
    fastest = min(forecasts, key=lambda each: (_time(forecasts[each]), each))
    if fastest == value:
        return advice
    return (
        f"{advice}. The search ends soonest with {fastest}, after {duration(_time(forecasts[fastest]))} in place of "
        f"{duration(_time(forecasts[value]))}"
    )


def _busy(forecasts: list[Forecast]) -> float:
    return median(forecast.busy for forecast in forecasts)


def _time(forecasts: list[Forecast]) -> float:
    return median(forecast.seconds for forecast in forecasts)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "phase" else "right", overflow="fold")
    return table
