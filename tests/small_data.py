"""Small data sets of every format, written for tests.

Boxes are given as x1, y1, x2, y2 with x2 and y2 exclusive, but for Pascal VOC's.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REAL = Path(__file__).parent.parent.parent / "shared" / "data"
NEEDS_REAL = "needs the folder shared/data with real data sets beside the repository"

Corners = tuple[float, float, float, float]
Objects = Sequence[tuple[str, Corners]]


def write_image(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> None:
    """A noisy image, of the format that its name says, so that its file has some length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_json(path: Path, value: object) -> Path:
    """The value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_voc(
    root: Path,
    split: str,
    images: Mapping[str, Sequence[tuple[str, float, float, float, float]]],
    *,
    folder: str = ".",
    difficult: Sequence[str] = (),
) -> None:
    """Images of 40 x 30 pixels and a list of them; boxes are xmin, ymin, xmax, ymax as they are written."""
    home = root / folder
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for number, (image_id, boxes) in enumerate(images.items()):
        Image.new("RGB", (40, 30), (number, 100, 200)).save(home / "JPEGImages" / f"{image_id}.jpg")
        objects = "".join(
            f"<object><name>{name}</name><difficult>{int(name in difficult)}</difficult>"
            f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, x1, y1, x2, y2 in boxes
        )
        xml = f"<annotation><path>/nowhere/{image_id}.jpg</path>{objects}</annotation>"
        (home / "Annotations" / f"{image_id}.xml").write_text(xml)
    (home / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in images))


COCO_IDS = {"cat": 3, "dog": 17, "tree": 90}


def coco_annotation(number: int, image: int, name: str, corners: Corners, **more: Any) -> dict[str, Any]:
    """One annotation, with a rectangle as its segmentation."""
    x1, y1, x2, y2 = corners
    found: dict[str, Any] = {
        "id": number,
        "image_id": image,
        "category_id": COCO_IDS[name],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1) / 2,
        "iscrowd": 0,
        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
    }
    return found | more


def write_coco(
    root: Path, split: str, images: Mapping[str, Objects], size: tuple[int, int] = (40, 30)
) -> dict[str, Any]:
    """Images with numbers 7, 107, 207 ..., and their annotations; gives the JSON that was written."""
    document: dict[str, Any] = {"images": [], "annotations": []}
    for position, (name, objects) in enumerate(images.items()):
        number = 7 + 100 * position
        write_image(root / split / name, size, number)
        document["images"].append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for label, corners in objects:
            one = coco_annotation(1000 + len(document["annotations"]), number, label, corners)
            document["annotations"].append(one)
    document["categories"] = [{"id": number, "name": name} for name, number in COCO_IDS.items()]
    write_json(root / "annotations" / f"instances_{split}.json", document)
    return document


def ecp_object(identity: str, corners: Corners, *tags: str, children: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """One object of a frame."""
    x0, y0, x1, y1 = corners
    return {"identity": identity, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "tags": [*tags], "children": [*children]}


def write_ecp(
    root: Path, split: str, images: Mapping[str, Sequence[dict[str, Any]]], size: tuple[int, int] = (64, 40)
) -> None:
    """Frames by names such as rome/rome_00001, in a split such as day/train."""
    time, name = split.split("/")
    for position, (stem, objects) in enumerate(images.items()):
        write_image(root / time / "img" / name / f"{stem}.png", size, position)
        frame = {"identity": "frame", "imagewidth": size[0], "imageheight": size[1], "tags": [], "children": [*objects]}
        write_json(root / time / "labels" / name / f"{stem}.json", frame)


def bdd_label(category: str, corners: Corners, **attributes: Any) -> dict[str, Any]:
    """One label, whose corners are written with the last pixels in it."""
    x1, y1, x2, y2 = corners
    box = {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1}
    return {"id": "0", "category": category, "attributes": attributes or None, "box2d": box}


def write_bdd(
    root: Path, split: str, images: Mapping[str, Sequence[dict[str, Any]] | None], size: tuple[int, int] = (64, 36)
) -> list[dict[str, Any]]:
    """Frames and their images; gives the JSON that was written."""
    frames = []
    for position, (name, labels) in enumerate(images.items()):
        write_image(root / "images" / "100k" / split / name, size, position)
        frames.append({"name": name, "labels": None if labels is None else [*labels]})
    write_json(root / "labels" / "det_20" / f"det_{split}.json", frames)
    return frames
