"""EuroCity Persons: TIME/img/SPLIT/CITY/NAME.png and TIME/labels/SPLIT/CITY/NAME.json, where TIME is day or night.

What counts is what the benchmark's own code counts (github.com/SomeNeurons/ECPB, eval.py and params.py): pedestrians
and riders are the classes; a rider's box goes around what it rides, too, unless the settings say otherwise; pedestrians
that are ``sitting-lying`` or ``behind-glass`` are ignored; groups too far away to be told apart are regions in which
detections of their class count neither way, but for persons that are only pictures (``depiction``); groups of vehicles
and the like are nothing. Boxes reach over the border where an image cuts an object off, and are cut there, as that code
does. How much of an object is hidden or cut off is told by its tags, by which the metric sorts.

Invariant: an image and its labels are found by each other's names; one without the other is counted.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.wording import brief
from workers.data.annotated import MALFORMED, NO_ANNOTATION, UNKNOWN_CLASS, Annotated, Sifter, detection_data
from workers.data.ecp_frames import CLASS_NAMES, DEPICTION, IGNORED_TAGS, REGIONS, EcpFrame, EcpObject, read_frame
from workers.data.image_files import NO_IMAGE
from workers.data.interface import DetectionData
from workers.data.reading import leads_out
from workers.settings import EcpData

IMAGE, LABELS = ".png", ".json"


def open_ecp(settings: EcpData, *, key: str) -> DetectionData:
    """The training and evaluation images.

    Args:
        settings: the folder, its splits, the size, and what is done with what is wrong.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for a missing folder; for classes that the benchmark has not; for what is wrong where
            `invalid_boxes` is ``refuse`` or where it is more than `max_invalid_share`; for a split that nothing is left
            of.
        OSError: where a folder or file that is there can't be read.
    """
    class_names = settings.classes or CLASS_NAMES
    if unknown := [name for name in class_names if name not in CLASS_NAMES]:
        raise ValueError(f"{key}.classes: {brief(unknown[0])} is none of {', '.join(CLASS_NAMES)}")
    reader = _Reader(settings, key, class_names)
    reader.sifter.check_root("day/img, day/labels, night/img and night/labels")
    train, val = reader.read("train", settings.train), reader.read("val", settings.val)
    reader.sifter.check_shares()
    return detection_data(train, val, class_names, settings, reader.sifter.problems)


class _Reader:
    """Reads frames, and counts or refuses what is wrong."""

    def __init__(self, settings: EcpData, key: str, class_names: Sequence[str]) -> None:
        self.sifter = Sifter(settings, key)
        self._labels = {name: label for label, name in enumerate(class_names, start=1)}
        self._settings, self._key = settings, key

    def read(self, part: str, splits: Sequence[str]) -> Annotated:
        """The images of a part."""
        return self.sifter.united(part, [self._split(part, split) for split in splits])

    def _split(self, part: str, split: str) -> Annotated:
        paths: list[str] = []
        files: list[str] = []
        sizes, owners, labels = array("q"), array("q"), array("q")
        boxes, occlusion, truncation = array("d"), array("f"), array("f")
        ignore, crowd = bytearray(), bytearray()
        names = list(self._labels)
        for path, file, frame in self._frames(part, split):
            for label, one in self._objects(frame, file):
                owners.append(len(paths))
                labels.append(label)
                boxes.extend(one.judged_box(names[label - 1]) if self._settings.rider_boxes == "whole" else one.box)
                crowd.append(one.identity in REGIONS)
                ignore.append(one.identity in REGIONS or _is_ignored(one))
                occlusion.append(one.occlusion)
                truncation.append(one.truncation)
            sizes.extend((frame.width or 0, frame.height or 0))
            paths.append(path)
            files.append(file)
        corners = np.frombuffer(boxes, dtype=np.float64).reshape(-1, 4)

        def describe(row: int) -> tuple[str, str]:
            written = ", ".join(f"{value:g}" for value in corners[row])
            return files[owners[row]], f"{names[labels[row] - 1]} ({written})"

        return self.sifter.sift(
            Annotated(
                paths=paths,
                sizes=np.frombuffer(sizes, dtype=np.int64).reshape(-1, 2),
                ids=np.full(len(paths), -1),
                owners=np.frombuffer(owners, dtype=np.int64),
                boxes=corners,
                labels=np.frombuffer(labels, dtype=np.int64),
                ignore=np.frombuffer(ignore, dtype=np.bool_),
                crowd=np.frombuffer(crowd, dtype=np.bool_),
                rows=np.arange(len(owners)),
                occlusion=np.frombuffer(occlusion, dtype=np.float32),
                truncation=np.frombuffer(truncation, dtype=np.float32),
            ),
            describe,
            overhang=np.inf,
            check_images=self._settings.check_images,
        )

    def _frames(self, part: str, split: str) -> Iterator[tuple[str, str, EcpFrame]]:
        """Of every image that has labels: its file, theirs, and what they say."""
        time, slash, name = split.rpartition("/")
        if leads_out(split) or not slash or not name:
            raise ValueError(f"{self._key}.{part}: {brief(split)} is no split; give TIME/SPLIT, such as day/train")
        images, labels = (self.sifter.root / time / kind / name for kind in ("img", "labels"))
        for folder, what in ((labels, "the labels, which test images have not"), (images, "the images")):
            if not folder.is_dir():
                raise ValueError(f"{self._key}.{part}: {folder} is no folder; split {brief(split)} has {what} there")
        pictured, labelled = _stems(images, IMAGE), _stems(labels, LABELS)
        for stem in sorted(pictured | labelled):
            path, file = os.path.join(images, stem + IMAGE), os.path.join(labels, stem + LABELS)
            self.sifter.count(images=1)
            if not self.sifter.is_new(part, path, str(labels)):
                continue
            if stem not in pictured:
                self.sifter.leave_out(NO_IMAGE, path, f"it does not exist, but {file} does")
            elif stem not in labelled:
                self.sifter.leave_out(NO_ANNOTATION, file, f"it does not exist, but {path} does")
            else:
                try:
                    yield path, file, read_frame(Path(file), strict=False)
                except ValueError as error:
                    self.sifter.leave_out(NO_ANNOTATION, file, str(error))

    def _objects(self, frame: EcpFrame, file: str) -> Iterator[tuple[int, EcpObject]]:
        """The objects that count, with their labels."""
        for problem in frame.problems:
            self.sifter.count(boxes=1)
            self.sifter.leave_out(MALFORMED, file, problem, problem)
        for one in frame.objects:
            name = REGIONS.get(one.identity, one.identity)
            if name not in CLASS_NAMES or (one.identity in REGIONS and DEPICTION in one.tags and name == "pedestrian"):
                continue
            if name in self._labels:
                yield self._labels[name], one
            else:
                self.sifter.problems.add(UNKNOWN_CLASS, f"{Path(file).name} {name}")


def _is_ignored(one: EcpObject) -> bool:
    return one.identity == "pedestrian" and any(tag in IGNORED_TAGS for tag in one.tags)


def _stems(folder: Path, suffix: str) -> set[str]:
    """Names without their suffix of the files in a folder and its folders, as CITY/NAME."""
    found = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix):
                found.add(entry.name.removesuffix(suffix))
            elif entry.is_dir():
                with os.scandir(entry.path) as inner:
                    found |= {
                        f"{entry.name}/{one.name.removesuffix(suffix)}" for one in inner if one.name.endswith(suffix)
                    }
    return found
