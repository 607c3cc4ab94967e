"""Images to classify in folders: ROOT/SPLIT/CLASS/*.jpg.

Invariant: the classes are the training split's folders, sorted by name; a split's images are sorted by path.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from models.wording import brief
from workers.data.disk_cache import DiskCache
from workers.data.interface import Cache, ClassificationData, DataReport, Image, Room, channels_first
from workers.data.reading import check_class_name, leads_out, opened, rgb
from workers.settings import ImageFolderData

SUFFIXES = {".jpg", ".jpeg", ".png"}
MARGIN = 8 / 7  # an image is kept larger than the crop a network sees, as 256 to 224


class _Folder:
    """One split."""

    def __init__(self, files: list[tuple[Path, int]], settings: ImageFolderData, room: Room) -> None:
        self._files = files
        self._side = round(settings.image_size * MARGIN)
        self._disk = DiskCache(settings.cache_dir)
        self._images = Cache[Image](make=self._read, size_bytes=lambda image: image.nbytes, room=room)

    def __len__(self) -> int:
        return len(self._files)

    def image(self, index: int) -> Image:
        """The middle of the image, uint8 [3, side, side], its shorter side resized to 8/7 of the crop."""
        return self._images[index]

    def label(self, index: int) -> int:
        """The class, from 0."""
        return self._files[index][1]

    def _read(self, index: int) -> Image:
        path, size = self._files[index][0], (self._side, self._side)
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
        ValueError: for a missing folder, fewer than two classes, a class without images, or a class of the
            evaluation split that has no training folder.
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
    train, val = splits
    room = Room(limit_bytes=settings.cache_bytes)
    counts = np.bincount([label for _, label in (*train, *val)], minlength=len(class_names))
    return ClassificationData(
        train=_Folder(train, settings, room),
        val=_Folder(val, settings, room),
        class_names=class_names,
        image_size=settings.image_size,
        mean=settings.mean,
        std=settings.std,
        report=DataReport(
            num_train=len(train),
            num_val=len(val),
            class_names=class_names,
            class_counts=tuple(int(count) for count in counts),
        ),
    )


def _list(folder: Path, found: tuple[str, ...], class_names: tuple[str, ...], key: str) -> list[tuple[Path, int]]:
    files = []
    for name in found:
        with os.scandir(folder / name) as entries:  # which mostly knows files from pipes without asking the disk
            images = sorted(
                Path(entry.path) for entry in entries if Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()
            )
        if not images:
            raise ValueError(f"{key}: {folder / name} has no image; put {', '.join(sorted(SUFFIXES))} files there")
        files += [(path, class_names.index(name)) for path in images]
    return files
