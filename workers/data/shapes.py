"""Coloured shapes on a grey ground, drawn on the fly: a data set that needs no download.

Discs, squares, triangles and crosses of log-uniform size, turned by up to 25 degrees, over grey lines and
under grey bars, with noise. The hue of most objects is drawn from their class's quarter of the circle, so
that a network learns soon; that of the others is random, so that shape counts too.

Invariant: picture i of a split depends only on the settings, the split and i.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from pycocotools import mask as run_lengths

from workers.data.interface import (
    Cache,
    ClassificationData,
    DataReport,
    DetectionData,
    Image,
    Mask,
    Room,
    Target,
    channels_first,
)
from workers.settings import ShapesClassification, ShapesData

CLASS_NAMES = ("disc", "square", "triangle", "cross")
MAX_TURN = math.radians(25)
MAX_OVERLAP = 0.2  # of the smaller of two objects' boxes
NUM_TRIES = 12  # places tried for one object before it is left out

# Streams of random numbers, part of what a picture depends on: append only.
_TRAIN, _VAL, _CLASSIFY_TRAIN, _CLASSIFY_VAL = range(4)

Polygon = NDArray[np.float64]


class _Canvas:
    """A picture being drawn, its side in pixels."""

    def __init__(self, side: int, draws: np.random.Generator) -> None:
        self.side, self.draws = side, draws
        self._picture = PillowImage.new("RGB", (side, side), _grey(draws.uniform(0.2, 0.5)))
        self._pencil = ImageDraw.Draw(self._picture)

    def bar(self, width: int) -> None:
        """A grey line across the picture."""
        ends = self.draws.uniform(0, self.side, 4)
        self._pencil.line(list(ends), fill=_grey(self.draws.uniform(0.1, 0.7)), width=width)

    def shape(self, label: int, outline: Polygon, colour: tuple[int, int, int]) -> None:
        """A filled object of the class `label`."""
        _fill(self._pencil, label, outline, colour)

    def finish(self, noise: float) -> Image:
        """The picture with noise."""
        pixels = np.asarray(self._picture, dtype=np.float32)
        pixels = pixels + self.draws.standard_normal(pixels.shape, dtype=np.float32) * (255 * noise)
        return channels_first(pixels.clip(0, 255))


def draw(settings: ShapesData, stream: int, index: int) -> tuple[Image, Target]:
    """One picture and its boxes.

    Args:
        settings: what can be seen.
        stream: the split's stream of random numbers.
        index: of the picture, from 0.

    Returns:
        The image, uint8 [3, image_size, image_size], and its target; boxes lie within the image. Masks, as boxes, are
        those of whole objects.
    """
    draws = np.random.default_rng([settings.seed, stream, index])
    side = settings.image_size
    canvas = _Canvas(side, draws)
    for _ in range(draws.integers(0, settings.max_clutter + 1)):
        canvas.bar(int(draws.integers(1, 4)))
    boxes: list[NDArray[np.float64]] = []
    labels: list[int] = []
    masks: list[Mask] = []
    for _ in range(draws.integers(1, settings.max_objects + 1)):
        label = int(draws.integers(len(CLASS_NAMES)))
        radius = math.exp(draws.uniform(math.log(settings.min_radius), math.log(settings.max_radius)))
        outline = _outline(label, radius, draws.uniform(-MAX_TURN, MAX_TURN))
        colour = _colour(draws, label, settings.hue_share)
        low, high = -outline.min(0), side - 1 - outline.max(0)
        for _ in range(NUM_TRIES):
            placed = outline + draws.uniform(low, high)
            box = np.concatenate([placed.min(0), placed.max(0)])
            if all(_overlap(box, other) <= MAX_OVERLAP for other in boxes):
                canvas.shape(label, placed, colour)
                masks.append(_mask(label, placed, side))
                boxes.append(box)
                labels.append(label + 1)
                break
    for _ in range(draws.integers(0, settings.max_occluders + 1)):
        canvas.bar(max(2, round(settings.min_radius / 2)))
    corners = np.array(boxes).reshape(-1, 4)
    corners[:, 2:] += 1  # the last pixel belongs to the object
    target = Target(
        image_id=index + 1,
        boxes=corners.clip(0, side).astype(np.float32),
        labels=np.array(labels, dtype=np.int64),
        ignore=np.zeros(len(labels), dtype=np.bool_),
        scale=(1.0, 1.0),
        masks=tuple(masks),
    )
    return canvas.finish(settings.noise), target


def draw_crop(settings: ShapesClassification, stream: int, index: int) -> tuple[Image, int]:
    """One picture with one object, and its class from 0."""
    draws = np.random.default_rng([settings.seed, stream, index])
    side = settings.image_size
    canvas = _Canvas(side, draws)
    canvas.bar(int(draws.integers(1, 4)))
    label = int(draws.integers(len(CLASS_NAMES)))
    radius = side * math.exp(draws.uniform(math.log(0.12), math.log(0.42)))
    outline = _outline(label, radius, draws.uniform(-MAX_TURN, MAX_TURN))
    low, high = -outline.min(0), side - 1 - outline.max(0)
    canvas.shape(label, outline + draws.uniform(low, high), _colour(draws, label, settings.hue_share))
    return canvas.finish(settings.noise), label


class _Shapes:
    """One split of pictures."""

    def __init__(self, settings: ShapesData, stream: int, length: int, room: Room) -> None:
        self._length, self._side = length, settings.image_size
        self._drawn = Cache[tuple[Image, Target]](
            make=lambda index: draw(settings, stream, index),
            size_bytes=lambda drawn: drawn[0].nbytes,
            room=room,
        )

    def __len__(self) -> int:
        return self._length

    def image(self, index: int) -> Image:
        """The picture, uint8 [3, side, side]."""
        return self._drawn[index][0]

    def size(self, index: int) -> tuple[int, int]:
        """The side, twice."""
        return self._side, self._side

    def target(self, index: int) -> Target:
        """The picture's boxes."""
        return self._drawn[index][1]


class _Crops:
    """One split of pictures with one object."""

    def __init__(self, settings: ShapesClassification, stream: int, length: int, room: Room) -> None:
        self._length = length
        self._drawn = Cache[tuple[Image, int]](
            make=lambda index: draw_crop(settings, stream, index),
            size_bytes=lambda drawn: drawn[0].nbytes,
            room=room,
        )

    def __len__(self) -> int:
        return self._length

    def image(self, index: int) -> Image:
        """The picture, uint8 [3, side, side]."""
        return self._drawn[index][0]

    def label(self, index: int) -> int:
        """The object's class, from 0."""
        return self._drawn[index][1]


def open_shapes(settings: ShapesData) -> DetectionData:
    """The training and evaluation pictures."""
    room = Room(limit_bytes=settings.cache_bytes)
    return DetectionData(
        train=_Shapes(settings, _TRAIN, settings.num_train, room),
        val=_Shapes(settings, _VAL, settings.num_val, room),
        class_names=CLASS_NAMES,
        mean=settings.mean,
        std=settings.std,
        report=DataReport(num_train=settings.num_train, num_val=settings.num_val, class_names=CLASS_NAMES),
    )


def open_shapes_classification(settings: ShapesClassification) -> ClassificationData:
    """The training and evaluation pictures with one object each."""
    room = Room(limit_bytes=settings.cache_bytes)
    return ClassificationData(
        train=_Crops(settings, _CLASSIFY_TRAIN, settings.num_train, room),
        val=_Crops(settings, _CLASSIFY_VAL, settings.num_val, room),
        class_names=CLASS_NAMES,
        image_size=settings.image_size,
        mean=settings.mean,
        std=settings.std,
        report=DataReport(num_train=settings.num_train, num_val=settings.num_val, class_names=CLASS_NAMES),
    )


def _grey(value: float) -> tuple[int, int, int]:
    level = round(255 * value)
    return level, level, level


def _colour(draws: np.random.Generator, label: int, hue_share: float) -> tuple[int, int, int]:
    """A saturated colour; its hue is of the class's quarter in `hue_share` of all cases."""
    telling = draws.uniform() < hue_share
    hue = draws.uniform(label, label + 1) / len(CLASS_NAMES) if telling else draws.uniform()
    saturation, value = draws.uniform(0.7, 1.0), draws.uniform(0.7, 1.0)
    sixth = 6 * hue
    ramps = [min(max(ramp, 0), 1) for ramp in (abs(sixth - 3) - 1, 2 - abs(sixth - 2), 2 - abs(sixth - 4))]
    red, green, blue = (round(255 * value * (1 - saturation * (1 - ramp))) for ramp in ramps)
    return red, green, blue


def _outline(label: int, radius: float, turn: float) -> Polygon:
    """The corners of an object around the origin, [N, 2]; of a disc those of its box."""
    arm = radius * 0.35
    corners: Sequence[tuple[float, float]]
    match CLASS_NAMES[label]:
        case "disc":
            return np.array([(-radius, -radius), (radius, radius)])
        case "square":
            half = radius * 0.85
            corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
        case "triangle":
            corners = [(0, -radius), (radius * 0.9, radius * 0.7), (-radius * 0.9, radius * 0.7)]
        case _:
            corners = [
                *((-arm, -radius), (arm, -radius), (arm, -arm), (radius, -arm), (radius, arm), (arm, arm)),
                *((arm, radius), (-arm, radius), (-arm, arm), (-radius, arm), (-radius, -arm), (-arm, -arm)),
            ]
    cosine, sine = math.cos(turn), math.sin(turn)
    turned: Polygon = np.array(corners) @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _fill(pencil: ImageDraw.ImageDraw, label: int, outline: Polygon, colour: tuple[int, int, int] | int) -> None:
    if CLASS_NAMES[label] == "disc":
        pencil.ellipse([*outline.min(0), *outline.max(0)], fill=colour)
    else:
        pencil.polygon([(x, y) for x, y in outline], fill=colour)


def _mask(label: int, outline: Polygon, side: int) -> Mask:
    """An object's pixels, whatever is drawn over it later, as its box is that of all of it."""
    picture = PillowImage.new("L", (side, side))
    _fill(ImageDraw.Draw(picture), label, outline, 1)
    mask: Mask = run_lengths.encode(np.asfortranarray(picture))
    return mask


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Shared area over the smaller box's area."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(sides.clip(0)) / smaller)
