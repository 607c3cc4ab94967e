"""Images with boxes, whatever the format they were written in: what is wrong is sifted out, the rest is resized.

A format's module reads a split's files into `Annotated`, a few arrays; `Sifter` leaves out what can't be used,
counts it and refuses too much of it; `ImageSet` gives images and targets to a training.

Invariant: what a format's files say is either in the data set or counted in the report, and no sound image is decoded
to know it. Every box that is left lies in its image and has an area, also in float32 and resized.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from models.wording import brief
from workers.data.disk_cache import DiskCache
from workers.data.image_files import NO_IMAGE, TORN, Listings, inspect
from workers.data.interface import (
    Cache,
    DataReport,
    DetectionData,
    Image,
    Mask,
    Problems,
    Room,
    Target,
    channels_first,
)
from workers.data.reading import leads_out, opened, rgb
from workers.settings import AnnotatedData

# Kinds of problems in a report, beside `NO_IMAGE` and `TORN`. Of boxes:
MALFORMED = "box that is missing or no four finite numbers"
NO_AREA = "box without area"
OUTSIDE = "box outside its image"
UNKNOWN_CATEGORY = "box of a category that the format or file does not have"
NO_OUTLINE = "box without a sound segmentation"
STRAY = "box of an image that is not listed"
# Of images:
NO_ANNOTATION = "missing or unreadable annotation"
WRONG_SIZE = "image of another size than its annotation says"
TWICE = "image that is listed twice"
# What nobody need correct:
UNKNOWN_CLASS = "box of a class that is not listed"
NO_BOX = "image without a box"

BOX_KINDS = (MALFORMED, NO_AREA, OUTSIDE, UNKNOWN_CATEGORY, NO_OUTLINE, STRAY)
IMAGE_KINDS = (NO_IMAGE, TORN, NO_ANNOTATION, WRONG_SIZE, TWICE)

RULES = {
    MALFORMED: "needs four finite numbers",
    NO_AREA: "needs a width and a height",
    OUTSIDE: "must lie in its image",
    UNKNOWN_CATEGORY: "needs one of the categories that there are",
    NO_OUTLINE: "needs polygons of at least three corners, or runs that fill the image's size",
    STRAY: "needs an image that the file lists",
}
"""What would be right."""

MIN_SIDE = 0.1  # of a box, in pixels of the stored image
OVERHANG = 1.0  # pixels that a box may reach over the border, where it is cut: tools differ in where they count from

Describe = Callable[[int], tuple[str, str]]


class Outlines(Protocol):
    """Segmentations of boxes, kept small until one is asked for."""

    def mask(self, row: int, height: int, width: int) -> Mask:
        """The mask, in an image of this size, of the box that was in this row when it was read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """One split as its files say: N images and M boxes.

    Attributes:
        paths: the images' files.
        sizes: int64 [N, 2], width and height; 0 where the annotations don't say.
        ids: int64 [N], the format's own numbers of the images, or -1.
        owners: int64 [M], the row of each box's image.
        boxes: float64 [M, 4], x1, y1, x2, y2 in pixels of the stored image, x2 and y2 exclusive; NaN where malformed.
        labels: int64 [M], from 1.
        ignore: bool [M], as in `Target`.
        crowd: bool [M], as in `Target`; those are ignored, too.
        rows: int64 [M], where each box was when it was read, which its describer and outlines know it by.
        area: float64 [M], as in `Target`, or None.
        occlusion: float32 [M], as in `Target`, or None.
        truncation: float32 [M], as in `Target`, or None.
        outlines: the boxes' segmentations, or None.
    """

    paths: Sequence[str]
    sizes: NDArray[np.int64]
    ids: NDArray[np.int64]
    owners: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    rows: NDArray[np.int64]
    area: NDArray[np.float64] | None = None
    occlusion: NDArray[np.float32] | None = None
    truncation: NDArray[np.float32] | None = None
    outlines: Outlines | None = None

    def take_boxes(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Annotated":
        """Some of the boxes, in this order."""
        names = ("owners", "boxes", "labels", "ignore", "crowd", "rows", "area", "occlusion", "truncation")
        values: dict[str, Any] = {}
        for name in names:
            value = getattr(self, name)
            values[name] = None if value is None else value[keep]
        return replace(self, **values)

    def take_images(self, keep: NDArray[np.bool_]) -> "Annotated":
        """Some of the images, with the boxes in them."""
        boxes = self.take_boxes(keep[self.owners])
        return replace(
            boxes,
            paths=[path for path, kept in zip(self.paths, keep.tolist(), strict=True) if kept],
            sizes=self.sizes[keep],
            ids=self.ids[keep],
            owners=(np.cumsum(keep) - 1)[boxes.owners],
        )


def joined(parts: Sequence[Annotated]) -> Annotated:
    """Several splits as one; `rows` count on from one to the next, in which outlines are joined, too."""
    if len(parts) == 1:
        return parts[0]
    num_images = np.cumsum([0, *(len(part.paths) for part in parts)])
    values: dict[str, Any] = {"paths": [path for part in parts for path in part.paths]}
    for name in (field.name for field in fields(Annotated) if field.name not in ("paths", "rows", "outlines")):
        found = [getattr(part, name) for part in parts]
        if all(value is not None for value in found):
            values[name] = np.concatenate(found)
    values["owners"] = np.concatenate([part.owners + start for part, start in zip(parts, num_images, strict=False)])
    return Annotated(**values, rows=np.arange(len(values["owners"])), outlines=_joined_outlines(parts))


@dataclass(frozen=True, slots=True)
class _JoinedOutlines:
    parts: Sequence[tuple[Outlines, NDArray[np.int64]]]  # outlines, and the rows of the part's boxes in them

    def mask(self, row: int, height: int, width: int) -> Mask:
        for outlines, rows in self.parts:
            if row < len(rows):
                return outlines.mask(int(rows[row]), height, width)
            row -= len(rows)
        raise IndexError(row)


def _joined_outlines(parts: Sequence[Annotated]) -> Outlines | None:
    found = [(part.outlines, part.rows) for part in parts if part.outlines is not None]
    return _JoinedOutlines(found) if found else None


class Sifter:
    """Leaves out what can't be used, and counts or refuses it."""

    def __init__(self, settings: AnnotatedData, key: str) -> None:
        """Nothing has been found yet; `key` is the config's key of `settings`, for messages."""
        self.problems = Problems()
        self.listings = Listings()
        self._settings, self._key = settings, key
        self._num_images = self._num_boxes = 0
        self._seen: dict[str, set[str]] = {}

    @property
    def root(self) -> Path:
        """The data's folder."""
        return Path(self._settings.root)

    def check_root(self, holds: str) -> None:
        """Refuse a root that is no folder; `holds` says what it must hold."""
        if not self.root.is_dir():
            raise ValueError(f"{self._key}.root: {brief(self._settings.root)} is no folder; it must hold {holds}")

    def below_root(self, name: str, key: str, what: str) -> Path:
        """The path that a config gives below the root.

        Raises:
            ValueError: where it leads out of it; `key` and `what` say what gave it, and what should be given.
        """
        if leads_out(name):
            raise ValueError(f"{self._key}.{key}: {brief(name)} leads out of {self.root}; name {what}")
        return self.root / name

    def count(self, *, images: int = 0, boxes: int = 0) -> None:
        """Tell of images and boxes that were read, of which what is left out is a share."""
        self._num_images += images
        self._num_boxes += boxes

    def leave_out(self, kind: str, where: str, reason: str, value: str = "") -> None:
        """Count one thing that is wrong, or refuse it where the settings say so.

        Args:
            kind: one of this module's kinds.
            where: the file, and the place in it.
            reason: what is wrong and what would be right.
            value: what was found, for the report.
        """
        if self._settings.invalid_boxes == "refuse":
            raise ValueError(f"{where}: {kind}: {reason}; correct it, or set {self._key}.invalid_boxes to drop")
        self.problems.add(kind, f"{Path(where).name} {value}".strip())

    def leave_out_all(self, kind: str, rows: Sequence[int], describe: Describe) -> None:
        """Count or refuse boxes; `describe` says of a row in which file it is, and how it is written there."""
        if not rows:
            return
        where, value = describe(rows[0])
        if self._settings.invalid_boxes == "refuse":
            self.leave_out(kind, where, f"{value} {RULES[kind]}")

        def place(row: int) -> str:
            where, value = describe(row)
            return f"{Path(where).name} {value}"

        self.problems.add_all(kind, rows, place)

    def is_new(self, part: str, path: str, where: str) -> bool:
        """Whether a part of the data has no such image so far; one that it has is left out.

        Args:
            part: ``train`` or ``val``.
            path: the image's file.
            where: the file that lists it.
        """
        seen = self._seen.setdefault(part, set())
        if path in seen:
            self.leave_out(TWICE, where, f"{path} must be there once", Path(path).name)
            return False
        seen.add(path)
        return True

    def sift(
        self,
        found: Annotated,
        describe: Describe,
        *,
        min_side: float = MIN_SIDE,
        overhang: float = OVERHANG,
        check_images: bool = True,
    ) -> Annotated:
        """What of one split can be used.

        Args:
            found: what the format's files say; images that are known to be missing are not among it.
            describe: for a box's row in `found.rows`, the file it stands in and how it is written there.
            min_side: boxes that are no longer or higher have no area.
            overhang: pixels that a box may reach over the border.
            check_images: whether to look at the images' files.

        Raises:
            ValueError: for what is wrong where the settings refuse it.
            OSError: where a file that is there can't be read.
        """
        if check_images or not found.sizes.all():
            found = self._sift_images(found)
        self.count(boxes=len(found.boxes))
        return self._sift_boxes(found, describe, min_side, overhang)

    def united(self, part: str, splits: Sequence[Annotated]) -> Annotated:
        """The splits of a part as one, for training without images that have no box to find if the settings say so.

        Args:
            part: the config's key of the splits, ``train`` or ``val``.
            splits: each as `sift` gives it.

        Raises:
            ValueError: where no box to find is left.
        """
        found = joined(splits)
        if found.ignore.all():
            reasons = "; ".join(map(str, self.problems.all())) or (
                ("there are only ignored boxes" if len(found.boxes) else "there are no boxes")
                if found.paths
                else "the lists are empty"
            )
            names = ", ".join(getattr(self._settings, part))
            raise ValueError(f"{self._key}.{part}: {names} has no image with a box left ({reasons})")
        has_box = np.zeros(len(found.paths), dtype=np.bool_)
        has_box[found.owners[~found.ignore]] = True  # a detector would learn that what is ignored is background
        if part == "train" and self._settings.empty_images == "drop" and not has_box.all():
            empty = np.flatnonzero(~has_box).tolist()
            self.problems.add_all(NO_BOX, empty, lambda row: Path(found.paths[row]).name)
            found = found.take_images(has_box)
        return found

    def check_shares(self) -> None:
        """Refuse a data set of which more than `max_invalid_share` is wrong."""
        limit = self._settings.max_invalid_share
        for kinds, total, what in (
            (BOX_KINDS, self._num_boxes, "boxes"),
            (IMAGE_KINDS, self._num_images, "images"),
        ):
            invalid = self.problems.count(*kinds)
            if invalid > limit * total:
                found = "; ".join(str(problem) for problem in self.problems.all() if problem.kind in kinds)
                raise ValueError(
                    f"{self._key}.max_invalid_share: {invalid} of {total} {what} are invalid, more than "
                    f"{limit:g} of them ({found}); correct them or raise {self._key}.max_invalid_share"
                )

    def _sift_images(self, found: Annotated) -> Annotated:
        """The images whose files are sound and have the size that is said, with that size."""
        sizes, broken = inspect(found.paths)
        for one in broken:
            self.leave_out(one.kind, found.paths[one.row], one.reason)
        sound = sizes[:, 0] > 0
        other = sound & (found.sizes[:, 0] > 0) & (sizes != found.sizes).any(axis=1)
        for row in np.flatnonzero(other).tolist():
            (width, height), (said_width, said_height) = sizes[row].tolist(), found.sizes[row].tolist()
            value = f"is {width} x {height}, not {said_width} x {said_height}"
            self.leave_out(WRONG_SIZE, found.paths[row], f"it {value}", value)
        found = replace(found, sizes=sizes)
        return found.take_images(sound & ~other) if (~sound | other).any() else found

    def _sift_boxes(self, found: Annotated, describe: Describe, min_side: float, overhang: float) -> Annotated:
        """The boxes with an area in their image, cut at its border."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is sifted out
            boxes = found.boxes
            limits = np.concatenate([found.sizes, found.sizes], axis=1)[found.owners].astype(np.float64)
            kinds = {
                MALFORMED: ~np.isfinite(boxes).all(axis=1),
                NO_AREA: ~(boxes[:, 2:] - boxes[:, :2] > min_side).all(axis=1),
            }
            cut = np.clip(boxes, 0, limits)
            over = (boxes[:, :2] < -overhang) | (boxes[:, 2:] > limits[:, 2:] + overhang)
            kinds[OUTSIDE] = over.any(axis=1) | ~(cut[:, 2:] - cut[:, :2] > MIN_SIDE / 2).all(axis=1)
        left = np.ones(len(boxes), dtype=np.bool_)
        for kind, wrong in kinds.items():
            self.leave_out_all(kind, found.rows[wrong & left].tolist(), describe)
            left &= ~wrong
        found = replace(found, boxes=cut)
        return found if left.all() else found.take_boxes(left)


class ImageSet:
    """One split for a training: images and targets, resized."""

    def __init__(self, found: Annotated, settings: AnnotatedData, room: Room) -> None:
        """Give out what is `found`; `room` is for images that are kept in memory."""
        if (np.diff(found.owners) < 0).any():
            found = found.take_boxes(np.argsort(found.owners, kind="stable"))
        self._found = found
        self._starts = np.searchsorted(found.owners, np.arange(len(found.paths) + 1))
        self._short_side, self._long_side = settings.short_side, settings.long_side
        self._disk = DiskCache(settings.cache_dir)
        self._images = Cache[Image](make=self._read, size_bytes=lambda image: image.nbytes, room=room)

    def __len__(self) -> int:
        return len(self._found.paths)

    def image(self, index: int) -> Image:
        """The resized image, uint8 [3, height, width]."""
        return self._images[index]

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the resized image; nothing is read to know it."""
        width, height = self._found.sizes[index].tolist()
        scale = min(self._short_side / min(width, height), self._long_side / max(width, height))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def path(self, index: int) -> Path:
        """The image's file."""
        return Path(self._found.paths[index])

    def stored_id(self, index: int) -> int:
        """The number that the format's own files give the image, or -1."""
        return int(self._found.ids[index])

    def target(self, index: int) -> Target:
        """The image's boxes, scaled with it."""
        found, boxes = self._found, slice(self._starts[index], self._starts[index + 1])
        height, width = self.size(index)
        stored_width, stored_height = found.sizes[index].tolist()
        scale_x, scale_y = width / stored_width, height / stored_height
        masks = None
        if found.outlines is not None:
            masks = tuple(found.outlines.mask(row, stored_height, stored_width) for row in found.rows[boxes].tolist())
        return Target(
            image_id=index + 1,
            boxes=(found.boxes[boxes] * (scale_x, scale_y, scale_x, scale_y)).astype(np.float32),
            labels=found.labels[boxes],
            ignore=found.ignore[boxes],
            scale=(scale_y, scale_x),
            crowd=found.crowd[boxes],
            area=None if found.area is None else found.area[boxes],
            occlusion=None if found.occlusion is None else found.occlusion[boxes],
            truncation=None if found.truncation is None else found.truncation[boxes],
            masks=masks,
        )

    def _read(self, index: int) -> Image:
        width, height = self._found.sizes[index].tolist()  # `_decoded` refuses any other, and must be asked about it
        return self._disk.image(
            self.path(index),
            self.size(index),
            lambda: self._decoded(index),
            manner=f"all of {width} x {height}, bilinear",
        )

    def _decoded(self, index: int) -> Image:
        height, width = self.size(index)
        with opened(self.path(index), "replace it or take it off its list") as stored:
            if list(stored.size) != self._found.sizes[index].tolist():
                said = " x ".join(map(str, self._found.sizes[index].tolist()))
                raise ValueError(f"it has {stored.width} x {stored.height} pixels, not {said} as at the start")
            resized = rgb(stored).resize((width, height), PillowImage.Resampling.BILINEAR)
        return channels_first(np.asarray(resized))


def detection_data(
    train: Annotated,
    val: Annotated,
    class_names: Sequence[str],
    settings: AnnotatedData,
    problems: Problems,
    class_ids: Sequence[int] = (),
) -> DetectionData:
    """What a training reads of two splits that were sifted; their labels count `class_names` from 1."""
    room = Room(limit_bytes=settings.cache_bytes)
    counts = np.bincount(np.concatenate([train.labels, val.labels]), minlength=len(class_names) + 1)
    return DetectionData(
        train=ImageSet(train, settings, room),
        val=ImageSet(val, settings, room),
        class_names=tuple(class_names),
        mean=settings.mean,
        std=settings.std,
        report=DataReport(
            num_train=len(train.paths),
            num_val=len(val.paths),
            class_names=tuple(class_names),
            class_counts=tuple(counts[1:].tolist()),
            problems=problems.all(),
        ),
        class_ids=tuple(class_ids),
        family=settings.family,
    )
