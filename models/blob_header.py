"""The header of a blob (`models.blob`), read without torch.

Invariant: whatever the bytes are, what is raised is a `ValueError`.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH_BYTES = 8
METADATA = "__metadata__"


def read_header(array: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The header, and where the data start.

    Raises:
        ValueError: if there is none.
    """
    if len(array) < LENGTH_BYTES:
        raise ValueError(f"weights: {len(array)} bytes are too few for a blob; it is cut off")
    start = LENGTH_BYTES + int.from_bytes(array[:LENGTH_BYTES].tobytes(), "little")
    if start > len(array):
        raise ValueError(
            f"weights: the header should end at byte {start}, the blob ends at {len(array)}; it is cut off or corrupt"
        )
    try:
        header = json.loads(array[LENGTH_BYTES:start].tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"weights: the header is no JSON ({error}); the blob is corrupt") from None
    if not isinstance(header, dict):
        raise ValueError("weights: the header is no JSON object; the blob is corrupt")
    return header, start


def take_metadata(header: dict[str, Any]) -> dict[str, str]:
    """The metadata, which are taken out of the header; nothing if there are none.

    Raises:
        ValueError: if they are no strings by name.
    """
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("weights: the header's metadata is no object of strings; the blob is corrupt")
    return metadata
