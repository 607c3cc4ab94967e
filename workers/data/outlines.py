"""COCO's segmentations, as flat numbers until the mask of one box is asked for.

A segmentation is a list of polygons, each x, y, x, y, ... in pixels, or runs (`counts` of `size`), column by column,
that alternate from background to object: numbers, or COCO's letters for them (pycocotools, common/maskApi.c).

Invariant: what `sound` says can be made a mask of the image's size, the very one of pycocotools' annToMask as long as
no coordinate is farther out than the image is large. Those that are, are cut there, so that no number in a file decides
how much memory is used.
"""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from workers.data.interface import Mask

MIN_NUMBERS = 6  # of a polygon: three corners
MAX_LETTERS = 7  # of one run, which is below 2^31


class Outlines:
    """The segmentations of a file's annotations, in their order."""

    def __init__(self) -> None:
        """None so far."""
        self._points = array("d")  # as pycocotools has them: fewer digits round other pixels in
        self._ends = array("q", [0])  # of each polygon in `_points`
        self._firsts = array("q")  # of each row, in `_ends`
        self._runs: dict[int, tuple[int, int, array[int]]] = {}  # height, width and runs of those that are runs

    def add(self, raw: Any) -> None:
        """Keep the next segmentation; what can't be read counts as none."""
        self._firsts.append(len(self._ends) - 1)
        if isinstance(raw, dict):
            runs = runs_of(raw)
            if runs is not None:
                self._runs[len(self._firsts) - 1] = runs
        elif isinstance(raw, list):
            for polygon in raw:
                self._add_polygon(polygon)

    def _add_polygon(self, polygon: Any) -> None:
        if not isinstance(polygon, list) or len(polygon) < MIN_NUMBERS or len(polygon) % 2:
            return
        try:
            self._points.extend(polygon)
        except (TypeError, OverflowError):
            del self._points[self._ends[-1] :]
            return
        self._ends.append(len(self._points))

    def sound(self, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the segmentations can be made masks; bool [rows].

        Args:
            sizes: int64 [rows, 2], width and height of each one's image, or 0 where that is not known yet.
        """
        firsts = np.append(np.frombuffer(self._firsts, dtype=np.int64), len(self._ends) - 1)
        found = np.diff(firsts) > 0
        points, ends = np.frombuffer(self._points, dtype=np.float64), np.frombuffer(self._ends, dtype=np.int64)
        for place in np.flatnonzero(~np.isfinite(points)).tolist():
            polygon = np.searchsorted(ends, place, side="right") - 1
            found[np.searchsorted(firsts, polygon, side="right") - 1] = False
        for row, (height, width, _) in self._runs.items():
            found[row] = sizes[row].tolist() in ([width, height], [0, 0])
        return found

    def mask(self, row: int, height: int, width: int) -> Mask:
        """The mask of a sound one in an image of this size.

        Raises:
            ValueError: where its runs are for an image of another size.
        """
        if row in self._runs:
            own_height, own_width, runs = self._runs[row]
            if (own_height, own_width) != (height, width):
                raise ValueError(
                    f"a segmentation of {own_width} x {own_height} pixels in an image of {width} x {height}"
                )
            encoded = run_lengths.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
        else:
            first, last = self._firsts[row], (*self._firsts[row + 1 : row + 2], len(self._ends) - 1)[0]
            polygons = [
                np.clip(
                    np.array(self._points[self._ends[one] : self._ends[one + 1]]).reshape(-1, 2),
                    (-width, -height),
                    (2 * width, 2 * height),
                )
                for one in range(first, last)
            ]
            encoded = run_lengths.merge(
                run_lengths.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
            )
        return Mask(size=[height, width], counts=encoded["counts"])


def runs_of(raw: dict[str, Any]) -> tuple[int, int, "array[int]"] | None:
    """Height, width and runs, if they fill that size."""
    try:
        height, width = raw["size"]
        counts = raw["counts"]
        runs = array("I", _from_letters(counts.encode()) if isinstance(counts, str) else counts)
        if (
            isinstance(height, int)
            and isinstance(width, int)
            and min(height, width) > 0
            and sum(runs) == height * width
        ):
            return height, width, runs
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        pass
    return None


def _from_letters(letters: bytes) -> list[int]:
    """The runs that letters stand for: five bits each, the lowest first, with a sign; from the fourth on differences.

    Raises:
        ValueError: where they stand for none.
    """
    bits = np.frombuffer(letters, dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(bits & 32 == 0)
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or not len(last) or last[-1] != len(bits) - 1:
        raise ValueError("no runs")
    starts = np.append(0, last[:-1] + 1)
    lengths = last - starts + 1
    if lengths.max() > MAX_LETTERS:
        raise ValueError("a run without end")
    shifts = 5 * (np.arange(len(bits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((bits & 31) << shifts, starts)
    values -= np.where(bits[last] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return [int(value) for value in values]
