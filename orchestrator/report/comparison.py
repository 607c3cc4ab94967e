"""Several runs beside each other: how good each was after how many candidates and how many GPU-hours.

Runs whose configs differ in nothing but the seed (and in what a run may go on with another value of, such as the number
of workers) are a group: their mean and standard deviation say what the search does, not what one seed does.

Invariant: a curve is a step function: from a point on, the best so far is the point's, until the next. A group's band
is made only where every run of it has a value: from the first outcome of the slowest, to where the first unfinished one
has come; a run that is complete keeps its best.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.config_files import differences, may_change, read_config
from orchestrator.errors import UserError
from orchestrator.report.reading import read_story
from orchestrator.report.story import RunFacts, Story

MAX_POINTS = 400
"""Of a band; more can't be told apart."""

MAX_KEYS = 3
"""Of a config, in a group's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The search's best from here on.

    Attributes:
        candidates: told so far.
        hours: spent so far, on everything; see `RunFacts.hour_name`.
        score: the best; full trainings don't count, being longer than what the search compares.
    """

    candidates: int
    hours: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run.

    Attributes:
        name: what it is called here; no other curve's.
        facts: what it is.
        points: where the best changed, and where the search stood last.
        is_complete: whether the search is over, not only stopped.
        full_score: the best of its full trainings, None if there is none.
    """

    name: str
    facts: RunFacts
    points: tuple[Point, ...]
    is_complete: bool
    full_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Mean and standard deviation of a group along one axis; empty where the runs have nothing in common.

    Attributes:
        x: candidates or hours, rising.
        mean: of the runs' best there.
        deviation: the sample standard deviation; 0 of a single run.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ in their seeds alone.

    Attributes:
        name: what sets it apart from the others: its algorithm, or keys of its config, ``serial.acceptance=paired``.
        curves: indices of its runs, by seed.
        by_candidates: its band over candidates.
        by_hours: its band over hours.
    """

    name: str
    curves: tuple[int, ...]
    by_candidates: Band
    by_hours: Band


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs with one objective.

    Attributes:
        metric: the objective's.
        maximize: whether more of it is better.
        hour_name: what hours count.
        curves: in the order given.
        groups: in the order of their first runs.
    """

    metric: str
    maximize: bool
    hour_name: str
    curves: tuple[Curve, ...]
    groups: tuple[Group, ...]


def compare_runs(runs: Sequence[str], now: float | None = None) -> Comparison:
    """Read runs and put them beside each other.

    Args:
        runs: their addresses.
        now: as in `read_story`.

    Raises:
        UserError: if one can't be read, or their objectives differ.
    """
    return compare([read_story(run, now) for run in runs])


def compare(stories: Sequence[Story]) -> Comparison:
    """Put runs beside each other.

    Raises:
        UserError: if their objectives differ, one is given twice, or hours don't count the same.
    """
    first = stories[0].facts
    for story in stories[1:]:
        facts = story.facts
        if (facts.metric, facts.maximize) != (first.metric, first.maximize):
            raise UserError(
                f"run {facts.address}: its objective is {_objective(facts)}, that of {first.address} is "
                f"{_objective(first)}; compare runs with one objective"
            )
        if facts.hour_name != first.hour_name:
            raise UserError(
                f"run {facts.address}: its time counts in {facts.hour_name}, that of {first.address} in "
                f"{first.hour_name}; compare runs with GPUs, or runs without"
            )
    addresses = [story.facts.address for story in stories]
    twice = next((address for address in addresses if addresses.count(address) > 1), None)
    if twice is not None:
        raise UserError(f"run {twice}: is given twice; give each run once")
    names = _names([story.facts for story in stories])
    curves = tuple(_curve(name, story) for name, story in zip(names, stories, strict=True))
    return Comparison(
        metric=first.metric,
        maximize=first.maximize,
        hour_name=first.hour_name,
        curves=curves,
        groups=tuple(_groups(curves)),
    )


def _objective(facts: RunFacts) -> str:
    return f"{'most' if facts.maximize else 'least'} {facts.metric}"


def _names(facts: Sequence[RunFacts]) -> list[str]:
    """The runs' own names where those differ, else as much of the address as tells them apart."""
    names = [each.name for each in facts]
    if len(set(names)) == len(names):
        return names
    parts = [each.address.split("/") for each in facts]
    for length in range(2, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _curve(name: str, story: Story) -> Curve:
    points: list[Point] = []
    candidates, last = 0, None
    for trial in story.trials:
        if not trial.is_told or trial.role == "final":
            continue
        candidates += trial.role == "candidate"
        assert trial.hours is not None
        if trial.best_score is not None:
            last = Point(candidates=candidates, hours=trial.hours, score=trial.best_score)
            if not points or points[-1].score != last.score:
                points.append(last)
    if last is not None and points[-1] != last:
        points.append(last)
    finals = [trial.score for trial in story.trials if trial.role == "final" and trial.score is not None]
    best = max if story.facts.maximize else min
    return Curve(
        name=name,
        facts=story.facts,
        points=tuple(points),
        is_complete=story.facts.state == "ended" and all(trial.is_told for trial in story.trials),
        full_score=best(finals) if finals else None,
    )


def _groups(curves: Sequence[Curve]) -> list[Group]:
    configs = [read_config(curve.facts.config_yaml, f"config of {curve.name}") for curve in curves]
    members: list[list[int]] = []
    for index, config in enumerate(configs):
        same = [group for group in members if not _deviations(configs[group[0]], config)]
        if same:
            same[0].append(index)
        else:
            members.append([index])
    names = _group_names([configs[group[0]] for group in members])
    groups = []
    for name, group in zip(names, members, strict=True):
        of_group = [curves[index] for index in group]
        groups.append(
            Group(
                name=name,
                curves=tuple(sorted(group, key=lambda index: (configs[index].seed, index))),
                by_candidates=_band(of_group, lambda point: point.candidates),
                by_hours=_band(of_group, lambda point: point.hours),
            )
        )
    return groups


def _deviations(one: RunConfig, other: RunConfig) -> dict[str, tuple[object, object]]:
    """What sets two configs apart, but for the seed and what may change in one run."""
    pairs = differences(one, other).items()
    return {key: pair for key, pair in pairs if key != "seed" and not may_change(key)}


def _group_names(configs: Sequence[RunConfig]) -> list[str]:
    """What sets each group apart from the others: its algorithm, and keys that differ among those of one algorithm."""
    several = len({config.algorithm for config in configs}) > 1
    names = []
    for config in configs:
        alike = [other for other in configs if other.algorithm == config.algorithm]
        apart = [_deviations(alike[0], other) for other in alike]
        before = {key: pair[0] for each in apart for key, pair in each.items()}
        own = {key: pair[1] for key, pair in _deviations(alike[0], config).items()}
        words = [f"{key}={own.get(key, value)}" for key, value in sorted(before.items())[:MAX_KEYS]]
        names.append(one_line(" ".join([config.algorithm] * (several or not words) + words)))
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return names


def _band(curves: Sequence[Curve], axis: Callable[[Point], float]) -> Band:
    """Mean and deviation where all of the curves are."""
    lines = [[(axis(point), point.score) for point in curve.points] for curve in curves]
    if not all(lines):
        return Band(x=(), mean=(), deviation=())
    going_on = [line[-1][0] for line, curve in zip(lines, curves, strict=True) if not curve.is_complete]
    low, high = max(line[0][0] for line in lines), min(going_on) if going_on else max(line[-1][0] for line in lines)
    x = sorted({low, high, *(at for line in lines for at, _ in line if low < at < high)}) if low <= high else []
    x = x[:: -(-len(x) // MAX_POINTS)] + x[-1:] if len(x) > MAX_POINTS else x
    scores = [[_value(line, at) for line in lines] for at in x]
    return Band(
        x=tuple(x),
        mean=tuple(map(fmean, scores)),
        deviation=tuple(stdev(each) if len(each) > 1 else 0.0 for each in scores),
    )


def _value(line: Sequence[tuple[float, float]], at: float) -> float:
    """A step function's value."""
    return line[bisect_right(line, at, key=lambda point: point[0]) - 1][1]
