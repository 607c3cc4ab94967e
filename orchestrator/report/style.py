"""How figures for print look.

Invariant: the colours can be told apart by those who can't tell red from green (Okabe and Ito's), and in print without
colours by their marks; the same story gives the same file.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.story import PhaseSpan

BLUE, SKY, GREEN, ORANGE, RED, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
BLACK, GREY, LIGHT, FAINT = "#222222", "#8A8A8A", "#C9C9C9", "#F1F1F1"
SERIES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKS = "osD^vPX"

WIDTH = 7.0
"""Of a figure, in inches: that of a paper's page between its margins."""

RASTER_FROM = 3000
"""Marks from which on they are stored as pixels within the vector file."""

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": BLACK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "spnas",
    "savefig.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Within it, figures are made and saved."""
    with matplotlib.rc_context(_SETTINGS):  # type: ignore[arg-type]
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def percent(score: float) -> float:
    """A score as it is drawn."""
    return 100 * score


def mark_phases(axes: Axes, phases: Sequence[PhaseSpan]) -> None:
    """Shade every other phase and name those that have the room, above the axes; x counts jobs."""
    if len(phases) < 2:
        return
    whole = phases[-1].last + 1
    for number, span in enumerate(phases):
        share = (span.last + 1 - span.first) / whole
        if number % 2 and share > 0.01:
            axes.axvspan(span.first - 0.5, span.last + 0.5, color=FAINT, linewidth=0, zorder=0)
        name = next((text for text in (span.name, span.name.split()[-1]) if 0.011 * len(text) < share), "")
        axes.annotate(
            name,
            ((span.first + span.last) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
            color=GREY,
        )
