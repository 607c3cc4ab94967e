"""COCO's metrics, by pycocotools.

Conventions (those of ``COCOeval`` in github.com/cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py):

- Ten overlaps (IoU) from 0.50 to 0.95; precision at 101 recalls from 0 to 1; at most 1, 10 or 100 detections per image
  and class. AP is the mean over overlaps, recalls and classes, AR over overlaps and classes.
- A detection matches at an overlap of at least the threshold. Detections choose by falling score, ties in the order of
  the file, each the object of its class that overlaps it most and is still free; objects that count come before ignored
  ones. Over a whole class, detections of one score stand in the order of the image ids.
- A crowd (``iscrowd``) is ignored and may be matched any number of times; the overlap with it is the share of the
  detection that lies in it. What matches an ignored object is left out of the count.
- Small is an area to 32^2 pixels, medium from 32^2 to 96^2, large from 96^2, ends included; an object's area is that of
  its segmentation (``area``), a detection's that of its box. Objects of another size are ignored, and so are
  unmatched detections of another size.
- A class without an object that counts has no score and no part in a mean.

Of a `Target`, whatever is ignored is a crowd here, as pycocotools knows no other way to leave an object out: what lies
in an ignored box counts neither way (mmdetection's converter of Pascal VOC does so with difficult objects).

Invariant: every metric is a fraction from 0 to 1; a metric that nothing was there to measure (no object of
that size or class) has no key.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from workers.data.interface import Mask, Target

Values = NDArray[np.float64]

# From pycocotools' arrays: precision [IoU thresholds, recall thresholds, classes, areas, most detections] and
# recall, which lacks the recall thresholds. Areas are all, small, medium, large; most detections 1, 10, 100.
TWELVE: dict[str, Callable[[Values, Values], Values]] = {
    "AP": lambda precision, recall: precision[:, :, :, 0, 2],
    "AP50": lambda precision, recall: precision[:1, :, :, 0, 2],
    "AP75": lambda precision, recall: precision[5:6, :, :, 0, 2],
    "APs": lambda precision, recall: precision[:, :, :, 1, 2],
    "APm": lambda precision, recall: precision[:, :, :, 2, 2],
    "APl": lambda precision, recall: precision[:, :, :, 3, 2],
    "AR1": lambda precision, recall: recall[:, :, 0, 0],
    "AR10": lambda precision, recall: recall[:, :, 0, 1],
    "AR100": lambda precision, recall: recall[:, :, 0, 2],
    "ARs": lambda precision, recall: recall[:, :, 1, 2],
    "ARm": lambda precision, recall: recall[:, :, 2, 2],
    "ARl": lambda precision, recall: recall[:, :, 3, 2],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes: float [N, 4] as x1, y1, x2, y2 in pixels of the resized image.
        labels: int [N], from 1.
        scores: float [N], from 0 to 1.
        masks: one per box, of the image as stored; None from a detector that gives none.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: tuple[Mask, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoScores:
    """The twelve metrics that pycocotools prints, and AP by the name of a class; what was not there has no key."""

    overall: dict[str, float]
    per_class: dict[str, float]


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
        The twelve metrics of `CocoScores`, and ``AP/<class>``. Where all targets and detections have masks, the same
        of these as ``masks/AP``, ``masks/AP50`` and so on, ``masks/AP/<class>``; a detection's area is then that of
        its mask.
    """
    truth = _ground_truth(targets, class_names)
    found = [
        entry for target, detected in zip(targets, detections, strict=True) for entry in _detected(target, detected)
    ]
    metrics = _flat(evaluate(truth, found))
    if all(one.masks is not None for one in targets) and all(one.masks is not None for one in detections):
        for image, target, detected in zip(truth["images"], targets, detections, strict=True):
            for mask in (*(target.masks or ()), *(detected.masks or ())):
                image["height"], image["width"] = mask["size"]  # pycocotools asks for them
        masks = [{key: value for key, value in entry.items() if key != "bbox"} for entry in found]
        metrics |= {f"masks/{name}": value for name, value in _flat(evaluate(truth, masks, "segm")).items()}
    return metrics


def evaluate(truth: dict[str, Any], found: list[dict[str, Any]], kind: Literal["bbox", "segm"] = "bbox") -> CocoScores:
    """The scores of results in COCO's form.

    Args:
        truth: images, categories and annotations as in an instances file; pycocotools adds what it needs to them, and
            turns their segmentations into RLEs for ``segm``.
        found: as in a results file.
        kind: ``bbox`` for boxes, ``segm`` for masks.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = truth
        objects.createIndex()
        predictions = objects.loadRes([dict(entry) for entry in found]) if found else _nothing()
        evaluation = COCOeval(objects, predictions, kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    classes = {
        names[number]: precision[:, :, index, 0, 2] for index, number in enumerate(evaluation.eval["params"].catIds)
    }
    return CocoScores(
        overall=_means({name: of(precision, recall) for name, of in TWELVE.items()}), per_class=_means(classes)
    )


def _nothing() -> COCO:
    """Results without a detection; pycocotools' `loadRes` takes none."""
    predictions = COCO()
    predictions.dataset = {"annotations": []}
    predictions.createIndex()
    return predictions


def _means(measured: dict[str, Values]) -> dict[str, float]:
    """The means of what is there; pycocotools has -1 where it is not."""
    return {name: float(np.mean(values[values > -1])) for name, values in measured.items() if (values > -1).any()}


def _flat(scores: CocoScores) -> dict[str, float]:
    return scores.overall | {f"AP/{name}": value for name, value in scores.per_class.items()}


def _ground_truth(targets: Sequence[Target], class_names: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    all_labels = range(1, len(class_names) + 1)
    for target in targets:
        for index, box in enumerate(stored_boxes(target, target.boxes)):
            label = int(target.labels[index])
            annotations += [
                {
                    "id": len(annotations) + offset,
                    "image_id": target.image_id,
                    "category_id": one,
                    "bbox": box,
                    "area": box[2] * box[3] if target.area is None else float(target.area[index]),
                    "iscrowd": int(target.ignore[index]),
                    **_segmentation(target.masks, index),
                }
                for offset, one in enumerate(all_labels if label == 0 else (label,), start=1)
            ]
    return {
        "images": [{"id": target.image_id} for target in targets],
        "categories": [{"id": label, "name": name} for label, name in enumerate(class_names, start=1)],
        "annotations": annotations,
    }


def _detected(target: Target, detections: Detections) -> list[dict[str, Any]]:
    boxes = stored_boxes(target, detections.boxes)
    return [
        {
            "image_id": target.image_id,
            "category_id": int(detections.labels[index]),
            "bbox": box,
            "score": float(detections.scores[index]),
            **_segmentation(detections.masks, index),
        }
        for index, box in enumerate(boxes)
    ]


def _segmentation(masks: tuple[Mask, ...] | None, index: int) -> dict[str, Mask]:
    return {} if masks is None else {"segmentation": masks[index]}


def stored_boxes(target: Target, boxes: NDArray[np.float32]) -> list[list[float]]:
    """Corners in the resized image to x, y, width, height in the stored one."""
    height, width = target.scale
    corners = boxes.astype(np.float64).reshape(-1, 4) / (width, height, width, height)
    corners[:, 2:] -= corners[:, :2]
    rows: list[list[float]] = corners.tolist()
    return rows
