"""What the page's scripts draw from: a story in columns, small enough for 10,000 candidates.

Invariant: the text that `embedded` gives can stand within any HTML element and ends none: it has none of ``<``, ``>``
and ``&``.
"""

import json
from collections.abc import Iterable
from typing import Any

from orchestrator.report.comparison import Band, Comparison
from orchestrator.report.story import Attempt, Story, Trial

DIGITS = 9
"""Of scores and times: enough that to round them again shows what the score itself would."""

Json = dict[str, Any]


def embedded(value: object) -> str:
    """A value as JSON that HTML takes for nothing else."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def payload(story: Story) -> Json:
    """All that the scripts need of a run."""
    facts = story.facts
    return {
        "metric": facts.metric,
        "maximize": facts.maximize,
        "hourName": facts.hour_name,
        "stuck": facts.n_stuck,
        "trials": _trials(story.trials),
        "phases": [
            {"name": span.name, "phase": span.phase, "first": span.first, "last": span.last} for span in story.phases
        ],
        "reignitions": [{"pretrain": each.pretrain, "refresh": each.refresh} for each in story.reignitions],
        "front": story.front,
        "start": story.start.index if story.start else None,
        "best": story.best.index if story.best else None,
        "attempts": _attempts(story.attempts),
        "workers": [worker.name for worker in story.workers],
        "lives": [{"begun": life.begun_at, "ended": life.ended_at} for life in story.lives],
    }


def compared(comparison: Comparison, num_hues: int) -> Json:
    """All that the scripts need of runs beside each other; groups take `num_hues` colours in turn."""
    return {
        "metric": comparison.metric,
        "hourName": comparison.hour_name,
        "hues": num_hues,
        "curves": [
            {
                "name": curve.name,
                "seed": curve.facts.seed,
                "candidates": [point.candidates for point in curve.points],
                "hours": [round(point.hours, DIGITS) for point in curve.points],
                "score": [round(point.score, DIGITS) for point in curve.points],
            }
            for curve in comparison.curves
        ],
        "groups": [
            {
                "name": group.name,
                "curves": group.curves,
                "candidates": _band(group.by_candidates),
                "hours": _band(group.by_hours),
            }
            for group in comparison.groups
        ],
    }


def _band(band: Band) -> Json:
    return {
        "x": [_rounded(x) for x in band.x],
        "mean": [_rounded(mean) for mean in band.mean],
        "deviation": [_rounded(deviation) for deviation in band.deviation],
    }


def coded(values: Iterable[str]) -> Json:
    """A column of text, each different one once."""
    codes: dict[str, int] = {}
    column = [codes.setdefault(value, len(codes)) for value in values]
    return {"names": list(codes), "codes": column}


def _trials(trials: tuple[Trial, ...]) -> Json:
    names = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    text = ("kind", "role", "phase", "architecture", "recipe", "seed", "status", "worker", "error", "notes")
    numbers = ("score", "best_score", "hours", "seconds", "finished_at", "gflops")
    whole = ("index", "round", "parent", "backbone", "parameters", "attempts", "peak_memory_bytes", "counter")
    flags = ("is_baseline", "is_best", "on_front")
    return {
        **{name: coded(getattr(trial, name) for trial in trials) for name in text},
        **{name: [_rounded(getattr(trial, name)) for trial in trials] for name in numbers},
        **{name: [getattr(trial, name) for trial in trials] for name in whole},
        **{name: [int(getattr(trial, name)) for trial in trials] for name in flags},
        "morphs": coded(" ".join(trial.morphs) for trial in trials),
        "metricNames": names,
        "metrics": [[_rounded(trial.metrics.get(name)) for name in names] for trial in trials],
    }


def _attempts(attempts: tuple[Attempt, ...]) -> Json:
    """One row for each attempt on each worker."""
    rows = [(attempt, worker) for attempt in attempts for worker in attempt.workers]
    return {
        "job": [attempt.job for attempt, _ in rows],
        "attempt": [attempt.attempt for attempt, _ in rows],
        "start": [round(attempt.start, 2) for attempt, _ in rows],
        "end": [round(attempt.end, 2) for attempt, _ in rows],
        "role": coded(attempt.role for attempt, _ in rows),
        "outcome": coded(attempt.outcome for attempt, _ in rows),
        "reason": coded(attempt.reason for attempt, _ in rows),
        "worker": coded(worker for _, worker in rows),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
