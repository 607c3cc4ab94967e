"""What the start's detector and the best's find on the same validation images.

torch is imported only when there is something to look at. Where weights, data or torch are not to be had, one line says
why, and the report is made without.

Invariant: images are chosen by their numbers alone, spread evenly over the split, before anything is found on them.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from models.wording import one_line
from orchestrator.config_files import read_config
from orchestrator.errors import UserError
from orchestrator.report.story import Story
from orchestrator.sources import Source, best_of_run
from workers.data import open_detection_data
from workers.data.interface import DetectionSet, Image, Target

THRESHOLD = 0.5
"""The score from which on a detection is shown."""

MIN_OVERLAP = 0.5
"""Of boxes, intersection over union, for one to have found the other."""

MAX_SIDE = 800
"""Pixels of a picture's longer side; larger images are made smaller."""

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectBox:
    """One object, true or found.

    Attributes:
        box: left, top, right, bottom, in pixels of the picture.
        label: its class's name.
        score: how sure the detector is; None of a true one.
        is_right: of a found one whether it is a true object of its class that no surer one is (IoU 0.5 or more); of a
            true one whether it was found by the last network.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float | None
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image.

    Attributes:
        index: in the validation split, from 0.
        data: a JPEG file's bytes.
        media_type: ``image/jpeg``.
        width: in pixels.
        height: in pixels.
        truth: its objects, but for those that are not to be found.
        found: what each network finds, the surest first.
        missed: the true objects that each network does not find.
    """

    index: int
    data: bytes
    media_type: str
    width: int
    height: int
    truth: tuple[ObjectBox, ...]
    found: tuple[tuple[ObjectBox, ...], ...]
    missed: tuple[tuple[ObjectBox, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Whose detections there are.

    Attributes:
        name: ``start`` or ``best``.
        index: the job.
        score: the job's.
    """

    name: str
    index: int
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """Detectors side by side.

    Attributes:
        detectors: in the order of each picture's `found`.
        pictures: of the validation split.
        threshold: the score from which on detections are shown.
        missing: why there are none, in one line; "" if there are.
    """

    detectors: tuple[Detector, ...] = ()
    pictures: tuple[Picture, ...] = ()
    threshold: float = THRESHOLD
    missing: str = ""


class _MissingError(Exception):
    """There is nothing to be seen, for a reason of one line."""


def find_detections(story: Story, num_images: int) -> Detections:
    """Have the start's and the best's detectors look at validation images, on the CPU.

    Args:
        story: of a run, whose folder has the weights and whose config names the data.
        num_images: how many, at most; 0 leaves it out.

    Returns:
        What they find, or why there is nothing.
    """
    if num_images == 0:
        return Detections(missing="none were asked for (--detections 0)")
    try:
        return _found(story, num_images)
    except _MissingError as error:
        return Detections(missing=str(error))


def _found(story: Story, num_images: int) -> Detections:
    shown = list({network.index: network for network in (story.networks[0], story.networks[-1])}.values())
    names = ["start", "best"] if len(shown) > 1 else [shown[0].name]
    sources = [_source(story, network.index) for network in shown]
    classes, split = _validation(story)
    for source in sources:
        if source.card is not None and source.card.classes != classes:
            raise _MissingError(f"the detector of job {source.job} has other classes than the data")
    models = [_model(source) for source in sources]
    pictures = []
    for index in _spread(len(split), num_images):
        try:
            image, target = split.image(index), split.target(index)
        except (OSError, ValueError) as error:
            raise _MissingError(f"validation image {index} can't be read ({one_line(str(error))})") from None
        found = [_look(model, image, classes) for model in models]
        pictures.append(_picture(index, image, target, found, classes))
    detectors = tuple(
        Detector(name=name, index=network.index, score=network.score)
        for name, network in zip(names, shown, strict=True)
    )
    return Detections(detectors=detectors, pictures=tuple(pictures))


def _source(story: Story, job: int) -> Source:
    """The weights of a job's detector."""
    try:
        source = best_of_run(story.facts.address, job)
    except UserError as error:
        raise _MissingError(one_line(str(error))) from None
    if source.card is None:
        raise _MissingError(f"job {job} has come to no detector, or its weights don't say what theirs is")
    return source


def _model(source: Source) -> Any:
    """A detector with its weights."""
    try:
        from models.portable import Portable

        return Portable.of_blob(source.data, source.card, source.spec).build_detector()
    except ImportError as error:
        raise _MissingError(f"torch can't be loaded ({one_line(str(error))})") from None
    except ValueError as error:
        raise _MissingError(f"job {source.job}: {one_line(str(error))}") from None


def _validation(story: Story) -> tuple[tuple[str, ...], DetectionSet]:
    """The classes and the validation split of the run's data."""
    config = read_config(story.facts.config_yaml, f"config of {story.facts.address}")
    try:
        data = open_detection_data(config.data)
    except (OSError, ValueError) as error:
        raise _MissingError(f"the data can't be read ({one_line(str(error))})") from None
    if not len(data.val):
        raise _MissingError("the validation split has no images")
    return data.class_names, data.val


def _spread(length: int, count: int) -> list[int]:
    """So many numbers below the length, evenly apart, or all of them."""
    count = min(length, count)
    return [(2 * number + 1) * length // (2 * count) for number in range(count)]


def _look(model: Any, image: Image, classes: Sequence[str]) -> list[ObjectBox]:
    """What a detector finds on an image, the surest first."""
    import torch

    with torch.inference_mode():
        found = model([torch.from_numpy(np.ascontiguousarray(image)).float() / 255])[0]
    boxes, labels, scores = (found[name].numpy() for name in ("boxes", "labels", "scores"))
    return [
        ObjectBox(box=_corners(boxes[n]), label=classes[int(labels[n]) - 1], score=float(scores[n]), is_right=False)
        for n in np.argsort(-scores, kind="stable")
        if scores[n] >= THRESHOLD
    ]


def _picture(index: int, image: Image, target: Target, found: list[list[ObjectBox]], classes: Sequence[str]) -> Picture:
    seen = ~target.ignore
    truth = [
        ObjectBox(box=_corners(box), label=classes[int(label) - 1], score=None, is_right=False)
        for box, label in zip(target.boxes[seen], target.labels[seen], strict=True)
    ]
    judged = [list(_judged(each, truth)) for each in found]
    hit = [{match for _, match in of_network} for of_network in judged]
    data, factor = _jpeg(image)
    scaled = [tuple(_scaled(each, number in taken, factor) for number, each in enumerate(truth)) for taken in hit]
    return Picture(
        index=index,
        data=data,
        media_type="image/jpeg",
        width=round(image.shape[2] * factor),
        height=round(image.shape[1] * factor),
        truth=scaled[-1],
        found=tuple(
            tuple(_scaled(each, match is not None, factor) for each, match in of_network) for of_network in judged
        ),
        missed=tuple(tuple(each for each in of_network if not each.is_right) for of_network in scaled),
    )


def _judged(found: Sequence[ObjectBox], truth: Sequence[ObjectBox]) -> Iterator[tuple[ObjectBox, int | None]]:
    """Each detection with the object that it is of: the one of its class that it covers best, if none surer has it."""
    free = set(range(len(truth)))
    for each in found:
        overlaps = {n: _overlap(each.box, truth[n].box) for n in free if truth[n].label == each.label}
        best = max(overlaps, key=lambda n: overlaps[n], default=None)
        if best is not None and overlaps[best] >= MIN_OVERLAP:
            free.discard(best)
            yield each, best
        else:
            yield each, None


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _scaled(each: ObjectBox, is_right: bool, factor: float) -> ObjectBox:
    left, top, right, bottom = (factor * side for side in each.box)
    return ObjectBox(box=(left, top, right, bottom), label=each.label, score=each.score, is_right=is_right)


def _corners(box: Sequence[float] | NDArray[Any]) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, box)
    return left, top, right, bottom


def _jpeg(image: Image) -> tuple[bytes, float]:
    """An image's file, and by what it was made smaller."""
    factor = min(1.0, MAX_SIDE / max(image.shape[1:]))
    picture = PillowImage.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if factor < 1:
        size = round(image.shape[2] * factor), round(image.shape[1] * factor)
        picture = picture.resize(size, PillowImage.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue(), factor
