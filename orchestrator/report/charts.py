"""What a search came to, as charts for print: trajectory, front, computation by stage, lineage, stuck counter.

Invariant: each function draws one figure of one story from nothing but that, within `style.style`.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from orchestrator.report.story import LineageStep, Story, Trial
from orchestrator.report.style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    LIGHT,
    MARKS,
    ORANGE,
    PURPLE,
    RASTER_FROM,
    RED,
    SERIES,
    SKY,
    mark_phases,
    new_figure,
    percent,
)

MAX_STEPS = 40
"""Rows of a lineage; what came before shares the first one."""

MAX_MORPHS = 4
"""Named in a row."""

LONG_SEARCH = 600
"""Candidates from which on no line joins them."""

LEGEND_SIZE = 9.0
"""Of a legend's points at least, in square points."""

PHASE_COLOURS = {"serial": SKY, "parallel": GREEN, "evolution": SKY}


def trajectory(story: Story) -> Figure:
    """Every job's score in the order of decision, and the best so far (SP-NAS, Figure 3)."""
    figure = new_figure(2.7)
    axes = figure.subplots()
    scored = [trial for trial in story.trials if trial.score is not None and trial.role != "final"]
    of_interest = "trial" if story.facts.algorithm == "trials" else "candidate"
    candidates = [trial for trial in scored if trial.role == of_interest]
    others = [trial for trial in scored if trial.role != of_interest]
    size = 9 if len(scored) < LONG_SEARCH else 2
    if len(candidates) < LONG_SEARCH and of_interest == "candidate":
        axes.plot(*_series(candidates), color=SKY, linewidth=0.5, zorder=1)
    dense = len(scored) > RASTER_FROM
    axes.scatter(*_series(candidates), s=size, color=SKY, linewidths=0, zorder=2, rasterized=dense, label=of_interest)
    if others:
        axes.scatter(
            *_series(others),
            s=size,
            facecolors="white",
            edgecolors=GREY,
            linewidths=0.5,
            zorder=2,
            rasterized=dense,
            label="start, control or repetition",
        )
    _best_so_far(axes, story)
    finals = [trial for trial in story.trials if trial.role == "final" and trial.score is not None]
    if finals:
        axes.scatter(*_series(finals), marker="*", s=55, color=PURPLE, linewidths=0, zorder=4, label="full training")
    for number, reignition in enumerate(story.reignitions):
        axes.axvline(reignition.pretrain, color=ORANGE, linestyle=(0, (4, 2)), label="" if number else "reignition")
    mark_phases(axes, story.phases)
    axes.set_xlim(-0.01 * len(story.trials) - 1, 1.01 * len(story.trials) + 1)
    axes.set_xlabel(f"job, in the order of decision{_limit(axes, story, scored, finals)}")
    axes.set_ylabel(f"{story.facts.metric} (%)")
    _legend_below(figure, axes)
    return figure


def _series(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    return [trial.index for trial in trials], [percent(trial.score or 0.0) for trial in trials]


def _best_so_far(axes: Axes, story: Story) -> None:
    told = [trial for trial in story.trials if trial.best_score is not None and trial.role != "final"]
    if not told:
        return
    scores = [percent(trial.best_score or 0.0) for trial in told]
    changed = [n for n, score in enumerate(scores) if n == 0 or score != scores[n - 1]]
    x = [told[n].index for n in changed] + [told[-1].index]
    y = [scores[n] for n in changed] + [scores[-1]]
    axes.plot(x, y, drawstyle="steps-post", color=RED, linewidth=1, zorder=3)
    axes.scatter(x[:-1], y[:-1], s=14, color=RED, linewidths=0, zorder=4, label="best so far")


def _limit(axes: Axes, story: Story, scored: Sequence[Trial], finals: Sequence[Trial]) -> str:
    """Leave room for what counts; a few trainings that came to nothing must not press all others together.

    Returns:
        How many are outside, in words.
    """
    sign = 1 if story.facts.maximize else -1  # from here on more is better
    values = np.array([sign * percent(trial.score or 0.0) for trial in scored])
    shown = np.concatenate([values, [sign * percent(trial.score or 0.0) for trial in finals]])
    low, high = np.quantile(values, 0.02), shown.max()
    low = min(low, *(sign * percent(trial.score or 0.0) for trial in scored if trial.is_baseline), values.max())
    margin = 0.05 * (high - low) or 0.5
    worst = low - margin
    axes.set_ylim(*sorted((sign * worst, sign * (high + margin))))
    num_outside = int((values < worst).sum())
    side = "below" if story.facts.maximize else "above"
    return f" ({num_outside} {side} {sign * worst:.1f} % not shown)" if num_outside else ""


def front(story: Story) -> Figure:
    """Accuracy against FLOPs, with the Pareto front of what the search has trained alike."""
    figure = new_figure(3.0, 4.6)
    axes = figure.subplots()
    scored = [trial for trial in story.trials if trial.score is not None and trial.role != "final"]
    dense = len(scored) > RASTER_FROM
    for number, phase in enumerate(dict.fromkeys(trial.phase for trial in scored)):
        of_phase = [trial for trial in scored if trial.phase == phase]
        axes.scatter(
            [trial.gflops for trial in of_phase],
            [percent(trial.score or 0.0) for trial in of_phase],
            s=8 if len(scored) < LONG_SEARCH else 2,
            marker=MARKS[number % len(MARKS)],
            color=PHASE_COLOURS.get(phase, LIGHT),
            linewidths=0,
            rasterized=dense,
            label=phase,
        )
    on_front = [story.trials[index] for index in story.front]
    if on_front:
        axes.plot(
            [trial.gflops for trial in on_front],
            [percent(trial.score or 0.0) for trial in on_front],
            drawstyle="steps-post",
            marker="o",
            markersize=2.5,
            color=RED,
            linewidth=1,
            label="front",
        )
    _name_points(axes, story)
    if scored and max(t.gflops for t in scored) > 10 * min(t.gflops for t in scored):
        axes.set_xscale("log")
    size = " × ".join(map(str, story.facts.image_size))
    axes.set_xlabel(f"GFLOPs at {size} pixels{_limit(axes, story, scored, [])}")
    axes.set_ylabel(f"{story.facts.metric} (%)")
    _legend_below(figure, axes)
    return figure


def _name_points(axes: Axes, story: Story) -> None:
    """The start's and the best's places."""
    best = story.best
    first = story.trials[story.networks[0].index] if story.networks else None
    for trial, name, mark in ((first, "start", "D"), (best, "best", "*")):
        if trial is None or trial.score is None or trial.role == "final" or (name == "start" and trial is best):
            continue
        place = (trial.gflops, percent(trial.score))
        axes.scatter(*place, marker=mark, s=70 if mark == "*" else 22, color=BLACK, linewidths=0, zorder=5)
        axes.annotate(name, place, xytext=(5, -9), textcoords="offset points", fontsize=7, zorder=5)


def computation(story: Story) -> Figure:
    """FLOPs of each part of the start and the bests, and their shares (SP-NAS, Figure 4b)."""
    networks = list({network.parts: network for network in story.networks}.values())  # of the same ones the last
    figure = new_figure(2.5)
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(part.name for network in networks for part in network.parts))
    names.sort(key=lambda name: _order(story, name))
    width = 0.8 / max(1, len(networks))
    for number, network in enumerate(networks):
        parts = {part.name: part for part in network.parts}
        x = np.arange(len(names)) + (number - (len(networks) - 1) / 2) * width
        serial = np.array([parts[name].serial_gflops if name in parts else 0.0 for name in names])
        beside = np.array([parts[name].parallel_gflops if name in parts else 0.0 for name in names])
        colour = SERIES[number % len(SERIES)]
        left.bar(x, serial, width * 0.92, color=colour, label=f"{network.name}, {network.gflops:.3g} GFLOPs")
        left.bar(x, beside, width * 0.92, bottom=serial, color="white", edgecolor=colour, hatch="//////", linewidth=0.6)
        right.bar(x, 100 * (serial + beside) / network.gflops, width * 0.92, color=colour)
    left.set_ylim(top=1.05 * max(p.serial_gflops + p.parallel_gflops for each in networks for p in each.parts))
    for axes, label in ((left, "GFLOPs"), (right, "share of GFLOPs (%)")):
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel(label)
        axes.tick_params(axis="x", length=0)
    if any(part.parallel_gflops for network in networks for part in network.parts):
        left.bar([0], [0], color="white", edgecolor=GREY, hatch="//////", linewidth=0.6, label="of subnets")
    _legend_below(figure, left)
    return figure


def _order(story: Story, name: str) -> tuple[int, float]:
    """The stem first, then by resolution, then what has none."""
    part = next(part for network in story.networks for part in network.parts if part.name == name)
    if name == "stem":
        return 0, 0.0
    return (2, 0.0) if part.stride is None else (1, part.stride)


def lineage(story: Story) -> Figure:
    """From the start to the best: what each step did to the network, and what it gained."""
    steps = list(story.lineage)
    left_out = max(0, len(steps) - MAX_STEPS)
    shown = steps[left_out:]
    figure = new_figure(0.6 + 0.17 * (len(shown) + bool(left_out)))
    axes = figure.subplots()
    labels = [f"{left_out} earlier steps"] if left_out else []
    if left_out:
        scores = [percent(step.score) for step in steps[:left_out] if step.score is not None]
        if scores:
            axes.barh(0, scores[-1] - scores[0], left=scores[0], height=0.62, color=LIGHT)
    for row, step in enumerate(shown, start=len(labels)):
        labels.append(_step_words(step))
        if step.score is None:
            continue
        score, gain = percent(step.score), percent(step.gain or 0.0)
        colour = BLUE if step.changes_network else LIGHT
        axes.barh(row, gain, left=score - gain, height=0.62, color=colour, zorder=2)
        axes.plot([score, score], [row - 0.31, row + 0.31], color=BLACK, linewidth=1, zorder=3)
        text = f"{score:.2f}" if step.gain is None else f"{score:.2f}  ({gain:+.2f})".replace("-", "−")
        axes.annotate(
            text, (max(score, score - gain), row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.5
        )
    for row in range(len(labels)):
        axes.axhline(row, color=FAINT, linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.02 * (high - low), high + 0.22 * (high - low))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{story.facts.metric} (%)")
    if any(step.changes_network for step in steps):
        handles = [Patch(color=BLUE, label="another network"), Patch(color=LIGHT, label="the same network, trained on")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _step_words(step: LineageStep) -> str:
    if step.changes_network:
        names = [each.morph.removesuffix("()").replace("_", " ") for each in step.morphs]
        more = f", {len(names) - MAX_MORPHS} more" if len(names) > MAX_MORPHS else ""
        return f"#{step.index} {', '.join(names[:MAX_MORPHS])}{more}"
    words = {"supernet": "super-net", "final": "full training", "candidate": "sample"}
    if step.role == "start" and step.phase == "parallel":
        return f"#{step.index} start of the parallel level"
    return f"#{step.index} {words.get(step.role, step.role)}"


def counter(story: Story) -> Figure:
    """Candidates without an improvement, and how many end a round (Algorithm 1)."""
    figure = new_figure(1.9)
    axes = figure.subplots()
    told = [trial for trial in story.trials if trial.counter is not None]
    values = [trial.counter or 0 for trial in told]
    axes.plot([trial.index for trial in told], values, drawstyle="steps-post", color=BLUE, linewidth=0.9)
    limits = story.facts.n_stuck
    for number, span in enumerate(span for span in story.phases if span.phase in limits):
        limit = limits[span.phase]
        if limit <= 3 * max(values, default=0):
            label = "" if number else "ends a round"
            axes.hlines(limit, span.first, span.last, color=RED, linestyle=(0, (4, 2)), linewidth=0.9, label=label)
    for number, reignition in enumerate(story.reignitions):
        label = "" if number else "reignition"
        axes.axvline(reignition.pretrain, color=ORANGE, linestyle=(0, (4, 2)), linewidth=0.9, label=label)
    mark_phases(axes, story.phases)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlim(-0.01 * len(story.trials) - 1, 1.01 * len(story.trials) + 1)
    axes.set_xlabel("job, in the order of decision")
    axes.set_ylabel("candidates without\nimprovement")
    _legend_below(figure, axes)
    return figure


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 5), handletextpad=0.4
        )
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):  # a long search's points are too small for a legend
                handle.set_sizes([max(LEGEND_SIZE, *handle.get_sizes())])
