"""EuroCity Persons: a JSON file per frame for both.

TRUTH is a folder of the frames' files, or of folders of cities with them, or a ``.dataset`` file with the path of one
such file a line; DETECTIONS a folder with one file of the same name for each. Or both are one file.

What ``eval.py`` of the benchmark does (github.com/SomeNeurons/ECPB: dataloader.py, params.py), beside the counting in
`workers.metrics.miss_rate`:

- Pedestrians and riders are judged apart. An object of the class counts; a pedestrian tagged ``sitting-lying`` or
  ``behind-glass`` is ignored; ``person-group-far-away`` (but for a ``depiction``) is a region to ignore among
  pedestrians, ``rider+vehicle-group-far-away`` among riders. With `ignore_other_vru` riders are ignored among
  pedestrians, and pedestrians among riders; without, as on the benchmark's server, they are not there. All other
  identities are not there.
- Among riders a rider's box is the one around it and its children (what it rides); among pedestrians its own.
- All boxes are cut to 1920 x 1024 pixels; x1 and y1 are exclusive, and old detections' maxrow and maxcol inclusive.
- Of the tags ``occluded>40`` and the like the last one with one number tells the share; there is none without a tag.
- ``cyclist`` is an old name of a detected rider; a score may be the first of ``confidencevalues``.
- Every frame needs its file of detections, and every such file its frame; one without detections is a frame without
  children.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.wording import brief
from workers.data.ecp_frames import CLASS_NAMES, DEPICTION, IGNORED_TAGS, REGIONS, EcpFrame, EcpObject, read_frame
from workers.metrics.miss_rate import COUNTS, IGNORED, REGION, Floats, ImageOfClass, miss_rates
from workers.scoring import Score

WIDTH, HEIGHT = 1920.0, 1024.0
OLD_NAMES = {"cyclist": "rider"}

Pair = tuple[EcpFrame, EcpFrame]


def score_ecp(truth: Path, detections: Path, *, ignore_other_vru: bool = False) -> Score:
    """The log-average miss rate of each class and subset."""
    pairs = [(read_frame(annotated), _read_detections(found)) for annotated, found in _paired(truth, detections)]
    rates = {
        name: miss_rates([_image(pair, name, ignore_other_vru=ignore_other_vru) for pair in pairs])
        for name in CLASS_NAMES
    }
    return Score(metrics={"LAMR": rates})


def _paired(truth: Path, detections: Path) -> list[tuple[Path, Path]]:
    """The files of each frame, in the order of the truth's paths."""
    if truth.suffix == ".json" and truth.is_file() and detections.is_file():
        return [(truth, detections)]
    annotated = _truth_files(truth)
    found = {path.stem: path for path in _files(detections)}
    names = {path.stem for path in annotated}
    if len(names) < len(annotated):
        raise ValueError(f"{truth}: names of frames are there twice; the tools tell frames by their files' names")
    for missing, where, whose in ((names - found.keys(), detections, truth), (found.keys() - names, truth, detections)):
        if missing:
            raise ValueError(
                f"{where}: {len(missing)} frames of {whose} have no file, such as {brief(min(missing) + '.json')}; "
                "the benchmark takes one file of detections per frame"
            )
    return [(path, found[path.stem]) for path in annotated]


def _truth_files(truth: Path) -> list[Path]:
    if truth.suffix != ".dataset":
        return _files(truth)
    try:
        lines = truth.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{truth}: is not UTF-8 text (byte {error.start})") from error
    if files := sorted(line.strip() for line in lines if line.strip()):
        return [Path(name) for name in files]
    raise ValueError(f"{truth}: lists no file; give the path of a frame's file a line")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        path.stat()  # there is such a file, or an OSError
        return [path]
    if files := [*path.glob("*.json")] or [*path.glob("*/*.json")]:
        return sorted(files, key=str)
    raise ValueError(f"{path}: has no .json file, nor has a folder in it")


def _read_detections(path: Path) -> EcpFrame:
    frame = read_frame(path)
    for child in frame.objects:
        if child.score is None:
            raise ValueError(f"{path}: a detection of {brief(child.identity)} has no score")
        if child.box[0] > child.box[2] or child.box[1] > child.box[3]:
            raise ValueError(f"{path}: a detection of {brief(child.identity)} is {child.box}; needs x0 <= x1, y0 <= y1")
    return frame


def _image(pair: Pair, class_name: str, *, ignore_other_vru: bool) -> ImageOfClass:
    annotated, detected = pair
    roles = {
        position: role
        for position, child in enumerate(annotated.objects)
        if (role := _role(child, class_name, ignore_other_vru=ignore_other_vru)) is not None
    }
    objects = [annotated.objects[position] for position in roles]
    found = [child for child in detected.objects if OLD_NAMES.get(child.identity, child.identity) == class_name]
    return ImageOfClass(
        objects=_boxes([child.judged_box(class_name) for child in objects]),
        roles=np.array([*roles.values()], dtype=np.int64),
        occlusion=np.array([child.occlusion for child in objects], dtype=np.float64),
        truncation=np.array([child.truncation for child in objects], dtype=np.float64),
        found=_boxes([child.box for child in found]),
        scores=np.array([child.score for child in found], dtype=np.float64),
    )


def _role(child: EcpObject, class_name: str, *, ignore_other_vru: bool) -> int | None:
    """What an object is to detections of a class; None where it is not there."""
    if child.identity == class_name:
        lenient = class_name == "pedestrian" and any(tag in IGNORED_TAGS for tag in child.tags)
        return IGNORED if lenient else COUNTS
    if child.identity in CLASS_NAMES:
        return IGNORED if ignore_other_vru else None
    if REGIONS.get(child.identity) == class_name:
        return None if class_name == "pedestrian" and DEPICTION in child.tags else REGION
    return None


def _boxes(corners: Sequence[tuple[float, float, float, float]]) -> Floats:
    """Boxes cut to the image."""
    boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    np.maximum(boxes[:, :2], 0.0, out=boxes[:, :2])
    np.minimum(boxes[:, 2:], (WIDTH, HEIGHT), out=boxes[:, 2:])
    return boxes
