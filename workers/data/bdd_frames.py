"""The JSON files of BDD100K and Scalabel: frames with labels, in the forms of 2018, 2020 and later.

A file is a list of frames, a mapping with ``frames``, or, in the first release, one image's mapping whose one frame
has ``objects``. Conventions are those of the official code (github.com/bdd100k/bdd100k, configs/det.toml and
label/to_scalabel.py; github.com/scalabel/scalabel, label/transforms.py and to_coco.py): a box2d includes the pixels
at x2 and y2, so that its width is x2 - x1 + 1; ``crowd`` labels and those of the three categories that are ignored are
crowds; labels without a box2d (lanes, areas, polygons) are none of detection's.

Invariant: a label that is given out has a name and, if it is a box, four finite coordinates; old names of categories
are turned into the ten of the benchmark.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models.wording import brief
from workers.data.json_files import number, stream_json

CLASS_NAMES = (
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
)
OLD_NAMES = {"bike": "bicycle", "caravan": "car", "motor": "motorcycle", "person": "pedestrian", "van": "car"}
IGNORED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
"""Categories that are crowds of another."""


class BddLabel(NamedTuple):
    """One box: category of the benchmark (or an unknown one), and x1, y1, x2, y2 as written, x2 and y2 inclusive."""

    category: str
    corners: tuple[float, float, float, float]
    crowd: bool
    score: float | None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 with x2 and y2 exclusive."""
        x1, y1, x2, y2 = self.corners
        return x1, y1, x2 + 1, y2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BddFrame:
    """One image as written: `labels` are the raw ones, None where the file has no word on them."""

    name: str
    video: str | None
    width: int | None
    height: int | None
    labels: list[Any] | None


def read_frames(path: Path, take: Callable[[BddFrame], object]) -> None:
    """Hand on the frames of a file, or of every ``*.json`` of a folder in the order of their names.

    Raises:
        ValueError: where a file holds no frames, or a frame has no name.
        OSError: where it can't be reached.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: has no .json file")
    for file in files:
        oldest: list[dict[str, Any]] = []

        def one(raw: Any, file: Path = file, oldest: list[dict[str, Any]] = oldest) -> None:
            if isinstance(raw, dict) and "objects" in raw and "name" not in raw:
                oldest.append(raw)  # the first release names the image beside its frames, maybe behind them
            else:
                take(_frame(raw, file))

        rest = stream_json(file, {"": one, "frames": one})
        if not isinstance(rest.get("frames", []), list):
            raise ValueError(f"{file}: frames is {brief(rest['frames'])}, not a list")
        for raw in oldest:
            name = rest.get("name")
            if isinstance(name, str) and "." not in name:
                name = f"{name}.jpg"
            take(_frame({"name": name, "labels": raw["objects"]}, file))


def boxes_of(frame: BddFrame) -> Iterator[BddLabel | ValueError]:
    """The boxes among a frame's labels; a malformed one as the error that says what is wrong."""
    for position, raw in enumerate(frame.labels or ()):
        try:
            label = _label(raw)
        except ValueError as error:
            yield ValueError(f"{brief(frame.name)}, label {position}: {error}")
            continue
        if label is not None:
            yield label


def _frame(raw: Any, path: Path) -> BddFrame:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not raw["name"]:
        raise ValueError(f"{path}: a frame is {brief(raw)}, without a name")
    labels, video = raw.get("labels"), raw.get("videoName")
    if labels is not None and not isinstance(labels, list):
        raise ValueError(f"{path}: labels of {brief(raw['name'])} are {brief(labels)}, not a list")
    size = raw.get("size")
    width, height = (size.get("width"), size.get("height")) if isinstance(size, dict) else (None, None)
    sized = all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**31 for side in (width, height))
    return BddFrame(
        name=raw["name"],
        video=video if isinstance(video, str) and video else None,
        width=width if sized else None,
        height=height if sized else None,
        labels=labels,
    )


def _label(raw: Any) -> BddLabel | None:
    """A box, or None for a label that is none."""
    if not isinstance(raw, dict):
        raise ValueError(f"it is {brief(raw)}, not a mapping")
    box = raw.get("box2d")
    if box is None:
        return None
    category = raw.get("category")
    if not isinstance(category, str) or not category:
        raise ValueError(f"category is {brief(category)}, not a name")
    if not isinstance(box, dict):
        raise ValueError(f"box2d of {brief(category)} is {brief(box)}, not a mapping")
    try:
        x1, y1, x2, y2 = (number(box.get(key), key) for key in ("x1", "y1", "x2", "y2"))
    except ValueError as error:
        raise ValueError(f"box2d of {brief(category)}: {error}") from None
    attributes = raw.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    crowd = bool(attributes.get("crowd")) or bool(attributes.get("ignored"))
    score = raw.get("score")
    category = OLD_NAMES.get(category, category)
    return BddLabel(
        category=IGNORED.get(category, category),
        corners=(x1, y1, x2, y2),
        crowd=crowd or category in IGNORED,
        score=None if score is None else number(score, "score"),
    )
