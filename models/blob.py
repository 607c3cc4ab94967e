"""Weights as one flat buffer in safetensors' format: packed once, opened without a copy.

The format is eight bytes with the header's length (little endian), the header as JSON (name -> dtype, shape,
offsets; and ``__metadata__``), and the tensors' bytes without holes. `unpack` reads it in place, because
safetensors' own loader copies from anything but a file; a buffer in Ray's object store is then mapped, not
copied.

Invariant: equal tensors and metadata give equal bytes, and `unpack` gives them back; of anything else it
raises `ValueError`, whatever the bytes are. Nothing in a blob is ever executed.
"""

import json
import math
import warnings
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.blob_header import LENGTH_BYTES, METADATA, read_header, take_metadata
from models.wording import brief

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def pack(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Put a state dict and its metadata into one buffer.

    Args:
        state: tensors on any device; they may share memory.
        metadata: strings by name, for example ``spec`` as JSON.

    Returns:
        The bytes of a safetensors file.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if storage in seen else tensor  # the format has no shared memory
        seen.add(storage)
    # the metadata are put in here: safetensors writes them in an order that changes from call to call
    packed = safetensors.torch.save(tensors)
    header, start = read_header(np.frombuffer(packed, dtype=np.uint8))
    text = json.dumps({METADATA: dict(sorted(metadata.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)  # so that the tensors are aligned
    return b"".join((len(text).to_bytes(LENGTH_BYTES, "little"), text, memoryview(packed)[start:]))


def unpack(buffer: "NDArray[np.uint8] | bytes") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Open what `pack` made, without copying.

    Args:
        buffer: one-dimensional; it must not change while the tensors live.

    Returns:
        The tensors, views of the buffer that nobody may write to, and the metadata.

    Raises:
        ValueError: if the buffer is cut off, or no blob at all.
    """
    array = np.frombuffer(buffer, dtype=np.uint8)
    header, start = read_header(array)
    metadata = take_metadata(header)
    data = _as_tensor(array[start:])
    typed = {dtype: _typed(data, dtype) for dtype in _DTYPES.values()}

    spans: list[tuple[int, int]] = []
    tensors = {}
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(name, entry, len(array) - start)
        spans.append((begin, end))
        whole = typed[dtype]
        if whole is None or begin % dtype.itemsize:
            tensors[name] = _view(data, dtype, shape, begin, end)
        else:
            tensors[name] = whole[begin // dtype.itemsize : end // dtype.itemsize].view(shape)
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise ValueError(f"weights: the tensors overlap or leave a hole at byte {position}; the blob is corrupt")
        position = end
    if position != len(array) - start:
        raise ValueError(f"weights: {len(array) - start - position} bytes after the last tensor; the blob is corrupt")
    return tensors, metadata


def _entry(name: str, entry: object, num_bytes: int) -> tuple[torch.dtype, list[int], int, int]:
    """The checked dtype, shape and offsets of one tensor."""
    code, shape, offsets = (
        (entry.get("dtype"), entry.get("shape"), entry.get("data_offsets"))
        if isinstance(entry, dict)
        else (None, None, None)
    )
    dtype = _DTYPES.get(code) if isinstance(code, str) else None
    # by hand: a `match` takes as long as all the rest
    if dtype is None or not _are_counts(shape) or not _fits(shape, num_bytes) or not _are_counts(offsets, 2):
        raise ValueError(f"weights: the header's entry of {brief(name)} is malformed: {brief(entry)}")
    begin, end = offsets
    if not 0 <= begin <= end <= num_bytes:
        raise ValueError(
            f"weights: {brief(name)} should lie in bytes {brief(begin)} to {brief(end)} of {num_bytes}; "
            "the blob is cut off or corrupt"
        )
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"weights: {brief(name)} has {end - begin} bytes, which its shape {brief(shape)} does not need"
        )
    return dtype, shape, begin, end


def _are_counts(values: object, count: int | None = None) -> TypeGuard[list[int]]:
    """Whether this is a list of numbers, none of them negative, and as many."""
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and all(type(value) is int and value >= 0 for value in values)
    )


def _fits(shape: list[int], num_bytes: int) -> bool:
    """Whether torch can count in this shape, even where one size is zero."""
    if len(shape) > 64:
        return False
    if 0 < math.prod(shape) <= num_bytes:
        return True
    return all(size < 2**60 for size in shape) and math.prod(max(size, 1) for size in shape) < 2**60


def _as_tensor(array: "NDArray[np.uint8]") -> Tensor:
    if not len(array):
        return torch.empty(0, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch has no read-only tensors and says so; nobody writes to these
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(array, dtype=torch.uint8)


def _typed(data: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The data as numbers of a type, as far as they go; None where they begin off its boundaries."""
    if data.data_ptr() % dtype.itemsize:
        return None
    return data[: len(data) // dtype.itemsize * dtype.itemsize].view(dtype)


def _view(data: Tensor, dtype: torch.dtype, shape: list[int], begin: int, end: int) -> Tensor:
    """One tensor in the data, copied: another program's file has it off the dtype's boundaries."""
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    return data[begin:end].clone().view(dtype).view(shape)
