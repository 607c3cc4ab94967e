"""Reading the files of a data set that somebody else may have made.

A name that a list or a config gives may not lead out of the data's folder. A symbolic link within the folder may:
whoever can put one there owns the data, and links to another disk are common where data are large.

Invariant: what is wrong with a file's bytes is a `ValueError` that names the file, a broken image, which its owner
must mend; what is wrong with reaching them, storage that fails and may work again, stays the `OSError` it is. What
a small file can unfold to is bounded before it is unfolded, and only images are decoded, whatever a file is called.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image as PillowImage
from PIL.Image import DecompressionBombError, DecompressionBombWarning

from models.wording import brief, one_line

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 2**27  # 11585 x 11585; Pillow takes half a gigabyte of memory for them
MAX_ASPECT = 200
MAX_NAME = 200

# What Pillow's decoders raise on bytes that they can't make sense of, beside an OSError of their own.
_DECODING_ERRORS = (
    DecompressionBombError,
    DecompressionBombWarning,  # where warnings are errors
    EOFError,
    IndexError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def decoding(path: Path, remedy: str) -> Iterator[None]:
    """Around Pillow's reading of one file.

    Args:
        path: the file.
        remedy: what its owner should do if it is broken, for the message.

    Raises:
        ValueError: where the file is no image, cut off, corrupt or too large to decode.
        OSError: where it can't be reached; these have an `errno`, Pillow's own have none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(
            f"{one_line(str(path))}: can't be read as an image ({one_line(str(error), 300)}); {remedy}"
        ) from error
    except _DECODING_ERRORS as error:
        raise ValueError(
            f"{one_line(str(path))}: can't be read as an image ({one_line(str(error), 300)}); {remedy}"
        ) from error


@contextmanager
def opened(path: Path, remedy: str) -> Iterator[PillowImage.Image]:
    """An image whose header has been read and is sound; its pixels are decoded when they are asked for.

    Raises:
        ValueError: as `decoding` does; for what is neither JPEG nor PNG; for more than `MAX_PIXELS`, and for one side
            more than `MAX_ASPECT` times the other.
        OSError: as `decoding` does.
    """
    with decoding(path, remedy), PillowImage.open(path, formats=FORMATS) as stored:
        check_size(*stored.size)
        yield stored


def check_size(width: int, height: int) -> None:
    """Refuse, by a `ValueError`, an image of no pixels, too many, or in a strip."""
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, of which 1 to {MAX_PIXELS} are read")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"it has {width} x {height} pixels, one side more than {MAX_ASPECT} times the other")


def rgb(stored: PillowImage.Image) -> PillowImage.Image:
    """An image's pixels as 8-bit RGB; of 16 bits the upper 8, and colours where alpha would hide them."""
    if stored.mode.startswith("I"):  # Pillow would cut values off at 255
        return PillowImage.fromarray((np.asarray(stored) >> 8).astype(np.uint8)).convert("RGB")
    if stored.mode == "P":  # Pillow warns of palettes with transparency otherwise
        stored = stored.convert("RGBA")
    return stored.convert("RGB")


def leads_out(name: str) -> bool:
    """Whether a name, put behind a folder's path, could name something outside of the folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name


def check_class_name(name: str) -> str:
    """A class's name, which is shown to people.

    Raises:
        ValueError: where it is endless, empty or not printable.
    """
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"{brief(name)} is no name of a class: 1 to {MAX_NAME} printable characters are")
    return name
