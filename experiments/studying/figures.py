"""How studies draw what they have found.

Invariant: all figures share the colours and marks of `orchestrator.report.style`, an arm's by its place among the arms;
the same results give the same file.
"""

import io
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.style import BLACK, LIGHT, MARKS, SERIES, style

ARM, SEED = "arm", "seed"
"""Columns of tidy results: which arm of the study a row is of, and which seed."""


def curves(axes: Axes, results: pd.DataFrame, x: str, y: str) -> None:
    """A line for each arm: the mean of its seeds, in a band of their standard deviation; a thin line for each seed.

    Args:
        axes: to draw on.
        results: rows of `ARM`, `SEED`, `x` and `y`; a seed that ends before others do has to be carried on by its
            study, else the mean is of those that are left.
        x: the column of the horizontal axis, and its label.
        y: the column of the vertical axis, and its label.
    """
    for name, colour, _, rows in _arms(results):
        seeds = rows.groupby(SEED)
        for _, seed in seeds if len(seeds) > 1 else ():
            line = seed.sort_values(x)
            axes.plot(line[x], line[y], color=colour, linewidth=0.5, alpha=0.5)
        over = rows.groupby(x)[y].agg(["mean", "std"])
        axes.fill_between(
            over.index, over["mean"] - over["std"], over["mean"] + over["std"], color=colour, alpha=0.18, linewidth=0
        )
        axes.plot(over.index, over["mean"], color=colour, linewidth=1.6, label=name)
    _label(axes, x, y)


def dots(axes: Axes, results: pd.DataFrame, y: str) -> None:
    """A column for each arm: a dot for each seed and a bar at their mean; a thin line joins what has the same seed.

    Args:
        axes: to draw on.
        results: rows of `ARM`, `SEED` and `y`, one for each seed of an arm.
        y: the column of the vertical axis, and its label.
    """
    arms = list(_arms(results))
    place = {name: number for number, (name, *_) in enumerate(arms)}
    for _, rows in results.groupby(SEED):
        joined = rows.assign(place=rows[ARM].map(place)).sort_values("place")
        axes.plot(joined["place"], joined[y], color=LIGHT, linewidth=0.6, zorder=1)
    for name, colour, mark, rows in arms:
        axes.scatter([place[name]] * len(rows), rows[y], s=16, color=colour, marker=mark, linewidths=0, zorder=2)
        axes.hlines(rows[y].mean(), place[name] - 0.25, place[name] + 0.25, color=BLACK, linewidth=1.2, zorder=3)
    axes.set_xticks(range(len(arms)), [name.replace("-", "-\n") for name in place])
    axes.set_xlim(-0.5, len(arms) - 0.5)
    axes.set_ylabel(y)


def bars(axes: Axes, results: pd.DataFrame, x: str, y: str) -> None:
    """A group of bars for each value of `x`, such as a stage; in it one for each arm: the mean, and its deviation.

    Args:
        axes: to draw on.
        results: rows of `ARM`, `x` and `y`, any number for each bar.
        x: the column of the groups, and the axis' label.
        y: the column of the heights, and the axis' label.
    """
    groups, arms = sorted(results[x].unique()), list(_arms(results))
    width = 0.8 / max(1, len(arms))
    for number, (name, colour, _, rows) in enumerate(arms):
        heights = rows.groupby(x)[y].agg(["mean", "std"]).reindex(groups)
        places = np.arange(len(groups)) + (number - (len(arms) - 1) / 2) * width
        around = heights["std"].fillna(0)
        axes.bar(places, heights["mean"], width, color=colour, label=name, yerr=around, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(groups)), [str(group) for group in groups])
    _label(axes, x, y)


def points(axes: Axes, results: pd.DataFrame, x: str, y: str) -> None:
    """A point for each row, such as a network by two scores.

    Args:
        axes: to draw on.
        results: rows of `ARM`, `x` and `y`.
        x: the column of the horizontal axis, and its label.
        y: the column of the vertical axis, and its label.
    """
    for name, colour, mark, rows in _arms(results):
        axes.scatter(rows[x], rows[y], s=16, color=colour, marker=mark, linewidths=0, label=name)
    _label(axes, x, y)


def legend(figure: Figure) -> None:
    """Name the arms below the figure, each once, however many of its axes show it."""
    named: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(handles=list(named.values()), labels=list(named), loc="outside lower center", ncols=4)


def svg(figure: Figure) -> bytes:
    """A figure as the bytes of its file, with neither date nor chance in them."""
    data = io.BytesIO()
    with style():
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _arms(results: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Name, colour, mark and rows of each arm, in the order in which they come."""
    for number, name in enumerate(results[ARM].unique()):
        colour, mark = SERIES[number % len(SERIES)], MARKS[number % len(MARKS)]
        yield str(name), colour, mark, results[results[ARM] == name]


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
