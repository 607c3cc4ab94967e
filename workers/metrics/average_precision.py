"""Average precision the COCO way, by pycocotools.

Invariant: every metric is a fraction from 0 to 1; a metric that nothing was there to measure (no object of
that size or class) has no key.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from workers.data.interface import Target

AREAS = {"AP": 0, "APs": 1, "APm": 2, "APl": 3}  # pycocotools' areaRng: all, below 32^2, to 96^2, above


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes: float [N, 4] as x1, y1, x2, y2 in pixels of the resized image.
        labels: int [N], from 1.
        scores: float [N], from 0 to 1.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def average_precision(
    targets: Sequence[Target], detections: Sequence[Detections], class_names: Sequence[str]
) -> dict[str, float]:
    """COCO's metrics over a split.

    Sizes are those in the image as stored: boxes are scaled back by `Target.scale`.

    Args:
        targets: one per image.
        detections: one per image, in the same order.
        class_names: names of the labels from 1.

    Returns:
        AP (mean over IoU 0.5 to 0.95), AP50, AP75, APs, APm, APl, AR100 and ``AP/<class>``.
    """
    truth = _ground_truth(targets, class_names)
    found = [
        entry for target, detected in zip(targets, detections, strict=True) for entry in _detected(target, detected)
    ]
    for number, entry in enumerate(found, start=1):
        entry["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        predictions = COCO()
        predictions.dataset = {**truth.dataset, "annotations": found}
        predictions.createIndex()
        evaluation = COCOeval(truth, predictions, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [IoU thresholds, recall thresholds, classes, areas, most detections]
    recall = evaluation.eval["recall"]  # [IoU thresholds, classes, areas, most detections]
    measured = {name: precision[:, :, :, area, -1] for name, area in AREAS.items()}
    measured["AP50"] = precision[:1, :, :, 0, -1]
    measured["AP75"] = precision[5:6, :, :, 0, -1]
    measured["AR100"] = recall[:, :, 0, -1]
    for index, name in enumerate(class_names):
        measured[f"AP/{name}"] = precision[:, :, index, 0, -1]
    return {name: float(values[values > -1].mean()) for name, values in measured.items() if (values > -1).any()}


def _ground_truth(targets: Sequence[Target], class_names: Sequence[str]) -> COCO:
    annotations: list[dict[str, Any]] = []
    for target in targets:
        for box, label, ignore in zip(_as_stored(target, target.boxes), target.labels, target.ignore, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": target.image_id,
                    "category_id": int(label),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(ignore),
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": target.image_id} for target in targets],
        "categories": [{"id": label, "name": name} for label, name in enumerate(class_names, start=1)],
        "annotations": annotations,
    }
    return truth


def _detected(target: Target, detections: Detections) -> list[dict[str, Any]]:
    boxes = _as_stored(target, detections.boxes)
    return [
        {
            "image_id": target.image_id,
            "category_id": int(label),
            "bbox": box,
            "area": box[2] * box[3],
            "score": float(score),
        }
        for box, label, score in zip(boxes, detections.labels, detections.scores, strict=True)
    ]


def _as_stored(target: Target, boxes: NDArray[np.float32]) -> list[list[float]]:
    """Corners in the resized image to x, y, width, height in the stored one."""
    height, width = target.scale
    corners = boxes.astype(np.float64).reshape(-1, 4) / (width, height, width, height)
    corners[:, 2:] -= corners[:, :2]
    rows: list[list[float]] = corners.tolist()
    return rows
