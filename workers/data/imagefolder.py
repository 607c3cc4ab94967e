"""Images to classify in folders: ROOT/SPLIT/CLASS/*.jpg, as ImageNet has them (``train/n01440764/*.JPEG``).

Invariant: the classes are the training split's folders, sorted by name; a split's images are sorted by class and name.
An image whose file is broken is left out and counted.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from models.wording import brief
from workers.data.disk_cache import DiskCache
from workers.data.image_files import NO_IMAGE, TORN, inspect
from workers.data.interface import Cache, ClassificationData, DataReport, Image, Problems, Room, channels_first
from workers.data.reading import check_class_name, leads_out, opened, rgb
from workers.settings import ImageFolderData

SUFFIXES = {".jpg", ".jpeg", ".png"}
MARGIN = 8 / 7  # an image is kept larger than the crop a network sees, as 256 to 224


@dataclass(frozen=True, slots=True)
class _Files:
    """One split's files, and the class of each from 0."""

    paths: Sequence[str]
    labels: NDArray[np.int64]


class _Folder:
    """One split."""

    def __init__(self, files: "_Files", settings: ImageFolderData, room: Room) -> None:
        self._files = files
        self._side = round(settings.image_size * MARGIN)
        self._disk = DiskCache(settings.cache_dir)
        self._images = Cache[Image](make=self._read, size_bytes=lambda image: image.nbytes, room=room)

    def __len__(self) -> int:
        return len(self._files.paths)

    def image(self, index: int) -> Image:
        """The middle of the image, uint8 [3, side, side], its shorter side resized to 8/7 of the crop."""
        return self._images[index]

    def label(self, index: int) -> int:
        """The class, from 0."""
        return int(self._files.labels[index])

    def _read(self, index: int) -> Image:
        path, size = Path(self._files.paths[index]), (self._side, self._side)
        return self._disk.image(path, size, lambda: self._decoded(path), manner="its middle, bilinear")

    def _decoded(self, path: Path) -> Image:
        with opened(path, "replace or remove it") as stored:
            width, height = stored.size
            scale = self._side / min(width, height)
            size = max(self._side, round(width * scale)), max(self._side, round(height * scale))
            pixels = np.asarray(rgb(stored).resize(size, PillowImage.Resampling.BILINEAR))
        top, left = (size[1] - self._side) // 2, (size[0] - self._side) // 2
        return channels_first(pixels[top : top + self._side, left : left + self._side])


def open_imagefolder(settings: ImageFolderData, *, key: str) -> ClassificationData:
    """The training and evaluation images.

    Raises:
        ValueError: for a missing folder, fewer than two classes, a class without images, a class of the evaluation
            split that has no training folder, or more broken images than `max_invalid_share`.
        OSError: where a folder can't be read.
    """
    root = Path(settings.root)
    if not root.is_dir():
        raise ValueError(f"{key}.root: {brief(settings.root)} is no folder; it must hold SPLIT/CLASS/*.jpg")
    class_names: tuple[str, ...] = ()
    splits = []
    for name in ("train", "val"):
        split = getattr(settings, name)
        folder = root / split
        if leads_out(split) or not folder.is_dir():
            raise ValueError(f"{key}.{name}: {brief(split)} is no folder in {root}; it must hold a folder per class")
        try:
            found = tuple(sorted(check_class_name(entry.name) for entry in folder.iterdir() if entry.is_dir()))
        except ValueError as error:
            raise ValueError(f"{key}.{name}: {folder} has a folder that can't be a class ({error})") from None
        if not found:
            raise ValueError(
                f"{key}.{name}: {folder} has 0 folders; each of 2 or more classes has one (images that lie side by "
                "side, as ImageNet's for evaluation come, are sorted into them first)"
            )
        class_names = class_names or found
        if len(class_names) < 2:
            raise ValueError(
                f"{key}.{name}: {folder} has {len(class_names)} folders; each of 2 or more classes has one"
            )
        if unknown := set(found) - set(class_names):
            raise ValueError(
                f"{key}.{name}: {folder} has {sorted(unknown)[0]!r}, which is no class of the training split"
            )
        splits.append(_list(folder, found, class_names, f"{key}.{name}"))
    problems = Problems()
    if settings.check_images:
        splits = [_sound(files, problems) for files in splits]
        num_broken, total = problems.count(NO_IMAGE, TORN), problems.count(NO_IMAGE, TORN)
        total += sum(len(files.paths) for files in splits)
        if num_broken > settings.max_invalid_share * total:
            raise ValueError(
                f"{key}.max_invalid_share: {num_broken} of {total} images are broken, more than "
                f"{settings.max_invalid_share:g} of them ({'; '.join(map(str, problems.all()))}); replace them or "
                f"raise {key}.max_invalid_share"
            )
    train, val = splits
    for name, files in (("train", train), ("val", val)):
        if not files.paths:
            raise ValueError(f"{key}.{name}: no image is left ({'; '.join(map(str, problems.all()))})")
    room = Room(limit_bytes=settings.cache_bytes)
    counts = np.bincount(np.concatenate([train.labels, val.labels]), minlength=len(class_names))
    return ClassificationData(
        train=_Folder(train, settings, room),
        val=_Folder(val, settings, room),
        class_names=class_names,
        image_size=settings.image_size,
        mean=settings.mean,
        std=settings.std,
        report=DataReport(
            num_train=len(train.paths),
            num_val=len(val.paths),
            class_names=class_names,
            class_counts=tuple(counts.tolist()),
            problems=problems.all(),
        ),
    )


def _list(folder: Path, found: tuple[str, ...], class_names: tuple[str, ...], key: str) -> _Files:
    """What the folders of a split hold."""
    paths: list[str] = []
    labels: list[int] = []
    for name in found:
        with os.scandir(folder / name) as entries:  # which mostly knows files from pipes without asking the disk
            images = sorted(
                entry.path
                for entry in entries
                if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file()
            )
        if not images:
            raise ValueError(f"{key}: {folder / name} has no image; put {', '.join(sorted(SUFFIXES))} files there")
        paths += images
        labels += [class_names.index(name)] * len(images)
    return _Files(paths, np.array(labels, dtype=np.int64))


def _sound(files: _Files, problems: Problems) -> _Files:
    """The files that hold sound images."""
    sizes, broken = inspect(files.paths)
    for one in broken:
        problems.add(one.kind, os.path.join(*files.paths[one.row].split(os.sep)[-2:]))
    if not broken:
        return files
    kept = sizes[:, 0] > 0
    return _Files([path for path, keep in zip(files.paths, kept.tolist(), strict=True) if keep], files.labels[kept])
