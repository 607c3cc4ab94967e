"""Resized images on disk, as bytes, so that a data set is decoded once for all ranks, jobs and searches.

Each image is a file of its own, named by what its pixels depend on: path, size and time of change of the image's file,
and how it was resized. It is written beside and then moved to its name, so any number of ranks and nodes may write at
once; whoever is last has written the same. Files are read, not mapped: that is as fast, and storage that fails raises
an error, where a mapping kills the process.

Invariant: an image is the same with the cache or without, whatever is in the folder: what is torn or changed is made
anew. A folder that can't be written costs the cache and nothing else; the last of a disk's room is not taken.
"""

import hashlib
import logging
import os
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from workers.data.interface import Image

MAGIC = b"spnas u8"
HEADER = struct.Struct("<8sIII")  # magic, height, width, CRC-32 of the pixels
RESERVE_BYTES = 2**30
"""What is left of the disk for checkpoints and others."""

TEMPORARY = "unfinished"
LEFTOVER_S = 3600.0
"""A file that is unfinished for so long, nobody is going to finish."""

_log = logging.getLogger(__name__)


class DiskCache:
    """A folder of resized images, which may be shared by any number of processes."""

    def __init__(self, folder: str | None) -> None:
        """Nothing is written yet, but what others left unfinished is removed.

        Args:
            folder: where images are kept; None keeps none.
        """
        self._folder = Path(folder) if folder is not None else None
        self._takes_more = True
        if self._folder is not None:
            _remove_leftovers(self._folder / TEMPORARY)

    def image(self, path: Path, size: tuple[int, int], make: Callable[[], Image], *, manner: str) -> Image:
        """The image of a file, as it was kept or as `make` gives it.

        Args:
            path: the image's file, as stored.
            size: height and width of what `make` gives.
            make: reads, decodes and resizes it; gives uint8 [3, height, width].
            manner: how `make` does that, so that what is made otherwise has another name.

        Raises:
            OSError: if the image's own file can't be reached, and whatever `make` raises.
        """
        if self._folder is None:
            return make()
        found = path.stat()
        told = f"{path.absolute()}\n{found.st_size}\n{found.st_mtime_ns}\n{size[0]}\n{size[1]}\n{manner}"
        name = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
        kept = self._folder / name[:2] / name[2:]
        image = self._read(kept, size)
        if image is None:
            image = make()
            assert image.shape == (3, *size), f"{path}: {image.shape} is not of the size {size}"
            self._write(kept, image)
        return image

    def _read(self, kept: Path, size: tuple[int, int]) -> Image | None:
        """What is kept in a file; None where it is not whole, or can't be read."""
        try:
            with kept.open("rb", buffering=0) as file:
                header = file.read(HEADER.size) or b""
                if len(header) < HEADER.size:
                    return None
                magic, height, width, checksum = HEADER.unpack(header)
                if magic != MAGIC or (height, width) != size:
                    return None
                image = np.empty((3, height, width), dtype=np.uint8)
                is_whole = file.readinto(image.data.cast("B")) == image.nbytes and not file.read(1)
        except OSError:
            return None
        return image if is_whole and zlib.crc32(image.data) == checksum else None

    def _write(self, kept: Path, image: Image) -> None:
        assert self._folder is not None
        if not self._takes_more:
            return
        temporary = self._folder / TEMPORARY / f"{kept.name}-{secrets.token_hex(8)}"
        try:
            for folder in (temporary.parent, kept.parent):
                folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free - image.nbytes < RESERVE_BYTES:
                raise OSError(f"less than {RESERVE_BYTES >> 20} MiB of its disk are free")
            with temporary.open("xb") as file:
                file.write(HEADER.pack(MAGIC, *image.shape[1:], zlib.crc32(image.data)))
                file.write(image.data)
            temporary.replace(kept)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._takes_more = False
            _log.warning(
                "cache_dir: %s takes no more images (%s); those that it lacks are decoded each time",
                self._folder,
                error.strerror or error,
            )


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed had begun to write."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process may be at it, too
                if time.time() - entry.stat().st_mtime > LEFTOVER_S:
                    os.unlink(entry.path)
