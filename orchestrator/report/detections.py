"""What the start's detector and the best's find on the same validation images.

torch is imported only when there is something to look at. Where weights, data or torch are not to be had, one line says
why, and the report is made without.

Invariant: images are chosen by their numbers alone, spread evenly over the split, before anything is found on them.
"""

from dataclasses import dataclass


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
    """

    index: int
    data: bytes
    media_type: str
    width: int
    height: int
    truth: tuple[ObjectBox, ...]
    found: tuple[tuple[ObjectBox, ...], ...]


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
    threshold: float = 0.5
    missing: str = ""
