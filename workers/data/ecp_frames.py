"""The JSON files of EuroCity Persons: one frame a file, its objects as nested children.

Conventions are those of the benchmark's own code (github.com/SomeNeurons/ECPB, dataloader.py, match.py, params.py):
boxes are x0, y0, x1, y1 in pixels of the image, x1 and y1 exclusive (a height is y1 - y0); an old detection with
mincol, minrow, maxcol, maxrow counts inclusive pixels; a rider's children are what it rides and who rides along; how
much of an object is hidden is written as a tag, ``occluded>40``, as is what the image cuts off, ``truncated>40``.

Invariant: an object that is given out has an identity and four finite coordinates.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.wording import brief
from workers.data.json_files import number, read_json

CLASS_NAMES = ("pedestrian", "rider")
REGIONS = {"person-group-far-away": "pedestrian", "rider+vehicle-group-far-away": "rider"}
"""Groups too far away to be told apart, and the class whose detections in them count neither way."""

IGNORED_TAGS = ("sitting-lying", "behind-glass")  # pedestrians with them count neither way
DEPICTION = "depiction"  # a group that is but a picture is no region

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EcpObject:
    """One object as written.

    Attributes:
        identity: such as pedestrian, rider, or bicycle-group.
        box: x0, y0, x1, y1; x1 and y1 exclusive. It may reach over the image's border.
        tags: such as ``occluded>40``.
        children: of a rider, what it rides.
        score: of a detection.
    """

    identity: str
    box: Box
    tags: tuple[str, ...] = ()
    children: "tuple[EcpObject, ...]" = ()
    score: float | None = None

    def judged_box(self, class_name: str) -> Box:
        """The box by which it is judged among a class: a rider among riders by the one around it and its children."""
        if (self.identity, class_name) != ("rider", "rider"):
            return self.box
        boxes = [self.box, *(child.box for child in self.children)]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)

    @property
    def occlusion(self) -> float:
        """The share that is hidden, of which the tag tells a lower bound: 0, 0.1, 0.4 or 0.8."""
        return _share(self.tags, "occluded")

    @property
    def truncation(self) -> float:
        """The share outside of the image, likewise."""
        return _share(self.tags, "truncated")


@dataclass(frozen=True, slots=True, kw_only=True)
class EcpFrame:
    """One image's objects; its size where the file says it."""

    objects: tuple[EcpObject, ...]
    width: int | None = None
    height: int | None = None
    problems: tuple[str, ...] = ()


def read_frame(path: Path, *, strict: bool = True) -> EcpFrame:
    """The objects of a file of labels or detections.

    Args:
        path: the file.
        strict: whether an object that is malformed is refused; else it is among the frame's `problems`.

    Raises:
        ValueError: where the file holds no frame, or a malformed object and `strict` is set.
        OSError: where it can't be reached.
    """
    frame = _frame(read_json(path), path)
    objects, problems = [], []
    for position, child in enumerate(frame["children"]):
        try:
            objects.append(_object(child))
        except ValueError as error:
            problems.append(f"object {position}: {error}")
            if strict:
                raise ValueError(f"{path}: {problems[0]}") from error
    width, height = (frame.get(key) for key in ("imagewidth", "imageheight"))
    sized = all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**31 for side in (width, height))
    return EcpFrame(
        objects=tuple(objects),
        width=width if sized else None,
        height=height if sized else None,
        problems=tuple(problems),
    )


def _frame(document: Any, path: Path) -> dict[str, Any]:
    """The frame within the layouts that the benchmark's code knows."""
    try:
        if document.get("identity") != "frame":
            if "@converter" in document:
                document = document["children"][0]["children"][0]
            elif document.get("identity") == "seqlist":
                document = document["children"]["children"]
        if "objects" in document and "children" not in document:
            document = {**document, "children": document["objects"]}
        if isinstance(document["children"], list):
            return dict(document)
    except (AttributeError, IndexError, KeyError, TypeError):
        pass
    raise ValueError(f"{path}: holds no frame, a mapping with a list of children")


def _object(child: Any) -> EcpObject:
    if not isinstance(child, dict):
        raise ValueError(f"it is {brief(child)}, not a mapping")
    identity = child.get("identity")
    if not isinstance(identity, str) or not identity:
        raise ValueError(f"identity is {brief(identity)}, not a name")
    tags = child.get("tags") or ()
    if not isinstance(tags, Sequence) or isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"tags of {brief(identity)} are {brief(tags)}, not a list of words")
    children = child.get("children") or ()
    if not isinstance(children, Sequence) or isinstance(children, str):
        raise ValueError(f"children of {brief(identity)} are {brief(children)}, not a list")
    return EcpObject(
        identity=identity,
        box=_box(child, identity),
        tags=tuple(tags),
        children=tuple(_object(inner) for inner in children),
        score=_score(child),
    )


def _box(child: dict[str, Any], identity: str) -> Box:
    def at(key: str) -> float:
        return number(child.get(key), f"{key} of {brief(identity)}")

    if "maxrow" in child:
        return at("mincol"), at("minrow"), at("maxcol") + 1, at("maxrow") + 1
    return at("x0"), at("y0"), at("x1"), at("y1")


def _score(child: dict[str, Any]) -> float | None:
    score = child.get("score")
    if score is None and isinstance(values := child.get("confidencevalues"), list) and values:
        score = values[0]
    return None if score is None else number(score, "score")


def _share(tags: Sequence[str], word: str) -> float:
    """What the last tag with the word and one number says, as the benchmark's code reads it."""
    return next((share for share in _shares(reversed(tags), word)), 0.0)


def _shares(tags: Iterator[str], word: str) -> Iterator[float]:
    for tag in tags:
        if word in tag and len(numbers := re.findall(r"\d+", tag)) == 1:
            yield min(100, int(numbers[0][:9])) / 100
