"""BDD100K: Scalabel's JSON of frames for both, each a file or a folder of files.

What ``python -m bdd100k.eval.run -t det`` does (github.com/bdd100k/bdd100k, eval/run.py, configs/det.toml,
label/to_scalabel.py; github.com/scalabel/scalabel, eval/detect.py, eval/utils.py, label/to_coco.py,
label/transforms.py), whatever a file's own ``config`` says:

- The ten classes of the benchmark; old names are taken for new ones (``person``, ``bike``, ...), and the three ignored
  categories (``other person``, ...) for crowds of the class they belong to. Other categories are passed over.
- Corners are inclusive: a width is x2 - x1 + 1, of truth and of detections. Areas are those of the boxes.
- A label with ``crowd`` or ``ignored`` among its attributes is a crowd (COCO's iscrowd). Labels without a box2d and
  frames whose labels are missing or null have nothing to find.
- Frames are put in the order of their names, and detections go to them by name; by videoName and name where names of
  detections' frames are there twice and all frames have a videoName; else the last of a name is taken. A frame without
  detections has none; detections on frames that TRUTH has not are passed over.
- Then it is COCO's evaluation, by pycocotools (see `workers.metrics.average_precision`). Without a single detection
  every metric is 0, and 0 for each class that TRUTH has a box of, a crowd if nothing else.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from models.wording import brief
from workers.data.bdd_frames import CLASS_NAMES, BddFrame, boxes_of, read_frames
from workers.metrics.average_precision import TWELVE, evaluate
from workers.scoring import Score
from workers.scoring.coco import as_json

IDS = {name: number for number, name in enumerate(CLASS_NAMES, start=1)}


def score_bdd(truth: Path, detections: Path) -> Score:
    """The twelve metrics and AP per class."""
    frames = sorted(_frames(truth), key=lambda frame: frame.name)
    found, notes = _in_order(frames, _frames(detections))
    annotations = _annotations(frames, truth, notes)
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    results = _annotations(found, detections, notes)
    for result in results:
        if result["score"] is None:
            raise ValueError(f"{detections}: a box of {brief(found[result['image_id'] - 1].name)} has no score")
    if not results:
        present = {annotation["category_id"] for annotation in annotations}
        metrics: dict[str, Any] = dict.fromkeys(TWELVE, 0.0 if present else None)
        metrics["per_class"] = {name: 0.0 if number in present else None for name, number in IDS.items()}
        return Score(metrics=metrics, notes=tuple(notes))
    document = {
        "images": [{"id": number} for number in range(1, len(frames) + 1)],
        "categories": [{"id": number, "name": name} for name, number in IDS.items()],
        "annotations": annotations,
    }
    return Score(metrics=as_json(evaluate(document, results), list(CLASS_NAMES)), notes=tuple(notes))


def _frames(path: Path) -> list[BddFrame]:
    frames: list[BddFrame] = []
    read_frames(path, frames.append)
    if not frames:
        raise ValueError(f"{path}: has no frame; give a list of frames, or a mapping with frames")
    return frames


def _in_order(frames: list[BddFrame], found: list[BddFrame]) -> tuple[list[BddFrame], list[str]]:
    """A frame of detections for each frame of the truth, and notes."""
    notes = []
    by_video = False
    if len({frame.name for frame in found}) < len(found):
        by_video = all(frame.video for frame in (*frames, *found))
        if not by_video:
            notes.append("names of frames are there twice among the detections; the last of each is taken")

    def key(frame: BddFrame) -> tuple[str | None, str]:
        return frame.video if by_video else None, frame.name

    named = {key(frame): frame for frame in found}
    if num_missing := sum(key(frame) not in named for frame in frames):
        notes.append(f"{num_missing} of {len(frames)} frames have no detections and count as empty")
    if num_other := len(named.keys() - {key(frame) for frame in frames}):
        notes.append(f"{num_other} frames of detections are none of the truth's and are passed over")
    nothing = BddFrame(name="", video=None, width=None, height=None, labels=None)
    return [named.get(key(frame), nothing) for frame in frames], notes


def _annotations(frames: list[BddFrame], path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """COCO's form of all boxes but those of other categories, on which there is a note."""
    annotations = []
    others: Counter[str] = Counter()
    for number, frame in enumerate(frames, start=1):
        for label in boxes_of(frame):
            if isinstance(label, ValueError):
                raise ValueError(f"{path}: {label}")
            if label.category not in IDS:
                others[label.category] += 1
                continue
            x1, y1, x2, y2 = label.corners
            width, height = x2 - x1 + 1, y2 - y1 + 1
            annotations.append(
                {
                    "image_id": number,
                    "category_id": IDS[label.category],
                    "bbox": [x1, y1, width, height],
                    "area": width * height,
                    "iscrowd": int(label.crowd),
                    "score": label.score,
                }
            )
    if others:
        notes.append(f"{path}: {others.total()} boxes of other categories are passed over: {brief(sorted(others))}")
    return annotations
