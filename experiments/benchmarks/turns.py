"""Measuring by turns, and what a benchmark has to say.

Invariant: the figures that make a ratio were measured one right after the other.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of a benchmark's table.

    Attributes:
        what: is measured.
        measured: the figure, with its spread where there are several.
        asked: what it should be; "" where nothing is asked for.
    """

    what: str
    measured: str
    asked: str = ""


def by_turns(measures: Mapping[str, Callable[[], float]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Measure each in turn, again and again.

    Args:
        measures: each measures once and gives its figure.
        repeats: how many figures are kept of each.
        warm_up: rounds that come first and do not count.
    """
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(warm_up + repeats):
        for name, measure in measures.items():
            figure = measure()
            if number >= warm_up:
                figures[name].append(figure)
    return figures


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Of the figures of each turn."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """The median, and from where to where the values go."""
    return (
        f"{statistics.median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"
        if len(values) > 1
        else f"{values[0]:.{digits}f}{unit}"
    )
