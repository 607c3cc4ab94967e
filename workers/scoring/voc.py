"""Pascal VOC: a year's folder of annotations, and the text files of results that its development kit reads.

TRUTH is a folder with ``Annotations`` and ``ImageSets/Main`` (VOCdevkit/VOC2007), or, with a split such as
``VOC2007/test``, the folder above, or a folder of ``.xml`` files, all of which are then the split. DETECTIONS is a
folder of files ``COMPETITION_det_SPLIT_CLASS.txt`` (``comp4_det_test_car.txt``), or one such file; a line is
``IMAGE SCORE XMIN YMIN XMAX YMAX``. The split is the one asked for, or else the one that the files name.

Judged are both COCO's metrics (see `workers.metrics.average_precision`; difficult objects as crowds, areas those of the
boxes) and the development kit's own (see `workers.metrics.pascal`). In all of them coordinates count from 1 and include
both corners. A result on an image that is not in the split is refused, as the kit refuses it; names of classes and
images are compared as they are written. A class without a file of results has nothing found.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse as parse_xml

from models.wording import brief, one_line
from workers.metrics.average_precision import evaluate
from workers.metrics.pascal import Found, Objects, mean_scores, pascal_scores
from workers.scoring import Score
from workers.scoring.coco import as_json

Box = tuple[float, float, float, float]
MARK = "_det_"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """What one annotation holds."""

    classes: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """A class's results in the order of their file: place of the image, score, box."""

    images: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """Where the images of a split are listed and annotated."""

    name: str
    image_ids: list[str]
    annotations: Path


def score_voc(truth: Path, detections: Path, split: str | None = None) -> Score:
    """COCO's metrics, and AP50 by the mean at eleven recalls and by the area, over all classes and of each."""
    detections.stat()  # there is such a file or folder, or an OSError
    files = sorted(detections.glob(f"*{MARK}*.txt")) if detections.is_dir() else [detections]
    if not files:
        raise ValueError(f"{detections}: has no file such as comp4_det_test_car.txt")
    where = _split(truth, split, files)
    by_class = _by_class(files, where.name, detections)
    images = [_annotation(where.annotations / f"{image_id}.xml") for image_id in where.image_ids]
    places = {image_id: place for place, image_id in enumerate(where.image_ids)}
    results = {name: _results(path, places) for name, path in by_class.items()}
    annotated = sorted({name for image in images for name in image.classes})
    names = sorted({*annotated, *results})
    notes = [f"{name}: no file of results, so nothing is found" for name in annotated if name not in results]
    notes += [f"{name}: no object in the split, so no score" for name in names if name not in annotated]
    pascal = {name: pascal_scores(_objects(images, name), _found(results.get(name, _Result()))) for name in names}
    metrics = as_json(evaluate(_coco_truth(images, names), _coco_results(results, names)), names)
    per_class = metrics.pop("per_class")
    mean = mean_scores(pascal.values())
    return Score(
        metrics={
            **metrics,
            "AP50/11-point": mean and mean.eleven_point,
            "AP50/area": mean and mean.area,
            "per_class": per_class,
            "per_class/11-point": {name: one and one.eleven_point for name, one in pascal.items()},
            "per_class/area": {name: one and one.area for name, one in pascal.items()},
        },
        notes=tuple(notes),
    )


def _split(truth: Path, split: str | None, files: list[Path]) -> _Split:
    if not truth.is_dir():
        raise ValueError(f"{truth}: is no folder; give VOCdevkit/VOC2007 or a folder of .xml files")
    folder = truth.joinpath(*(split or "").split("/")[:-1])
    name = (split or "").rpartition("/")[2]
    lists = folder / "ImageSets" / "Main"
    if not (folder / "Annotations").is_dir():
        image_ids = sorted(path.stem for path in folder.glob("*.xml"))
        if not image_ids:
            raise ValueError(f"{folder}: has neither Annotations nor .xml files; give VOCdevkit/VOC2007 or the like")
        return _Split(name=name or _split_of(files, set()), image_ids=image_ids, annotations=folder)
    name = name or _split_of(files, {path.stem for path in lists.glob("*.txt")})
    listed = lists / f"{name}.txt"
    if not listed.is_file():
        raise ValueError(f"{listed}: does not exist; name a split that is there by --split")
    image_ids = [line.split()[0] for line in _lines(listed) if line.strip()]
    if len(set(image_ids)) < len(image_ids):
        raise ValueError(f"{listed}: an image is there twice; list each once")
    return _Split(name=name, image_ids=image_ids, annotations=folder / "Annotations")


def _split_of(files: list[Path], known: set[str]) -> str:
    """The split that all files of results name: the longest that is listed, or what stands before the next `_`."""
    names = set()
    for path in files:
        rest = path.stem.partition(MARK)[2]
        fitting = [name for name in known if rest.startswith(f"{name}_")]
        names.add(max(fitting, key=len, default=rest.partition("_")[0]))
    if len(names) > 1:
        raise ValueError(f"--split: the files of results are of {', '.join(sorted(map(brief, names)))}; name one")
    return names.pop()


def _by_class(files: list[Path], split: str, detections: Path) -> dict[str, Path]:
    by_class: dict[str, Path] = {}
    for path in files:
        rest = path.stem.partition(MARK)[2]
        if not rest.startswith(f"{split}_") or path.suffix != ".txt":
            continue
        name = rest.removeprefix(f"{split}_")
        if name in by_class:
            raise ValueError(f"{path}: {by_class[name].name} is of the same class; keep one competition in a folder")
        by_class[name] = path
    if not by_class:
        raise ValueError(f"{detections}: has no file such as comp4_det_{split}_car.txt")
    return by_class


def _results(path: Path, places: dict[str, int]) -> _Result:
    result = _Result()
    for number, line in enumerate(_lines(path), start=1):
        if not (words := line.split()):
            continue
        try:
            image_id, score, *corners = words
            values = [float(word) for word in (score, *corners)]
            left, top, right, bottom = values[1:]
            if not np.isfinite(values).all():
                raise ValueError
        except ValueError:
            raise ValueError(f"{path}:{number}: {brief(line)} is not IMAGE SCORE XMIN YMIN XMAX YMAX") from None
        if image_id not in places:
            raise ValueError(f"{path}:{number}: image {brief(image_id)} is not in the split")
        result.images.append(places[image_id])
        result.scores.append(values[0])
        result.boxes.append((left, top, right, bottom))
    return result


def _annotation(path: Path) -> _Image:
    image = _Image()
    try:
        for element in parse_xml(path).iterfind("object"):
            name = (element.findtext("name") or "").strip()
            left, top, right, bottom = (
                float(element.findtext(f"bndbox/{corner}") or "") for corner in ("xmin", "ymin", "xmax", "ymax")
            )
            if not name or not np.isfinite([left, top, right, bottom]).all():
                raise ValueError("an object without a name or with a coordinate that is not finite")
            image.classes.append(name)
            image.boxes.append((left, top, right, bottom))
            image.difficult.append((element.findtext("difficult") or "0").strip() not in ("0", ""))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: does not exist, but its image is in the split") from error
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as an annotation ({one_line(str(error), 300)})") from error
    return image


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def _objects(images: list[_Image], class_name: str) -> Objects:
    chosen = [
        (place, box, difficult)
        for place, image in enumerate(images)
        for name, box, difficult in zip(image.classes, image.boxes, image.difficult, strict=True)
        if name == class_name
    ]
    return Objects(
        images=np.array([place for place, _, _ in chosen], dtype=np.int64),
        boxes=np.array([box for _, box, _ in chosen], dtype=np.float64).reshape(-1, 4),
        difficult=np.array([difficult for _, _, difficult in chosen], dtype=np.bool_),
    )


def _found(result: _Result) -> Found:
    return Found(
        images=np.array(result.images, dtype=np.int64),
        boxes=np.array(result.boxes, dtype=np.float64).reshape(-1, 4),
        scores=np.array(result.scores, dtype=np.float64),
    )


def _coco_truth(images: list[_Image], names: list[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for name, box, difficult in zip(image.classes, image.boxes, image.difficult, strict=True):
            left, top, width, height = _sides(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(name) + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": int(difficult),
                }
            )
    return {
        "images": [{"id": number} for number, _ in enumerate(images, start=1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": annotations,
    }


def _coco_results(results: dict[str, _Result], names: list[str]) -> list[dict[str, Any]]:
    return [
        {"image_id": place + 1, "category_id": names.index(name) + 1, "bbox": [*_sides(box)], "score": score}
        for name, result in results.items()
        for place, score, box in zip(result.images, result.scores, result.boxes, strict=True)
    ]


def _sides(box: Box) -> Box:
    """Corners that are both included, counted from 1, to x, y, width, height counted from 0."""
    left, top, right, bottom = box
    return left - 1, top - 1, right - left + 1, bottom - top + 1
