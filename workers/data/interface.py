"""What a training reads, whatever the format.

Images are bytes, [3, height, width], already resized; boxes are float32 [N, 4] as x1, y1, x2, y2 in pixels of
the resized image, x2 and y2 exclusive; labels are int64 from 1 (0 is the background).

Invariant: `image(i)` and `target(i)` give the same values whenever, in whatever order and in whichever thread they are
asked for, and callers don't write into what they get. They raise `ValueError`, naming the file, where an image is
broken, and `OSError` where storage fails.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.wording import one_line
from workers.metric_names import MetricFamily

Image = NDArray[np.uint8]
Value = TypeVar("Value")
Item = TypeVar("Item")


class Mask(TypedDict):
    """One object's pixels in the stored image: COCO's run-length encoding, as `pycocotools.mask` has it.

    `size` is height and width, `counts` the compressed runs, column by column.
    """

    size: list[int]
    counts: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The boxes of one image.

    Fields that a format has no word for are None, which reads as: no crowds, area of the box, nothing
    occluded or truncated, no masks.

    Attributes:
        image_id: a number within the split, from 1.
        boxes: float32 [N, 4], pixels of the resized image.
        labels: int64 [N], from 1; 0 is a region to ignore for all classes alike.
        ignore: bool [N]; ignored boxes are left out of training and count neither way in evaluation.
        scale: resized height over original height, resized width over original width.
        crowd: bool [N]; a region that holds any number of objects (COCO's iscrowd, EuroCity Persons' groups).
            Each is ignored, too, and any number of detections match it, by the share of the detection in it.
        area: float64 [N], pixels of the stored image by which an object is small, medium or large (COCO: the
            area of its segmentation).
        occlusion: float32 [N], the share that is hidden, from 0 to 1; of a tag such as ``occluded>40`` 0.4.
        truncation: float32 [N], the share outside the image, likewise.
        masks: one per box.
    """

    image_id: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    scale: tuple[float, float]
    crowd: NDArray[np.bool_] | None = None
    area: NDArray[np.float64] | None = None
    occlusion: NDArray[np.float32] | None = None
    truncation: NDArray[np.float32] | None = None
    masks: tuple[Mask, ...] | None = None


class DetectionSet(Protocol):
    """One split of a detection data set."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def image(self, index: int) -> Image:
        """The resized image, uint8 [3, height, width]."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the resized image; nothing is read to know it."""
        ...

    def target(self, index: int) -> Target:
        """The image's boxes."""
        ...


class ClassificationSet(Protocol):
    """One split of a classification data set."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def image(self, index: int) -> Image:
        """A square image, uint8 [3, side, side]; the side may exceed `ClassificationData.image_size`."""
        ...

    def label(self, index: int) -> int:
        """The image's class, from 0."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One kind of thing that is wrong with a data set: how often, and the first few files."""

    kind: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} x {self.kind}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What a data set holds after what is wrong was left out.

    Attributes:
        num_train: images to train on.
        num_val: images to evaluate on.
        class_names: in the order of their labels.
        class_counts: boxes (or images to classify) of each class over both.
        problems: what was left out, by kind.
    """

    num_train: int
    num_val: int
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """The report for a terminal or log, one line per fact."""
        counts = ", ".join(f"{name} {count}" for name, count in zip(self.class_names, self.class_counts, strict=False))
        head = f"{self.num_train} training and {self.num_val} validation images; {counts or 'drawn on the go'}"
        return (head, *(f"left out: {problem}" for problem in self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionData:
    """A detection data set.

    `mean` and `std` are per channel, of pixels from 0 to 1; `class_ids` are the numbers that the format's own files
    give the classes, in the order of their labels, or nothing where it has only names; `family` are the metrics that
    detectors are judged by.
    """

    train: DetectionSet
    val: DetectionSet
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    report: DataReport
    class_ids: tuple[int, ...] = ()
    family: MetricFamily = "coco"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationData:
    """A classification data set. `image_size` is the side of the crop a network sees."""

    train: ClassificationSet
    val: ClassificationSet
    class_names: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    report: DataReport


@dataclass(slots=True, kw_only=True)
class Room:
    """The memory that the caches of one data set share."""

    limit_bytes: int
    used_bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def takes(self, size_bytes: int) -> bool:
        """Use this much of it, if it is still there; any thread may ask."""
        with self._lock:
            if self.used_bytes + size_bytes > self.limit_bytes:
                return False
            self.used_bytes += size_bytes
            return True


@dataclass(slots=True, kw_only=True)
class Cache(Generic[Value]):
    """Values kept by index while there is `room`; later ones are made anew each time.

    `make` gives the value of an index and `size_bytes` its size.
    """

    make: Callable[[int], Value]
    size_bytes: Callable[[Value], int]
    room: Room
    _values: dict[int, Value] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Value:
        """The value of an index."""
        if index in self._values:
            return self._values[index]
        value = self.make(index)
        if index not in self._values and self.room.takes(self.size_bytes(value)):
            self._values[index] = value
        return value


@dataclass(slots=True)
class Problems:
    """Collects problems while a data set is read; of each kind the number and the first few places are kept."""

    num_examples: int = 3
    _counts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Count one problem; `where` is a file, with a value where that helps."""
        self.add_all(kind, (where,), str)

    def add_all(self, kind: str, found: Collection[Item], where: Callable[[Item], str]) -> None:
        """Count problems of one kind; `where` says where one is, and is asked for the first few alone."""
        if not found:
            return
        self._counts[kind] = self._counts.get(kind, 0) + len(found)
        examples = self._examples.setdefault(kind, [])
        examples += [one_line(where(item)) for item in islice(found, max(0, self.num_examples - len(examples)))]

    def count(self, *kinds: str) -> int:
        """How many of these kinds were found."""
        return sum(self._counts.get(kind, 0) for kind in kinds)

    def all(self) -> tuple[Problem, ...]:
        """The problems by kind, in alphabetical order."""
        return tuple(
            Problem(kind=kind, count=count, examples=tuple(self._examples[kind]))
            for kind, count in sorted(self._counts.items())
        )


def channels_first(pixels: NDArray[Any]) -> Image:
    """[height, width, 3] as stored by image libraries to contiguous uint8 [3, height, width]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.uint8)
