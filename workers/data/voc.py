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

import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse as parse_xml
from PIL import Image as PillowImage

from models.wording import brief, one_line
from workers.data.interface import (
    Cache,
    DataReport,
    DetectionData,
    Image,
    Problems,
    Room,
    Target,
    channels_first,
)
from workers.data.reading import check_class_name, leads_out, opened, rgb
from workers.settings import VocData

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")

MAX_ANNOTATION_BYTES = 16 * 2**20

# Kinds of problems in a report.
NO_AREA = "box without area"
OUTSIDE = "box outside its image"
UNKNOWN_CLASS = "box of a class that is not listed"
NO_IMAGE = "missing or unreadable image"
NO_ANNOTATION = "missing or unreadable annotation"
NO_BOX = "image without a box"

_BOX_KINDS = (NO_AREA, OUTSIDE)
_IMAGE_KINDS = (NO_IMAGE, NO_ANNOTATION, NO_BOX)

# x1, y1, x2, y2 in pixels of the stored image, x2 and y2 exclusive
Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    name: str
    corners: Corners
    difficult: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Annotated:
    path: Path
    width: int
    height: int
    boxes: tuple[_Box, ...]


class _Split:
    """The images of one or more lists."""

    def __init__(
        self, annotated: Sequence[_Annotated], class_names: Sequence[str], settings: VocData, room: Room
    ) -> None:
        self._annotated = annotated
        self._labels = {name: label for label, name in enumerate(class_names, start=1)}
        self._short_side, self._long_side = settings.short_side, settings.long_side
        self._images = Cache[Image](make=self._read, size_bytes=lambda image: image.nbytes, room=room)

    def __len__(self) -> int:
        return len(self._annotated)

    def image(self, index: int) -> Image:
        """The resized image, uint8 [3, height, width]."""
        return self._images[index]

    def target(self, index: int) -> Target:
        """The image's boxes, scaled with it."""
        annotated = self._annotated[index]
        width, height = self._resized(annotated)
        scale_x, scale_y = width / annotated.width, height / annotated.height
        corners = np.array([box.corners for box in annotated.boxes], dtype=np.float64).reshape(-1, 4)
        return Target(
            image_id=index + 1,
            boxes=(corners * (scale_x, scale_y, scale_x, scale_y)).astype(np.float32),
            labels=np.array([self._labels[box.name] for box in annotated.boxes], dtype=np.int64),
            ignore=np.array([box.difficult for box in annotated.boxes], dtype=np.bool_),
            scale=(scale_y, scale_x),
        )

    def _resized(self, annotated: _Annotated) -> tuple[int, int]:
        sides = annotated.width, annotated.height
        scale = min(self._short_side / min(sides), self._long_side / max(sides))
        return max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))

    def _read(self, index: int) -> Image:
        annotated = self._annotated[index]
        with (
            opened(annotated.path, "replace it or take it off its list") as stored,
        ):
            resized = rgb(stored).resize(self._resized(annotated), PillowImage.Resampling.BILINEAR)
        return channels_first(np.asarray(resized))


def open_voc(settings: VocData, *, key: str) -> DetectionData:
    """The training and evaluation images.

    Args:
        settings: the folder, its splits, the size, and what is done with what is wrong.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for a missing folder or list; for what is wrong where `invalid_boxes` is ``refuse`` or
            where it is more than `max_invalid_share`; for a split that nothing is left of.
        OSError: where a folder or file that is there can't be read.
    """
    root = Path(settings.root)
    if not root.is_dir():
        raise ValueError(
            f"{key}.root: {brief(settings.root)} is no folder; it must hold JPEGImages, Annotations and "
            "ImageSets/Main, or VOC2007 and the like with these"
        )
    reader = _Reader(settings, root, key)
    train = reader.read("train", settings.train)
    val = reader.read("val", settings.val)
    reader.check_shares()
    found = Counter(box.name for annotated in (*train, *val) for box in annotated.boxes)
    class_names = settings.classes or tuple(sorted(found))
    room = Room(limit_bytes=settings.cache_bytes)
    return DetectionData(
        train=_Split(train, class_names, settings, room),
        val=_Split(val, class_names, settings, room),
        class_names=class_names,
        mean=settings.mean,
        std=settings.std,
        report=DataReport(
            num_train=len(train),
            num_val=len(val),
            class_names=class_names,
            class_counts=tuple(found[name] for name in class_names),
            problems=reader.problems.all(),
        ),
    )


class _Reader:
    """Reads lists and annotations, and counts or refuses what is wrong."""

    def __init__(self, settings: VocData, root: Path, key: str) -> None:
        self.problems = Problems()
        self._settings, self._root, self._key = settings, root, key
        self._num_images = self._num_boxes = 0

    def read(self, part: str, splits: Sequence[str]) -> list[_Annotated]:
        """The images of some splits that have a box, in the order of the lists."""
        annotated = [
            one for split in splits for image_id in self._ids(part, split) if (one := self._image(split, image_id))
        ]
        if not annotated:
            reasons = "; ".join(map(str, self.problems.all())) or "the lists are empty"
            raise ValueError(f"{self._key}.{part}: {', '.join(splits)} has no image with a box left ({reasons})")
        return annotated

    def check_shares(self) -> None:
        """Refuse a data set of which more than `max_invalid_share` is wrong."""
        limit = self._settings.max_invalid_share
        for kinds, total, what in (
            (_BOX_KINDS, self._num_boxes, "boxes"),
            (_IMAGE_KINDS, self._num_images, "images"),
        ):
            invalid = self.problems.count(*kinds)
            if invalid > limit * total:
                found = "; ".join(str(problem) for problem in self.problems.all() if problem.kind in kinds)
                raise ValueError(
                    f"{self._key}.max_invalid_share: {invalid} of {total} {what} are invalid, more than "
                    f"{limit:g} of them ({found}); correct them or raise {self._key}.max_invalid_share"
                )

    def _ids(self, part: str, split: str) -> list[str]:
        path = self._folder(split) / "ImageSets" / "Main" / f"{split.rpartition('/')[2]}.txt"
        if leads_out(split):
            raise ValueError(
                f"{self._key}.{part}: {brief(split)} leads out of {self._root}; name a split such as train"
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

    def _folder(self, split: str) -> Path:
        return self._root.joinpath(*split.split("/")[:-1])

    def _image(self, split: str, image_id: str) -> _Annotated | None:
        """The image and its valid boxes, or None where it is left out."""
        self._num_images += 1
        folder = self._folder(split)
        annotation = folder / "Annotations" / f"{image_id}.xml"
        image = folder / "JPEGImages" / image_id
        if leads_out(image_id):
            raise ValueError(
                f"{self._key}.root: image id {brief(image_id)} of {brief(split)} leads out of {self._root}; "
                "give ids of files in it"
            )
        try:
            path, width, height = _header(image)
            written = _boxes(annotation)
            listed = [box for box in written if self._is_listed(box, annotation)]
            boxes = [box for box in listed if self._keeps(box, width, height, annotation)]
            if written and not listed:
                return None
            if not boxes:
                raise _Invalid(NO_BOX, annotation, "no box is left in it")
        except _Invalid as problem:
            self._leave_out(problem)
            return None
        cut = tuple(replace(box, corners=_cut(box.corners, width, height)) for box in boxes)
        return _Annotated(path=path, width=width, height=height, boxes=cut)

    def _is_listed(self, box: _Box, annotation: Path) -> bool:
        """Whether a box is of a class that is asked for."""
        if self._settings.classes is None or box.name in self._settings.classes:
            return True
        self.problems.add(UNKNOWN_CLASS, f"{annotation.name} {box.name}")
        return False

    def _keeps(self, box: _Box, width: int, height: int, annotation: Path) -> bool:
        """Whether a box is valid."""
        self._num_boxes += 1
        try:
            _check_box(box, width, height, annotation)
        except _Invalid as problem:
            self._leave_out(problem)
            return False
        return True

    def _leave_out(self, problem: "_Invalid") -> None:
        if self._settings.invalid_boxes == "refuse":
            raise ValueError(
                f"{problem.path}: {problem.kind}: {problem.reason}; correct it, or set "
                f"{self._key}.invalid_boxes to drop"
            )
        self.problems.add(problem.kind, f"{problem.path.name} {problem.value}".strip())


class _Invalid(Exception):
    """Something that can't be used: its kind, file, what would be right, and the value."""

    def __init__(self, kind: str, path: Path, reason: str, value: str = "") -> None:
        super().__init__(reason)
        self.kind, self.path, self.reason, self.value = kind, path, reason, value


def _header(image: Path) -> tuple[Path, int, int]:
    """The image's file, width and height; its pixels are not read."""
    candidates = [image.with_name(image.name + suffix) for suffix in SUFFIXES]
    path = next(filter(Path.is_file, candidates), None)
    if path is None:
        raise _Invalid(NO_IMAGE, candidates[0], f"it does not exist, nor with {', '.join(SUFFIXES[1:3])}")
    try:
        with opened(path, "replace it") as stored:
            return path, stored.width, stored.height
    except ValueError as error:
        raise _Invalid(NO_IMAGE, path, f"it can't be read ({error.__cause__})") from error


def _boxes(annotation: Path) -> list[_Box]:
    """The objects as written."""
    try:
        found = annotation.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_ANNOTATION_BYTES:
            raise ValueError(f"it is no file of at most {MAX_ANNOTATION_BYTES} bytes")
        return [_box(element) for element in parse_xml(annotation).iterfind("object")]
    except FileNotFoundError as error:
        raise _Invalid(NO_ANNOTATION, annotation, "it does not exist") from error
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise _Invalid(NO_ANNOTATION, annotation, f"it can't be read ({one_line(str(error), 300)})") from error


def _check_box(box: _Box, width: int, height: int, annotation: Path) -> None:
    """Refuse a box without area or outside its image."""
    left, top, right, bottom = box.corners
    as_written = f"{box.name} ({left + 1:g}, {top + 1:g}, {right:g}, {bottom:g})"
    if right - left <= 1 or bottom - top <= 1:
        reason = f"{as_written} needs xmax > xmin and ymax > ymin"
        raise _Invalid(NO_AREA, annotation, reason, as_written)
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        reason = f"{as_written} needs 1 <= x <= {width} and 1 <= y <= {height}"
        raise _Invalid(OUTSIDE, annotation, reason, as_written)


def _cut(corners: Corners, width: int, height: int) -> Corners:
    """The part of a box within its image."""
    left, top, right, bottom = corners
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


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
