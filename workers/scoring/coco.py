"""COCO: an instances file and a results file.

TRUTH is a JSON file with ``images``, ``categories`` and ``annotations``; DETECTIONS one with a list of
``{image_id, category_id, score, bbox: [x, y, width, height]}``, or ``segmentation`` in the place of ``bbox`` or beside
it (cocodataset.org/#format-data and #format-results).

Everything is judged by pycocotools (see `workers.metrics.average_precision`), with what it makes of the files:

- All images and categories of TRUTH count, those without annotations, too. Results on an image that TRUTH has not are
  refused, as `loadRes` refuses them; results of a category that it has not are passed over.
- A detection's area is that of its box wherever the results have boxes, for masks, too; else that of its mask.
- An annotation with the id 0 can't be found, as pycocotools takes 0 for none.

``area`` is width * height and ``iscrowd`` 0 where an annotation lacks them; pycocotools would fail.
"""

from pathlib import Path
from typing import Any

from models.wording import brief
from workers.data.json_files import MAX_STREAMED_BYTES, number, read_json
from workers.data.outlines import runs_of
from workers.metrics.average_precision import TWELVE, CocoScores, evaluate
from workers.scoring import Score


def score_coco(truth: Path, detections: Path) -> Score:
    """The twelve metrics and AP per class; of masks, too, as ``masks/...``, where all results have them."""
    annotated = _truth(truth)
    found = _results(detections, annotated, truth)
    masked = bool(found) and all("segmentation" in entry for entry in found)
    if masked:
        _check_masks(annotated, truth, found, detections)
    known = {category["id"] for category in annotated["categories"]}
    num_unknown = sum(entry["category_id"] not in known for entry in found)
    notes = [f"{num_unknown} of {len(found)} results are of categories that {truth} has not"] if num_unknown else []
    names = [category["name"] for category in annotated["categories"]]
    metrics = as_json(evaluate(annotated, found), names)
    if masked:
        metrics |= {
            f"masks/{name}": value for name, value in as_json(evaluate(annotated, found, "segm"), names).items()
        }
    return Score(metrics=metrics, notes=tuple(notes))


def as_json(scores: CocoScores, class_names: list[str]) -> dict[str, Any]:
    """All metrics and classes, None where nothing was there to measure."""
    metrics: dict[str, Any] = {name: scores.overall.get(name) for name in TWELVE}
    return metrics | {"per_class": {name: scores.per_class.get(name) for name in class_names}}


def _truth(path: Path) -> dict[str, Any]:
    document = read_json(path, max_bytes=MAX_STREAMED_BYTES)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: {brief(document)} is no mapping with images, categories and annotations")
    images, categories, annotations = (
        _entries(document.get(key), f"{path}: {key}") for key in ("images", "categories", "annotations")
    )
    _check_ids(images, f"{path}: images")
    _check_ids(categories, f"{path}: categories")
    names = [category.get("name") for category in categories]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{path}: categories: {brief(names)} are no different names; give each its own")
    for index, annotation in enumerate(annotations):
        where = f"{path}: annotations[{index}]"
        _check_id(annotation, "image_id", where)
        _check_id(annotation, "category_id", where)
        box = _box(annotation, where)
        annotation.setdefault("id", index + 1)
        annotation["area"] = number(annotation.get("area", box[2] * box[3]), f"{where}: area")
        annotation["iscrowd"] = int(bool(annotation.get("iscrowd")))
    _check_ids(annotations, f"{path}: annotations")
    return {"images": images, "categories": categories, "annotations": annotations}


def _results(path: Path, annotated: dict[str, Any], truth: Path) -> list[dict[str, Any]]:
    found = _entries(read_json(path, max_bytes=MAX_STREAMED_BYTES), f"{path}: results")
    known = {image["id"] for image in annotated["images"]}
    boxed = bool(found) and "bbox" in found[0]
    for index, entry in enumerate(found):
        where = f"{path}: results[{index}]"
        _check_id(entry, "image_id", where)
        _check_id(entry, "category_id", where)
        if entry["image_id"] not in known:
            raise ValueError(f"{where}: image_id {brief(entry['image_id'])} is none of the images of {truth}")
        entry["score"] = number(entry.get("score"), f"{where}: score")
        if boxed:
            _box(entry, where)
        elif "segmentation" not in entry or "bbox" in entry:
            raise ValueError(f"{where}: has bbox or segmentation unlike results[0]; give all the same fields")
    return found


def _check_masks(annotated: dict[str, Any], truth: Path, found: list[dict[str, Any]], path: Path) -> None:
    """Refuse masks that pycocotools would fail on."""
    sizes = {}
    for index, image in enumerate(annotated["images"]):
        where = f"{truth}: images[{index}]"
        sizes[image["id"]] = [int(number(image.get(key), f"{where}: {key}")) for key in ("height", "width")]
    for index, annotation in enumerate(annotated["annotations"]):
        if (size := sizes.get(annotation["image_id"])) is not None:
            _check_mask(annotation.get("segmentation"), size, f"{truth}: annotations[{index}]")
    for index, entry in enumerate(found):
        _check_mask(entry["segmentation"], sizes[entry["image_id"]], f"{path}: results[{index}]")
        if "bbox" not in entry and not _is_compressed(entry["segmentation"]):
            raise ValueError(f"{path}: results[{index}]: segmentation without a bbox must be a compressed RLE")


def _is_compressed(mask: Any) -> bool:
    return isinstance(mask, dict) and isinstance(mask.get("counts"), str)


def _check_mask(mask: Any, size: list[int], where: str) -> None:
    if isinstance(mask, list) and mask:
        farthest = 10 * max(size)  # pycocotools takes memory for all of an outline, however far outside
        for polygon in mask:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"{where}: segmentation has {brief(polygon)}, not x and y of three or more points")
            for coordinate in polygon:
                if abs(number(coordinate, f"{where}: segmentation")) > farthest:
                    raise ValueError(f"{where}: segmentation has {brief(coordinate)} in an image of {size} pixels")
        return
    runs = runs_of(mask) if isinstance(mask, dict) else None
    if runs is None or [*runs[:2]] != size:
        raise ValueError(f"{where}: segmentation is {brief(mask)}, neither polygons nor an RLE of the image's {size}")


def _entries(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: {brief(value)} is no list")
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ValueError(f"{where}[{index}]: {brief(entry)} is no mapping")
    return value


def _check_ids(entries: list[dict[str, Any]], where: str) -> None:
    for index, entry in enumerate(entries):
        _check_id(entry, "id", f"{where}[{index}]")
    if len({entry["id"] for entry in entries}) < len(entries):
        raise ValueError(f"{where}: an id is there twice; number them")


def _check_id(entry: dict[str, Any], key: str, where: str) -> None:
    if type(entry.get(key)) is not int or abs(entry[key]) >= 2**63:
        raise ValueError(f"{where}: {key} is {brief(entry.get(key))}, not a whole number")


def _box(entry: dict[str, Any], where: str) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{where}: bbox is {brief(box)}, not x, y, width, height")
    return [number(value, f"{where}: bbox") for value in box]
