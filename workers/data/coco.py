"""Boxes in COCO's layout: one JSON file of annotations and one folder of images for each split.

Conventions are those of COCO's format (cocodataset.org, pycocotools): ``bbox`` is x, y, width, height from the
left upper corner in pixels; ``iscrowd`` marks a region that holds any number of objects, which is left out of training
and which any number of detections may match; ``area`` is that of the segmentation, by which an object is small, medium
or large. ``ignore`` leaves an object out of training, and makes it neither right nor wrong in evaluation. Categories
have any numbers; labels count them from 1 in the order of those numbers, and `DetectionData.class_ids` leads back.

Invariant: the annotations never lie in memory as objects together, but as a row of `ROW` each, in an array;
segmentations as flat numbers, and only where they are asked for.
"""

import math
import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.wording import brief, one_line
from workers.data.annotated import (
    NO_OUTLINE,
    STRAY,
    TWICE,
    UNKNOWN_CATEGORY,
    UNKNOWN_CLASS,
    Annotated,
    Sifter,
    detection_data,
)
from workers.data.image_files import NO_IMAGE
from workers.data.interface import DetectionData
from workers.data.json_files import stream_json
from workers.data.outlines import Outlines
from workers.data.reading import check_class_name, leads_out
from workers.settings import CocoData

ROW = np.dtype(
    [
        ("id", "<i8"),
        ("image", "<i8"),
        ("category", "<i8"),
        ("box", "<f8", (4,)),  # x, y, width, height
        ("area", "<f8"),  # NaN where it is not said
        ("crowd", "?"),
        ("ignore", "?"),
    ]
)
_pack = struct.Struct("<qqq4dd??").pack
_MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error)


def open_coco(settings: CocoData, *, key: str) -> DetectionData:
    """The training and evaluation images.

    Args:
        settings: the folder, its splits, the size, and what is done with what is wrong.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for a missing folder or file, or one that holds no annotations; for categories that don't fit; for
            what is wrong where `invalid_boxes` is ``refuse`` or where it is more than `max_invalid_share`; for a split
            that nothing is left of.
        OSError: where a folder or file that is there can't be read.
    """
    reader = _Reader(settings, key)
    reader.sifter.check_root(f"{settings.annotations} and the images in {settings.images}")
    train, val = reader.read("train", settings.train), reader.read("val", settings.val)
    reader.sifter.check_shares()
    return detection_data(train, val, reader.class_names, settings, reader.sifter.problems, reader.class_ids)


# Beside a row from 0, or a label from 1:
LEFT_OUT = -1
NO_IMAGE_ROW = -2
UNLISTED = 0
NO_LABEL = -1


@dataclass(slots=True, kw_only=True)
class _File:
    """What is kept of an annotation file while it is read."""

    path: Path
    image_ids: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))  # width and height of each, 0 where it is not said
    names: list[str] = field(default_factory=list)
    rows: bytearray = field(default_factory=bytearray)
    outlines: Outlines | None = None

    def image(self, raw: Any) -> None:
        """Keep an image."""
        try:
            image_id, name = raw["id"], raw["file_name"]
            sides = raw.get("width"), raw.get("height")
            if not isinstance(name, str):
                raise TypeError
            self.image_ids.append(image_id)
        except _MALFORMED:
            raise ValueError(
                f"{self.path}: an image is {brief(raw)}; it needs a whole number as id and a file_name"
            ) from None
        if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**31 for side in sides):
            sides = 0, 0
        self.sizes.extend(sides)
        self.names.append(name)

    def annotation(self, raw: Any) -> None:
        """Keep an annotation; one that is malformed gets a box of NaN."""
        try:
            x, y, width, height = raw["bbox"]
            area = raw.get("area")
            self.rows += _pack(
                raw.get("id", -1),
                raw["image_id"],
                raw["category_id"],
                x,
                y,
                width,
                height,
                math.nan if area is None else area,
                raw.get("iscrowd", 0) not in (0, None),
                raw.get("ignore", 0) not in (0, None),
            )
        except _MALFORMED:
            self.rows += _pack(*_numbers(raw), *[math.nan] * 5, False, False)
        if self.outlines is not None:
            self.outlines.add(raw.get("segmentation") if isinstance(raw, dict) else None)


def _numbers(raw: Any) -> tuple[int, int, int]:
    """What can be said of a malformed annotation: its own number, its image's, its category's, or -1."""
    found = [raw.get(key) if isinstance(raw, dict) else None for key in ("id", "image_id", "category_id")]
    first, second, third = (
        number if isinstance(number, int) and -(2**63) <= number < 2**63 else -1 for number in found
    )
    return first, second, third


class _Reader:
    """Reads annotation files; the categories of the first are the classes, or those among them that are asked for."""

    def __init__(self, settings: CocoData, key: str) -> None:
        self.sifter = Sifter(settings, key)
        self.class_names: tuple[str, ...] = ()
        self.class_ids: tuple[int, ...] = ()
        self._settings, self._key = settings, key

    def read(self, part: str, splits: Sequence[str]) -> Annotated:
        """The images of a part."""
        return self.sifter.united(part, [self._split(part, split) for split in splits])

    def _split(self, part: str, split: str) -> Annotated:
        path, folder = (
            self.sifter.below_root(pattern.replace("{split}", split), part, "a split such as train2017")
            for pattern in (self._settings.annotations, self._settings.images)
        )
        if not path.is_file():
            raise ValueError(
                f"{self._key}.{part}: split {brief(split)} needs the file {path}; it does not exist (see "
                f"{self._key}.annotations)"
            )
        file = _File(path=path, outlines=Outlines() if self._settings.masks else None)
        rest = stream_json(path, {"images": file.image, "annotations": file.annotation})
        if not file.rows:
            raise ValueError(
                f"{self._key}.{part}: {path} has no annotations, as those of test images have none; nothing can be "
                "trained or evaluated on it"
            )
        categories = _categories(path, rest.get("categories"))
        if not self.class_names:
            self._choose(path, categories)
        return self._sifted(part, str(folder), file, categories)

    def _choose(self, path: Path, categories: Mapping[int, str]) -> None:
        """Make the categories of a file the classes."""
        ids = {name: number for number, name in categories.items()}
        self.class_names = self._settings.classes or tuple(categories.values())
        if missing := [name for name in self.class_names if name not in ids]:
            raise ValueError(
                f"{self._key}.classes: {brief(missing[0])} is no category of {path}, which has "
                f"{one_line(', '.join(categories.values()), 500)}"
            )
        self.class_ids = tuple(ids[name] for name in self.class_names)

    def _sifted(self, part: str, folder: str, file: _File, categories: Mapping[int, str]) -> Annotated:
        rows = np.frombuffer(file.rows, dtype=ROW)

        def describe(row: int) -> tuple[str, str]:
            one = rows[row]
            name = one_line(categories.get(int(one["category"]), f"category {one['category']}"), 100)
            box = ", ".join(f"{value:g}" for value in one["box"])
            return str(file.path), f"annotation {one['id']} of image {one['image']}: {name} ({box})"

        images, image_rows = self._images(part, folder, file)
        labels = {name: label for label, name in enumerate(self.class_names, start=1)}
        label_of = {number: labels.get(name, UNLISTED) for number, name in categories.items()}
        numbers, inverse = np.unique(rows["category"], return_inverse=True)
        box_labels = np.array([label_of.get(int(number), NO_LABEL) for number in numbers], dtype=np.int64)[inverse]
        owners = _rows_of(rows["image"], np.frombuffer(file.image_ids, dtype=np.int64), image_rows)
        sizes = np.frombuffer(file.sizes, dtype=np.int64).reshape(-1, 2)

        left = owners != LEFT_OUT
        wrong = {STRAY: owners == NO_IMAGE_ROW, UNKNOWN_CATEGORY: box_labels == NO_LABEL}
        if file.outlines is not None:
            said = _rows_of(rows["image"], np.frombuffer(file.image_ids, dtype=np.int64), np.arange(len(sizes)))
            wrong[NO_OUTLINE] = ~file.outlines.sound(np.where((said >= 0)[:, None], sizes[said], 0))
        for kind, found in wrong.items():
            bad = np.flatnonzero(left & found)
            self.sifter.count(boxes=len(bad))
            self.sifter.leave_out_all(kind, bad.tolist(), describe)
            left &= ~found
        unlisted = np.flatnonzero(left & (box_labels == UNLISTED))
        self.sifter.problems.add_all(
            UNKNOWN_CLASS, unlisted.tolist(), lambda row: f"{file.path.name} {describe(row)[1]}"
        )
        left[unlisted] = False

        kept = np.flatnonzero(left)
        kept = kept[np.argsort(owners[kept], kind="stable")]
        boxes, area = rows["box"][kept], rows["area"][kept]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is sifted out
            own_area = boxes[:, 2] * boxes[:, 3]
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        return self.sifter.sift(
            replace(
                images,
                owners=owners[kept],
                boxes=boxes,
                labels=box_labels[kept],
                ignore=(rows["ignore"] | rows["crowd"])[kept],
                crowd=rows["crowd"][kept],
                rows=kept,
                area=np.where(np.isfinite(area) & (area >= 0), area, own_area),
                outlines=file.outlines,
            ),
            describe,
            check_images=self._settings.check_images,
        )

    def _images(self, part: str, folder: str, file: _File) -> tuple[Annotated, NDArray[np.int64]]:
        """The images that are there, without boxes, and of every image in the file its row among them or LEFT_OUT."""
        ids, paths, kept = set(), [], []
        self.sifter.count(images=len(file.names))
        for position, (image_id, name) in enumerate(zip(file.image_ids, file.names, strict=True)):
            if leads_out(name):
                raise ValueError(
                    f"{self._key}.root: image {brief(name)} of {file.path} leads out of {folder}; give names of "
                    "files in it"
                )
            path = f"{folder}/{name}"
            if image_id in ids:
                self.sifter.leave_out(TWICE, str(file.path), f"id {image_id} must be there once", f"id {image_id}")
            elif self.sifter.is_new(part, path, str(file.path)):
                ids.add(image_id)
                if self.sifter.listings.has(path):
                    paths.append(path)
                    kept.append(position)
                else:
                    self.sifter.leave_out(NO_IMAGE, path, "it does not exist")
        rows = np.full(len(file.names), LEFT_OUT)
        rows[kept] = np.arange(len(kept))
        nothing = np.zeros(0, dtype=np.int64)
        found = Annotated(
            paths=paths,
            sizes=np.frombuffer(file.sizes, dtype=np.int64).reshape(-1, 2)[kept],
            ids=np.frombuffer(file.image_ids, dtype=np.int64)[kept],
            owners=nothing,
            boxes=np.zeros((0, 4)),
            labels=nothing,
            ignore=nothing.astype(np.bool_),
            crowd=nothing.astype(np.bool_),
            rows=nothing,
        )
        return found, rows


def _rows_of(wanted: NDArray[np.int64], ids: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For ids that are wanted, the row of the first image that has it, or NO_IMAGE_ROW."""
    known, first = np.unique(ids, return_index=True)
    at = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return (
        np.where(known[at] == wanted, rows[first[at]], NO_IMAGE_ROW)
        if len(known)
        else np.full_like(wanted, NO_IMAGE_ROW)
    )


def _categories(path: Path, raw: Any) -> dict[int, str]:
    """The file's categories in the order of their numbers."""
    found: dict[int, str] = {}
    try:
        for one in raw:
            number, name = one["id"], check_class_name(one["name"])
            if not isinstance(number, int) or isinstance(number, bool) or not -(2**63) <= number < 2**63:
                raise ValueError(f"the id {brief(number)} of {name} is no whole number")
            if number in found or name in found.values():
                raise ValueError(f"{brief(name)} or its id {number} is there twice")
            found[number] = name
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: categories are {brief(raw)}, not a list of mappings with id and name") from error
    except ValueError as error:
        raise ValueError(f"{path}: categories can't be used: {error}") from error
    if not found:
        raise ValueError(f"{path}: has no categories")
    return dict(sorted(found.items()))
