"""Pascal VOC's average precision at an overlap of one half, as the challenge's development kit computes it.

Conventions (``VOCcode/VOCevaldet.m`` and ``VOCap.m`` of the kit; the copies github.com/npinto/VOCdevkit and
github.com/weiliu89/VOCdevkit, and py-faster-rcnn's ``xVOCap.m`` for the area):

- Boxes include both corners: a width is xmax - xmin + 1.
- A class's detections are judged by falling score, ties in their order. Each looks at the one object of its class that
  overlaps it most (the first of several), whether it is free or not. At an overlap of at least 0.5 it is right if the
  object is free, and wrong if another detection has it; a difficult object takes any number, which count neither way.
  py-faster-rcnn's and detectron2's translations ask for more than 0.5 and so differ where the overlap is just that.
- 11-point (VOC2007): the mean of the best precision at recalls of at least 0, 0.1, ..., 1. In floating point these are
  multiples of 0.1, as in the translations that papers have used (py-faster-rcnn, detectron2, mmdetection), so that a
  recall of 3 in 10, 3 in 5 or 7 in 10 falls short of its own, as 3 * 0.1 is 0.30000000000000004.
- Area (from 2010 on): the area under the curve of precision made monotone.
- A class without an object that counts has no score and no part in the mean.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_OVERLAP = 0.5
RECALLS = tuple(number * 0.1 for number in range(11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """The objects of one class in all images.

    Attributes:
        images: int [N], the image of each.
        boxes: float64 [N, 4], xmin, ymin, xmax, ymax, both included.
        difficult: bool [N].
    """

    images: NDArray[np.int64]
    boxes: Floats
    difficult: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The detections of one class in all images, in the order by which ties are broken.

    Attributes:
        images: int [M], the image of each.
        boxes: float64 [M, 4], xmin, ymin, xmax, ymax, both included.
        scores: float64 [M].
    """

    images: NDArray[np.int64]
    boxes: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PascalScores:
    """AP50 of one class, both ways; or the means over classes."""

    eleven_point: float
    area: float


def pascal_scores(objects: Objects, found: Found) -> PascalScores | None:
    """The scores of a class, or None where no object counts."""
    num_objects = int((~objects.difficult).sum())
    if not num_objects:
        return None
    ranking = np.argsort(-found.scores, kind="stable")
    right, wrong = _judge(objects, found.images[ranking], found.boxes[ranking])
    true, false = np.cumsum(right, dtype=np.float64), np.cumsum(wrong, dtype=np.float64)
    recall = true / num_objects
    precision = true / np.maximum(true + false, np.finfo(np.float64).eps)  # nothing counts before the first that does
    return PascalScores(eleven_point=_eleven_point(recall, precision), area=_area(recall, precision))


def mean_scores(scores: Iterable[PascalScores | None]) -> PascalScores | None:
    """The means over the classes that have scores, or None where none has."""
    known = [one for one in scores if one is not None]
    if not known:
        return None
    return PascalScores(
        eleven_point=float(np.mean([one.eleven_point for one in known])),
        area=float(np.mean([one.area for one in known])),
    )


def _judge(objects: Objects, images: NDArray[np.int64], boxes: Floats) -> tuple[Flags, Flags]:
    """Which detections, the best first, are right and which are wrong; those on difficult objects are neither."""
    nearest = np.full(len(boxes), -1)
    by_image = np.argsort(images, kind="stable")
    for members in np.split(by_image, np.flatnonzero(np.diff(images[by_image])) + 1):
        if not len(members):
            continue
        there = np.flatnonzero(objects.images == images[members[0]])
        if len(there):
            overlaps = _overlaps(boxes[members], objects.boxes[there])
            reaches = overlaps.max(axis=1) >= MIN_OVERLAP
            nearest[members] = np.where(reaches, there[overlaps.argmax(axis=1)], -1)
    on_object = nearest >= 0
    counts = on_object & ~objects.difficult[nearest]
    right = np.zeros(len(boxes), dtype=np.bool_)
    right[np.flatnonzero(counts)[np.unique(nearest[counts], return_index=True)[1]]] = True
    return right, ~on_object | (counts & ~right)


def _overlaps(found: Floats, objects: Floats) -> Floats:
    """Intersection over union, [M, N]; 0 where boxes don't meet."""
    low = np.maximum(found[:, None, :2], objects[None, :, :2])
    high = np.minimum(found[:, None, 2:], objects[None, :, 2:])
    sides = high - low + 1
    shared = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    united = _areas(found)[:, None] + _areas(objects)[None] - shared
    return np.divide(shared, united, out=np.zeros_like(shared), where=shared > 0)


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return areas


def _eleven_point(recall: Floats, precision: Floats) -> float:
    return sum(float(precision[recall >= least].max(initial=0.0)) for least in RECALLS) / len(RECALLS)


def _area(recall: Floats, precision: Floats) -> float:
    recalls: Floats = np.concatenate(([0.0], recall, [1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([0.0], precision, [0.0]))[::-1])[::-1]
    steps = np.flatnonzero(recalls[1:] != recalls[:-1]) + 1
    return float(np.sum((recalls[steps] - recalls[steps - 1]) * envelope[steps]))
