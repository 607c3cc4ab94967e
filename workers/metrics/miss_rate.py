"""The log-average miss rate (LAMR) of EuroCity Persons' benchmark.

Conventions (``match.py``, ``params.py``, ``utils.py``, ``statistics.py`` and ``eval.py`` of the official evaluation,
github.com/SomeNeurons/ECPB; Braun et al., The EuroCity Persons Dataset, section 4):

- Four subsets by an object's height in pixels and by how much of it is occluded or truncated: see `SUBSETS`. An
  object outside the subset is ignored. Heights at a bound are inside; an occlusion or truncation of the upper bound is
  outside, an occlusion of the lower bound inside.
- Detections are left out that are of another class, or not higher than the least height / 1.25, or, where there is a
  greatest height, at least as high as that * 1.25.
- In each image detections choose by falling score, ties in the order of the file. Each takes the free object that
  counts and overlaps it most, the last of several, at an overlap (IoU) of at least 0.5, and is right. Only if there is
  none it looks for an ignored object or region likewise, and then counts neither way; ignored ones are never used up.
  Else it is wrong. Of a region the overlap is the share of the detection that lies in it.
- Over all images detections are sorted by falling score, ties in the order of the images. The miss rate is read at
  nine rates of false positives per image, evenly spaced in the logarithm from 0.01 to 1: at each that of the last
  detection whose rate is at most that, and 1 where there is none. The result is the exponential of the mean of the
  logarithms, a miss rate of less than 1e-10 counting as 1e-10.
- Where no object counts there is no miss rate (the official tool prints nan), unless there is no detection that counts
  either: then it is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COUNTS, IGNORED, REGION = 0, 1, 2  # what an object is to a detection
MIN_OVERLAP = 0.5
MARGIN = 1.25  # of a detection's height around the bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Which objects count: heights in pixels, occlusion and truncation as shares, from 0 to 1."""

    min_height: float
    max_height: float | None = None
    min_occlusion: float = 0
    below_occlusion: float


SUBSETS = {
    "reasonable": Subset(min_height=40, below_occlusion=0.4),
    "small": Subset(min_height=30, max_height=60, below_occlusion=0.4),
    "occluded": Subset(min_height=40, min_occlusion=0.4, below_occlusion=0.8),
    "all": Subset(min_height=20, below_occlusion=0.8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOfClass:
    """What bears on one class in one image.

    Attributes:
        objects: float64 [N, 4], x1, y1, x2, y2, ends excluded; all that may count or be ignored.
        roles: int [N], `COUNTS`, `IGNORED` or `REGION`; what counts is ignored where it is outside the subset.
        occlusion: float [N], the share that is hidden; of a tag such as ``occluded>40`` 0.4.
        truncation: float [N], the share outside the image, likewise.
        found: float64 [M, 4], the detections of the class.
        scores: float64 [M].
    """

    objects: Floats
    roles: NDArray[np.int64]
    occlusion: NDArray[np.floating]
    truncation: NDArray[np.floating]
    found: Floats
    scores: Floats


def log_average_miss_rate(images: Sequence[ImageOfClass], subset: Subset) -> float | None:
    """The miss rate over all images, or None where no object counts."""
    scores, right = [np.zeros(0)], [np.zeros(0, dtype=np.bool_)]
    num_objects = 0
    for image in images:
        roles = _roles(image, subset)
        num_objects += int((roles == COUNTS).sum())
        kept = np.flatnonzero(_is_judged(image.found, subset))
        ranked = kept[np.argsort(-image.scores[kept], kind="stable")]
        hits = _match(image.found[ranked], image.objects, roles)
        scores.append(image.scores[ranked][hits != IGNORED])
        right.append(hits[hits != IGNORED] == COUNTS)
    ranking = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(right)[ranking]
    if not num_objects and len(hit):
        return None
    return _log_average(np.cumsum(hit), np.cumsum(~hit), num_objects, len(images))


def _log_average(right: NDArray[np.int64], wrong: NDArray[np.int64], num_objects: int, num_images: int) -> float:
    rates = wrong / max(num_images, 1)
    missed = []
    for most in np.power(10, np.linspace(-2, 0, 9)):
        num_within = int(np.searchsorted(rates, most, side="right"))
        missed.append(1 - right[num_within - 1] / num_objects if num_within else 1.0)
    return float(np.exp(np.mean(np.log(np.maximum(1e-10, missed)))))


def _roles(image: ImageOfClass, subset: Subset) -> NDArray[np.int64]:
    """What each object is to a detection, within the subset."""
    heights = image.objects[:, 3] - image.objects[:, 1]
    outside = (
        (heights < subset.min_height)
        | (image.occlusion >= subset.below_occlusion)
        | (image.truncation >= subset.below_occlusion)
        | (image.occlusion < subset.min_occlusion)
    )
    if subset.max_height is not None:
        outside |= heights > subset.max_height
    return np.where((image.roles == COUNTS) & outside, IGNORED, image.roles)


def _is_judged(found: Floats, subset: Subset) -> NDArray[np.bool_]:
    """Which detections have a height that the subset looks at."""
    heights = found[:, 3] - found[:, 1]
    kept: NDArray[np.bool_] = heights > subset.min_height / MARGIN
    if subset.max_height is not None:
        kept &= heights < subset.max_height * MARGIN
    return kept


def _match(found: Floats, objects: Floats, roles: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each detection, the best first: `COUNTS` for a right one, `IGNORED` for neither, -1 for a wrong one."""
    hits = np.full(len(found), -1, dtype=np.int64)
    if not len(found) or not len(objects):
        return hits
    overlaps = _overlaps(found, objects, roles == REGION)
    hits[(overlaps[:, roles != COUNTS] >= MIN_OVERLAP).any(axis=1)] = IGNORED
    taken: set[int] = set()
    reached: dict[int, list[int]] = {}
    for index, chosen in np.argwhere((overlaps >= MIN_OVERLAP) & (roles == COUNTS)).tolist():
        reached.setdefault(index, []).append(chosen)
    for index, candidates in reached.items():  # by falling score
        free = [chosen for chosen in candidates if chosen not in taken]
        if free:
            taken.add(max(free, key=lambda chosen: (overlaps[index, chosen], chosen)))
            hits[index] = COUNTS
    return hits


def _overlaps(found: Floats, objects: Floats, is_region: NDArray[np.bool_]) -> Floats:
    """[M, N]: intersection over union, or over the detection where the object is a region; 0 where they don't meet.

    The sums are in the official tool's order, so that the last digit is its own.
    """
    low, high = np.minimum(objects[:, :2], objects[:, 2:]), np.maximum(objects[:, :2], objects[:, 2:])
    sides = np.minimum(found[:, None, 2:], high) - np.maximum(found[:, None, :2], low)
    shared = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    only_found = (found[:, 3] - found[:, 1]) * (found[:, 2] - found[:, 0])
    only_object = (high[:, 1] - low[:, 1]) * (high[:, 0] - low[:, 0])
    beyond = only_found[:, None] - shared
    united = np.where(is_region, beyond + shared, shared + beyond + (only_object - shared))
    return np.divide(shared, united, out=np.zeros_like(shared), where=shared > 0)


def miss_rates(images: Sequence[ImageOfClass]) -> dict[str, float | None]:
    """The miss rate of every subset."""
    return {name: log_average_miss_rate(images, subset) for name, subset in SUBSETS.items()}
