"""Several runs beside each other, for print.

Invariant: each run is a thin line, each group of seeds a thick one with its band; a group of one run has no band.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from orchestrator.report.comparison import Band, Comparison, Group, Point
from orchestrator.report.style import SERIES, new_figure, percent

LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("solid", (0, (5, 1)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def by_candidates(comparison: Comparison) -> Figure:
    """The best so far over the candidates that were tried."""
    return _overlaid(comparison, "candidates", lambda point: point.candidates, lambda group: group.by_candidates)


def by_hours(comparison: Comparison) -> Figure:
    """The best so far over the time that was spent."""
    return _overlaid(comparison, comparison.hour_name, lambda point: point.hours, lambda group: group.by_hours)


def _overlaid(
    comparison: Comparison, label: str, axis: Callable[[Point], float], band_of: Callable[[Group], Band]
) -> Figure:
    figure = new_figure(2.9, 4.6)
    axes = figure.subplots()
    for number, group in enumerate(comparison.groups):
        colour, line, band = SERIES[number % len(SERIES)], LINES[number // len(SERIES) % len(LINES)], band_of(group)
        single = len(group.curves) == 1
        for index in group.curves:
            points = comparison.curves[index].points
            x, y = [axis(point) for point in points], [percent(point.score) for point in points]
            name = comparison.curves[index].name if single else None
            width, alpha = (1.4, 1.0) if single else (0.5, 0.6)
            axes.plot(
                x, y, drawstyle="steps-post", color=colour, linestyle=line, linewidth=width, alpha=alpha, label=name
            )
        if single or not band.x:
            continue
        mean = [percent(value) for value in band.mean]
        around = [percent(value) for value in band.deviation]
        low = [value - spread for value, spread in zip(mean, around, strict=True)]
        high = [value + spread for value, spread in zip(mean, around, strict=True)]
        axes.fill_between(band.x, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
        text = f"{group.name}: mean ± s.d. of {len(group.curves)} seeds"
        axes.plot(band.x, mean, drawstyle="steps-post", color=colour, linestyle=line, linewidth=1.6, label=text)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.set_ylabel(f"best {comparison.metric} so far (%)")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if max(map(len, labels)) > 30 else 3)
    return figure
