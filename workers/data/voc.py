"""Boxes in Pascal VOC layout: JPEGImages, Annotations, ImageSets/Main.

Coordinates in the files count pixels from 1 and include both ends (the VOC development kit's convention), so
a box (xmin, ymin, xmax, ymax) covers [xmin - 1, xmax) x [ymin - 1, ymax) here. A box whose xmax is not
greater than its xmin, or ymax than ymin, has no area: tools that write such boxes mean corners. Boxes that
reach over the border by one pixel (tools that count from 0) are cut there; those that reach farther are
outside their image. ``difficult`` objects are ignored: left out of training, and neither right nor wrong in
evaluation.

A file is found by its image id in the split's list; paths and file names inside annotations are not used, and
an id or a split that leads out of the data's folder is refused (see `workers.data.reading` on links).

Invariant: what is read is either in the data set or counted in the report, and no image is decoded to know
it. Storage that fails is an `OSError`, never something left out.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse as parse_xml

from models.wording import brief, one_line
from workers.data.annotated import NO_ANNOTATION, UNKNOWN_CLASS, Annotated, Sifter, detection_data
from workers.data.image_files import NO_IMAGE
from workers.data.interface import DetectionData
from workers.data.reading import check_class_name, leads_out
from workers.settings import VocData

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")

MAX_ANNOTATION_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """An object as written; `corners` are x1, y1, x2, y2 in pixels from 0, x2 and y2 exclusive."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


def open_voc(settings: VocData, *, key: str) -> DetectionData:
    """The training and evaluation images.

    Args:
        settings: the folder, its splits, the size, and what is done with what is wrong.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for a missing folder or list; for a class that no object has; for what is wrong where
            `invalid_boxes` is ``refuse`` or where it is more than `max_invalid_share`; for a split that nothing
            is left of.
        OSError: where a folder or file that is there can't be read.
    """
    reader = _Reader(settings, key)
    reader.sifter.check_root(
        "JPEGImages, Annotations and ImageSets/Main, or VOC2007 and the like with these",
    )
    train, val = reader.read("train", settings.train), reader.read("val", settings.val)
    reader.sifter.check_shares()
    _check_classes(settings, key, reader)
    found = np.unique(np.concatenate([train.labels, val.labels]))
    names = {label: name for name, label in reader.labels.items()}
    class_names = settings.classes or tuple(sorted(names[label] for label in found.tolist()))
    labels = np.zeros(len(reader.labels) + 1, dtype=np.int64)  # of a label while reading, the one in the end
    for label, name in enumerate(class_names, start=1):
        labels[reader.labels[name]] = label
    train, val = (replace(part, labels=labels[part.labels]) for part in (train, val))
    return detection_data(train, val, class_names, settings, reader.sifter.problems)


def _check_classes(settings: VocData, key: str, reader: "_Reader") -> None:
    """Refuse a class that no object has: only the objects say what classes there are."""
    for name in settings.classes or ():
        if name not in reader.found:
            names = get_close_matches(name, reader.found) or sorted(reader.found)
            raise ValueError(
                f"{key}.classes: no object of {reader.sifter.root} is {brief(name)}; there are "
                f"{one_line(', '.join(names), 500)}"
            )


class _Reader:
    """Reads lists and annotations; `labels` numbers the classes as they are met, those that are asked for first."""

    def __init__(self, settings: VocData, key: str) -> None:
        self.sifter = Sifter(settings, key)
        self.labels = {name: label for label, name in enumerate(settings.classes or (), start=1)}
        self.found: set[str] = set()  # names of all classes, listed or not
        self._classes, self._key = settings.classes, key

    def read(self, part: str, splits: Sequence[str]) -> Annotated:
        """The images of a part."""
        return self.sifter.united(part, [self._split(part, split) for split in splits])

    def _split(self, part: str, split: str) -> Annotated:
        paths: list[str] = []
        annotations: list[Path] = []
        boxes: list[_Box] = []
        owners: list[int] = []
        for path, annotation, found in self._images(part, split):
            boxes += found
            owners += [len(paths)] * len(found)
            paths.append(path)
            annotations.append(annotation)

        def describe(row: int) -> tuple[str, str]:
            left, top, right, bottom = boxes[row].corners
            written = f"{boxes[row].name} ({left + 1:g}, {top + 1:g}, {right:g}, {bottom:g})"
            return str(annotations[owners[row]]), written

        difficult = np.array([box.difficult for box in boxes], dtype=np.bool_)
        return self.sifter.sift(
            Annotated(
                paths=paths,
                sizes=np.zeros((len(paths), 2), dtype=np.int64),
                ids=np.full(len(paths), -1),
                owners=np.array(owners, dtype=np.int64),
                boxes=np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4),
                labels=np.array([self.labels[box.name] for box in boxes], dtype=np.int64),
                ignore=difficult,
                crowd=np.zeros(len(boxes), dtype=np.bool_),
                rows=np.arange(len(boxes)),
            ),
            describe,
            min_side=1.0,
        )

    def _images(self, part: str, split: str) -> Iterator[tuple[str, Path, list[_Box]]]:
        """Of every image that is there: its file, its annotation's, and the boxes of classes that are asked for."""
        folder = self.sifter.root.joinpath(*split.split("/")[:-1])
        images = os.path.join(folder, "JPEGImages", "")
        for image_id in self._ids(part, split, folder):
            if leads_out(image_id):
                raise ValueError(
                    f"{self._key}.root: image id {brief(image_id)} of {brief(split)} leads out of {self.sifter.root}; "
                    "give ids of files in it"
                )
            self.sifter.count(images=1)
            if not self.sifter.is_new(part, images + image_id, f"{split}.txt"):
                continue
            path = next(
                (images + image_id + end for end in SUFFIXES if self.sifter.listings.has(images + image_id + end)), ""
            )
            if not path:
                reason = f"it does not exist, nor with {', '.join(SUFFIXES[1:3])}"
                self.sifter.leave_out(NO_IMAGE, images + image_id + SUFFIXES[0], reason)
                continue
            annotation = folder / "Annotations" / f"{image_id}.xml"
            try:
                boxes = _boxes(annotation)
            except ValueError as error:
                self.sifter.leave_out(NO_ANNOTATION, str(annotation), str(error))
                continue
            yield path, annotation, [box for box in boxes if self._is_listed(box, annotation)]

    def _ids(self, part: str, split: str, folder: Path) -> list[str]:
        path = folder / "ImageSets" / "Main" / f"{split.rpartition('/')[2]}.txt"
        if leads_out(split):
            raise ValueError(
                f"{self._key}.{part}: {brief(split)} leads out of {self.sifter.root}; name a split such as train"
            )
        if not path.is_file():
            raise ValueError(
                f"{self._key}.{part}: split {brief(split)} needs the file {path} with one image id per line; "
                "it does not exist"
            )
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._key}.{part}: {path} is not UTF-8 text (byte {error.start}); write one image id per line"
            ) from error
        return [line.split()[0] for line in lines if line.strip()]

    def _is_listed(self, box: _Box, annotation: Path) -> bool:
        """Whether a box is of a class that is asked for."""
        self.found.add(box.name)
        if self._classes is None:
            self.labels.setdefault(box.name, len(self.labels) + 1)
        if box.name in self.labels:
            return True
        self.sifter.problems.add(UNKNOWN_CLASS, f"{annotation.name} {box.name}")
        return False


def _boxes(annotation: Path) -> list[_Box]:
    """The objects as written.

    Raises:
        ValueError: where the file is missing or broken; it says why alone.
        OSError: where it can't be reached.
    """
    try:
        found = annotation.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_ANNOTATION_BYTES:
            raise ValueError(f"it is no file of at most {MAX_ANNOTATION_BYTES} bytes")
        return [_box(element) for element in parse_xml(annotation).iterfind("object")]
    except FileNotFoundError as error:
        raise ValueError("it does not exist") from error
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise ValueError(f"it can't be read ({one_line(str(error), 300)})") from error


def _box(element: Element) -> _Box:
    """One object as written.

    Raises:
        ValueError: where its name or a coordinate is missing or no number.
    """
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    check_class_name(name)
    values = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{corner}")
        try:
            values.append(float(text or ""))
        except ValueError as error:
            raise ValueError(f"{corner} of {name} is {brief(text)}, not a number") from error
    if not np.isfinite(values).all():
        raise ValueError(f"the box of {name} is {values}, not finite")
    left, top, right, bottom = values
    difficult = (element.findtext("difficult") or "0").strip() not in ("0", "")
    return _Box(name=name, corners=(left - 1, top - 1, right, bottom), difficult=difficult)
