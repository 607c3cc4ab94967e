"""The report as one HTML file that needs nothing but a browser.

Templates say what is where, `payload` what the scripts draw from. Scripts and styles are inlined, and the page's own
security policy names each by its digest: nothing else can run or be fetched.

Invariant: whatever a run's folder holds reaches the page as text only, through the templates' escaping or as JSON.
"""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report import wording
from orchestrator.report.comparison import Comparison, Curve, Group
from orchestrator.report.detections import Detections, Picture
from orchestrator.report.drawing import draw
from orchestrator.report.library import chart_library
from orchestrator.report.payload import compared, embedded, payload
from orchestrator.report.story import Story, Trial, WorkerUse

HERE = Path(__file__).parent
COMMON_SCRIPTS = ("common.js", "chart.js")
NUM_HUES = 6
FILTERS = ("percent", "points", "giga", "count", "duration", "when", "place", "seen")
RUN_SCRIPTS = (*COMMON_SCRIPTS, "details.js", "charts.js", "table.js")


def report_page(story: Story, detections: Detections | None = None) -> str:
    """The page of one run.

    Args:
        story: the run.
        detections: of its start and its best, if they are to be shown.
    """
    drawings = [draw(network, story.facts.image_size) for network in story.networks]
    stage_rows = _stage_rows(story)
    gain = wording.gain_of(story.lineage)
    scored = [trial for trial in story.trials if trial.score is not None]
    shows = {
        "charts": len(scored) > 1,
        "counter": len({trial.counter for trial in story.trials} - {None}) > 1,
        "detections": detections is not None,
    }
    metric_names, metric_rows = _metric_rows(story)
    return _page(
        "run.html",
        payload(story),
        RUN_SCRIPTS,
        facts=story.facts,
        contents=list(_contents(story, shows)),
        state=wording.state_in_words(story.facts),
        tiles=_tiles(story, gain),
        guide=list(wording.reading_guide(story)),
        metric_names=metric_names,
        metric_rows=metric_rows,
        has_charts=shows["charts"],
        has_counter=shows["counter"],
        front=story.front,
        drawings=drawings,
        stage_rows=stage_rows,
        largest=max((c["serial"] + c["parallel"] for row in stage_rows for c in row["cells"] if c), default=1.0) or 1.0,
        lineage=story.lineage,
        gain=gain,
        good=lambda value: (value > 0) == story.facts.maximize,
        attempts=story.attempts,
        lives=story.lives,
        workers=[_use(worker) for worker in story.workers],
        failures=story.failures,
        detections=detections,
        config_uri=_data_uri("application/yaml", story.facts.config_yaml.encode()),
        made_at=story.facts.made_at,
    )


def comparison_page(comparison: Comparison, made_at: float) -> str:
    """The page of several runs.

    Args:
        comparison: they.
        made_at: seconds since 1970.
    """
    hue = {curve: number for number, group in enumerate(comparison.groups) for curve in group.curves}
    runs = [_run_row(curve, comparison.groups[hue[index]], hue[index]) for index, curve in enumerate(comparison.curves)]
    groups = [_group_row(group, comparison, number) for number, group in enumerate(comparison.groups)]
    return _page(
        "comparison.html",
        compared(comparison, NUM_HUES),
        (*COMMON_SCRIPTS, "comparison.js"),
        title=f"{len(runs)} runs compared",
        comparison=comparison,
        runs=runs,
        groups=groups,
        made_at=made_at,
    )


def _page(template: str, data: object, scripts: tuple[str, ...], **values: Any) -> str:
    style = _asset("page.css")
    sources = [chart_library(), *map(_asset, scripts)]
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_digest(style)}; script-src {' '.join(map(_digest, sources))}"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            version=version("spnas"),
            style=Markup(style),
            scripts=[Markup(source) for source in sources],
            data=Markup(embedded(data)),
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in FILTERS} | {"data_uri": _picture_uri}
    return environment


@cache
def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text("utf-8")


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _picture_uri(picture: Picture) -> str:
    return _data_uri(picture.media_type, picture.data)


def _contents(story: Story, shows: dict[str, bool]) -> list[tuple[str, str]]:
    sections = [
        ("overview", "Overview", True),
        ("trajectory", "Trajectory", shows["charts"]),
        ("costs", "Cost", shows["charts"]),
        ("architecture", "Architecture", bool(story.networks)),
        ("lineage", "Lineage", len(story.lineage) > 1),
        ("counter", "Counter", shows["counter"]),
        ("workers", "Workers", bool(story.attempts)),
        ("failures", "Failures", True),
        ("detections", "Detections", shows["detections"]),
        ("candidates", "Table", True),
        ("config", "Config", True),
    ]
    return [(name, title) for name, title, is_there in sections if is_there]


def _tiles(story: Story, gain: wording.Gain | None) -> list[dict[str, str]]:
    facts, best, told = story.facts, story.best, [trial for trial in story.trials if trial.is_told]
    tiles = []
    if best is not None:
        judged = story.lineage[-1].score if story.lineage else best.score
        tiles.append(_tile(f"best {facts.metric}", wording.percent(judged), f"job #{best.index}"))
    if gain is not None:
        against = "the start" if gain.is_start else f"job #{gain.since}"
        tiles.append(_tile(f"against {against}", wording.points(gain.total), "points"))
    if best is not None:
        start = story.start
        more = f"start {wording.giga(start.gflops)}" if start and start.index != best.index else ""
        tiles.append(_tile("GFLOPs", wording.giga(best.gflops), more))
    failed = sum(trial.status == "failed" for trial in told)
    pending = len(story.trials) - len(told)
    jobs = ", ".join([f"{failed} failed"] * bool(failed) + [f"{pending} pending"] * bool(pending))
    tiles.append(_tile("jobs told", wording.count(len(told)), jobs or f"{len(story.phases)} phases and rounds"))
    tiles.append(_tile(facts.hour_name, f"{facts.hours:,.1f}", f"on {facts.num_workers} workers"))
    if story.lives:
        elapsed = sum(life.ended_at - life.begun_at for life in story.lives)
        drivers = f"{len(story.lives)} drivers" if len(story.lives) > 1 else f"from {wording.when(facts.begun_at)}"
        tiles.append(_tile("at work for", wording.duration(elapsed), drivers))
    return tiles


def _tile(name: str, value: str, more: str) -> dict[str, str]:
    return {"name": name, "value": value, "more": more}


def _metric_rows(story: Story) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Of start and best, or of the last job that has any."""
    trials = {trial.index: trial for trial in story.trials}
    shown: dict[str, Trial] = {}
    if story.start is not None:
        shown["start"] = trials[story.start.index]
    if story.best is not None:
        shown["best"] = story.best
    measured = [trial for trial in story.trials if trial.metrics]
    if len({trial.index for trial in shown.values()}) < 2 and measured:
        shown = {f"job #{measured[-1].index}": measured[-1]}
    names = list(dict.fromkeys(name for trial in shown.values() for name in trial.metrics))
    return list(shown), [(name, [trial.metrics.get(name) for trial in shown.values()]) for name in names]


def _stage_rows(story: Story) -> list[dict[str, Any]]:
    """One for each part that any of the networks has, in their order; a cell for each network."""
    names = list(dict.fromkeys(part.name for network in story.networks for part in network.parts))
    names.sort(key=lambda name: max(_position(name, [p.name for p in network.parts]) for network in story.networks))
    rows = []
    for name in names:
        parts = [next((part for part in network.parts if part.name == name), None) for network in story.networks]
        cells = [part and {"serial": part.serial_gflops, "parallel": part.parallel_gflops} for part in parts]
        rows.append({"name": name, "cells": cells})
    return rows


def _position(name: str, names: list[str]) -> int:
    return names.index(name) if name in names else -1


def _use(worker: WorkerUse) -> dict[str, Any]:
    total = worker.busy_s + worker.lost_s + worker.idle_s or 1.0
    shares, before = [], 0.0
    for kind, seconds in (("busy", worker.busy_s), ("lost", worker.lost_s)):
        shares.append((kind, seconds / total, before))
        before += seconds / total
    return {
        "name": worker.name,
        "num_attempts": worker.num_attempts,
        "shares": shares,
        "busy_s": worker.busy_s,
        "lost_s": worker.lost_s,
        "idle_s": worker.idle_s,
    }


def _run_row(curve: Curve, group: Group, hue: int) -> dict[str, Any]:
    first, last = (curve.points[0], curve.points[-1]) if curve.points else (None, None)
    return {
        "curve": curve,
        "group": group.name,
        "hue": hue % NUM_HUES,
        "first": first and first.score,
        "last": last and last.score,
        "gain": last.score - first.score if first and last else None,
        "candidates": last.candidates if last else 0,
        "state": "complete" if curve.is_complete else wording.STATES[curve.facts.state],
    }


def _group_row(group: Group, comparison: Comparison, hue: int) -> dict[str, Any]:
    """Of the best that each run has come to; what is not finished counts with what it has."""
    scores = [points[-1].score for index in group.curves if (points := comparison.curves[index].points)]
    return {
        "name": group.name,
        "hue": hue % NUM_HUES,
        "num_runs": len(group.curves),
        "mean": fmean(scores) if scores else None,
        "deviation": stdev(scores) if len(scores) > 1 else None,
    }
