"""Telling a broken image file, which its owner must mend, from storage that fails and may work again.

Invariant: what is wrong with a file's bytes is a `ValueError` that names the file; what is wrong with reaching
them stays the `OSError` it is.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL.Image import DecompressionBombError

# What Pillow's decoders raise on bytes that they can't make sense of, beside an OSError of their own.
_DECODING_ERRORS = (
    DecompressionBombError,
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
        raise ValueError(f"{path}: can't be read as an image ({error}); {remedy}") from error
    except _DECODING_ERRORS as error:
        raise ValueError(f"{path}: can't be read as an image ({error}); {remedy}") from error
