"""BDD100K: frames with labels in JSON files of any release, and a folder of images for each split.

The ten classes, the old names, crowds and inclusive corners are those of the official code, as
`workers.data.bdd_frames` says. A frame whose labels are missing or null has nothing in it, as there; a file in which no
frame has labels is one of images to test on, or of tags. An image is found by its frame's name, in the folder itself or
in that of its video; of a name that is an address, the last part counts.

Invariant: a name of a frame leads to no file outside of the split's folder.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.wording import brief
from workers.data.annotated import (
    MALFORMED,
    UNKNOWN_CATEGORY,
    UNKNOWN_CLASS,
    Annotated,
    Sifter,
    detection_data,
)
from workers.data.bdd_frames import CLASS_NAMES, BddFrame, boxes_of, read_frames
from workers.data.image_files import NO_IMAGE
from workers.data.interface import DetectionData
from workers.data.reading import leads_out
from workers.settings import BddData

SIZE = 1280, 720  # of every image of the data set, in pixels


def open_bdd(settings: BddData, *, key: str) -> DetectionData:
    """The training and evaluation images.

    Args:
        settings: the folder, its splits, the size, and what is done with what is wrong.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for a missing folder or file, or one without labels; for classes that the benchmark has not; for
            what is wrong where `invalid_boxes` is ``refuse`` or where it is more than `max_invalid_share`; for a split
            that nothing is left of.
        OSError: where a folder or file that is there can't be read.
    """
    class_names = settings.classes or CLASS_NAMES
    if unknown := [name for name in class_names if name not in CLASS_NAMES]:
        raise ValueError(f"{key}.classes: {brief(unknown[0])} is none of {', '.join(CLASS_NAMES)}")
    sifter = Sifter(settings, key)
    sifter.check_root(f"{settings.labels} and the images in {settings.images}")
    train, val = (
        sifter.united(part, [_Split(sifter, settings, key, part, split, class_names).read() for split in splits])
        for part, splits in (("train", settings.train), ("val", settings.val))
    )
    sifter.check_shares()
    return detection_data(train, val, class_names, settings, sifter.problems)


class _Split:
    """One split while it is read."""

    def __init__(
        self, sifter: Sifter, settings: BddData, key: str, part: str, split: str, class_names: Sequence[str]
    ) -> None:
        self._file, folder = (
            sifter.below_root(pattern.replace("{split}", split), part, "a split such as train")
            for pattern in (settings.labels, settings.images)
        )
        if not self._file.exists():
            raise ValueError(
                f"{key}.{part}: split {brief(split)} needs {self._file}; it does not exist (see {key}.labels)"
            )
        self._folder = str(folder)
        self._sifter, self._settings, self._key, self._part = sifter, settings, key, part
        self._labels = {name: label for label, name in enumerate(class_names, start=1)}
        self._names = list(class_names)
        self._has_labels = False
        self._paths: list[str] = []
        self._sizes, self._owners, self._box_labels = array("q"), array("q"), array("q")
        self._boxes, self._crowd = array("d"), bytearray()

    def read(self) -> Annotated:
        """What of the split can be used."""
        read_frames(self._file, self._take)
        if not self._has_labels:
            raise ValueError(
                f"{self._key}.{self._part}: no frame of {self._file} has labels, as those of test images have none; "
                "nothing can be trained or evaluated on it"
            )
        corners = np.frombuffer(self._boxes, dtype=np.float64).reshape(-1, 4)
        crowd = np.frombuffer(self._crowd, dtype=np.bool_)

        def describe(row: int) -> tuple[str, str]:
            left, top, right, bottom = corners[row]
            name, frame = self._names[self._box_labels[row] - 1], Path(self._paths[self._owners[row]]).name
            return str(self._file), f"{frame} {name} ({left:g}, {top:g}, {right - 1:g}, {bottom - 1:g})"

        return self._sifter.sift(
            Annotated(
                paths=self._paths,
                sizes=np.frombuffer(self._sizes, dtype=np.int64).reshape(-1, 2),
                ids=np.full(len(self._paths), -1),
                owners=np.frombuffer(self._owners, dtype=np.int64),
                boxes=corners,
                labels=np.frombuffer(self._box_labels, dtype=np.int64),
                ignore=crowd,
                crowd=crowd,
                rows=np.arange(len(corners)),
            ),
            describe,
            check_images=self._settings.check_images,
        )

    def _take(self, frame: BddFrame) -> None:
        """Keep a frame whose image is there."""
        self._has_labels |= frame.labels is not None
        name = frame.name.rpartition("/")[2] if "://" in frame.name else frame.name
        if leads_out(name) or leads_out(frame.video or ""):
            raise ValueError(
                f"{self._key}.root: frame {brief(frame.name)} of {self._file} leads out of {self._folder}; give "
                "names of files in it"
            )
        path = f"{self._folder}/{name}"
        if not self._sifter.listings.has(path) and frame.video:
            path = f"{self._folder}/{frame.video}/{name}"
        self._sifter.count(images=1)
        if not self._sifter.is_new(self._part, path, str(self._file)):
            return
        if not self._sifter.listings.has(path):
            self._sifter.leave_out(NO_IMAGE, path, "it does not exist")
            return
        for one in boxes_of(frame):
            if isinstance(one, ValueError):
                self._sifter.count(boxes=1)
                self._sifter.leave_out(MALFORMED, str(self._file), str(one), str(one))
            elif one.category in self._labels:
                self._owners.append(len(self._paths))
                self._box_labels.append(self._labels[one.category])
                self._boxes.extend(one.box)
                self._crowd.append(one.crowd)
            elif one.category in CLASS_NAMES:
                self._sifter.problems.add(UNKNOWN_CLASS, f"{self._file.name} {one.category}")
            else:
                self._sifter.count(boxes=1)
                place = f"{name} {brief(one.category)}"
                self._sifter.leave_out(UNKNOWN_CATEGORY, str(self._file), place, place)
        width, height = SIZE if not self._settings.check_images else (0, 0)
        self._sizes.extend((frame.width or width, frame.height or height))
        self._paths.append(path)
