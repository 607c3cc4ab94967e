"""Which files of images are there and sound, found without decoding them.

An image is sound if its header gives a size and its file ends as the format says: a JPEG with the marker of its end, a
PNG with its last chunk, within the last `TAIL_BYTES`. Cut-off downloads and full disks leave files that don't. One that
ends otherwise is read whole and decoded to be sure, as some cameras write more behind the end. What is corrupt in the
middle is found when the image is trained on, and is a `ValueError` then.

Invariant: every path gets a size or a reason; storage that fails is an `OSError`, never a reason.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.data.reading import check_size, opened

NO_IMAGE = "missing or unreadable image"
TORN = "image that is cut off or corrupt"

HEAD_BYTES = 4096
TAIL_BYTES = 64
MAX_BYTES = 2**28  # that are read of a file that ends otherwise
MAX_SEGMENTS = 200  # of a JPEG's header
CHUNK = 512  # files that a thread takes at once
NUM_THREADS = 16  # which wait for the storage, not for each other

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_BARE = (0x01, *range(0xD0, 0xD8))  # markers without a length


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An image that can't be used: its row, the kind of problem, and the reason."""

    row: int
    kind: str
    reason: str


class Listings:
    """The names of files in folders, each folder listed once."""

    def __init__(self) -> None:
        """Nothing is listed yet."""
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Whether there is something by this name; folders that don't exist hold nothing.

        Raises:
            OSError: where a folder can't be listed.
        """
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries)
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                self._names[folder] = frozenset()
            except ValueError:  # a null in the name
                self._names[folder] = frozenset()
        return name in self._names[folder]


def inspect(paths: Sequence[str]) -> tuple[NDArray[np.int64], list[Broken]]:
    """The images' sizes, and what is broken.

    Returns:
        Width and height as int64 [N, 2], 0 where broken, and the broken ones in the order of their rows.

    Raises:
        OSError: where a file that is there can't be read.
    """
    chunks = [range(start, min(start + CHUNK, len(paths))) for start in range(0, len(paths), CHUNK)]
    sizes = np.zeros((len(paths), 2), dtype=np.int64)
    broken: list[Broken] = []

    def look(rows: range) -> list[Broken]:
        return list(_inspect(paths, rows, sizes))

    if len(chunks) == 1:
        return sizes, look(chunks[0])
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for found in threads.map(look, chunks):
            broken += found
    return sizes, broken


def _inspect(paths: Sequence[str], rows: range, sizes: NDArray[np.int64]) -> Iterator[Broken]:
    for row in rows:
        path = paths[row]
        try:
            quick = _quick_size(path)
            if quick is not None:
                check_size(*quick)
                sizes[row] = quick
                continue
        except ValueError as error:
            yield Broken(row=row, kind=NO_IMAGE, reason=f"it can't be read ({error})")
            continue
        except FileNotFoundError:
            yield Broken(row=row, kind=NO_IMAGE, reason="it does not exist")
            continue
        kind = NO_IMAGE
        try:
            with opened(Path(path), "replace it") as stored:
                kind = TORN
                size = stored.size
                if stored.format == "JPEG" and not _has_end(path):
                    raise ValueError("it has no end")
                stored.load()
            sizes[row] = size
        except ValueError as error:
            yield Broken(row=row, kind=kind, reason=f"it can't be read ({error.__cause__ or error})")


def _has_end(path: str) -> bool:
    """Whether a JPEG's last scan ends, which a decoder does not insist on; neither marker can be within a scan."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES)
    return data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)


def _quick_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image that ends as it should; None where only a decoder can tell.

    Raises:
        ValueError: where it is no regular file.
        FileNotFoundError: where it does not exist.
        OSError: where it can't be reached.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for otherwise
    except OSError as error:
        if error.errno in _MISSING:
            raise FileNotFoundError(error.errno, error.strerror, path) from error
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise ValueError("it is no file") from error
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        head = os.pread(file, HEAD_BYTES, 0)
        tail = head[-TAIL_BYTES:]
        if found.st_size > len(head):
            tail = os.pread(file, TAIL_BYTES, found.st_size - TAIL_BYTES)
        if head.startswith(b"\xff\xd8"):
            return _jpeg_size(file, head) if _JPEG_END in tail else None
        if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= 24:
            width, height = struct.unpack_from(">II", head, 16)
            return (width, height) if _PNG_END in tail else None
    except OSError as error:  # which knows no path, as the file is open
        raise type(error)(error.errno, error.strerror, path) from error
    finally:
        os.close(file)
    return None


def _jpeg_size(file: int, head: bytes) -> tuple[int, int] | None:
    """The size in the first frame header, which may lie behind long profiles and thumbnails."""
    start, position = 0, 2  # of `head` in the file, and of the next marker
    for _ in range(MAX_SEGMENTS):
        if position + 9 > start + len(head):
            start, head = position, os.pread(file, HEAD_BYTES, position)
            if len(head) < 9:
                return None
        at = position - start
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return (width, height) if width and height else None
        if marker == 0xFF or marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        position += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
