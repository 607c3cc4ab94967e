"""Measures of detectors, as fractions from 0 to 1."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.data.interface import Target
from workers.metric_names import LAMR, MetricFamily, head_class
from workers.metrics.average_precision import Detections, average_precision, stored_boxes
from workers.metrics.miss_rate import COUNTS, IGNORED, REGION, ImageOfClass, miss_rates
from workers.metrics.pascal import Found, Objects, mean_scores, pascal_scores


def measure(
    family: MetricFamily, targets: Sequence[Target], detections: Sequence[Detections], class_names: Sequence[str]
) -> dict[str, float]:
    """The metrics of a data set over a split, by the names of `workers.metric_names`.

    Args:
        family: whose metrics, beside COCO's.
        targets: one per image.
        detections: one per image, in the same order.
        class_names: names of the labels from 1.

    Returns:
        The metrics; one that nothing was there to measure has no key.
    """
    metrics = average_precision(targets, detections, class_names)
    if family == "voc":
        metrics |= _pascal(targets, detections, class_names)
    if family == "ecp":
        metrics |= _miss_rates(targets, detections, class_names)
    return metrics


def _pascal(
    targets: Sequence[Target], detections: Sequence[Detections], class_names: Sequence[str]
) -> dict[str, float]:
    """Pascal VOC's AP50, with ignored boxes as its difficult ones."""
    truth_images = _repeated([len(target.labels) for target in targets])
    found_images = _repeated([len(found.labels) for found in detections])
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *(target.labels for target in targets)])
    ignored = np.concatenate([np.zeros(0, dtype=np.bool_), *(target.ignore for target in targets)])
    boxes = np.concatenate([_corners(target, target.boxes) for target in targets] or [np.zeros((0, 4))])
    found_labels = np.concatenate([np.zeros(0, dtype=np.int64), *(found.labels for found in detections)])
    scores = np.concatenate([np.zeros(0), *(found.scores for found in detections)])
    found_boxes = np.concatenate(
        [_corners(target, found.boxes) for target, found in zip(targets, detections, strict=True)] or [np.zeros((0, 4))]
    )
    inclusive = np.array((0.0, 0.0, 1.0, 1.0))
    mean = mean_scores(
        pascal_scores(
            Objects(
                images=truth_images[there],
                boxes=boxes[there] - inclusive,
                difficult=ignored[there],
            ),
            Found(images=found_images[mine], boxes=found_boxes[mine] - inclusive, scores=scores[mine]),
        )
        for label in range(1, len(class_names) + 1)
        for there, mine in [(np.isin(labels, (0, label)), found_labels == label)]
    )
    return {} if mean is None else {"AP50/11-point": mean.eleven_point, "AP50/area": mean.area}


def _miss_rates(
    targets: Sequence[Target], detections: Sequence[Detections], class_names: Sequence[str]
) -> dict[str, float]:
    """EuroCity Persons' miss rates, with crowds as its regions."""
    rates = {}
    for label, name in enumerate(class_names, start=1):
        images = [_image(target, found, label) for target, found in zip(targets, detections, strict=True)]
        for subset, rate in miss_rates(images).items():
            if rate is not None:
                rates[f"{LAMR}/{name}/{subset}"] = rate
    plain = f"{LAMR}/{head_class(class_names)}/reasonable"
    return {LAMR: rates[plain], **rates} if plain in rates else rates


def _image(target: Target, found: Detections, label: int) -> ImageOfClass:
    there, mine = np.isin(target.labels, (0, label)), found.labels == label
    crowd = np.zeros(len(there), dtype=np.bool_) if target.crowd is None else target.crowd
    nothing = np.zeros(len(there), dtype=np.float32)
    roles = np.where(crowd, REGION, np.where(target.ignore, IGNORED, COUNTS))
    return ImageOfClass(
        objects=_corners(target, target.boxes[there]),
        roles=roles[there],
        occlusion=(nothing if target.occlusion is None else target.occlusion)[there],
        truncation=(nothing if target.truncation is None else target.truncation)[there],
        found=_corners(target, found.boxes[mine]),
        scores=found.scores[mine].astype(np.float64),
    )


def _corners(target: Target, boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """x1, y1, x2, y2 in pixels of the stored image, x2 and y2 excluded."""
    corners = np.array(stored_boxes(target, boxes), dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def _repeated(counts: list[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)
