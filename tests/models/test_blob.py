"""Weight blobs: what goes in comes out, without a copy; what is damaged is refused."""

import json
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import blob, build_backbone
from tests.models.strategies import REPEATABLE


def _state() -> dict[str, torch.Tensor]:
    return {
        "weight": torch.randn(3, 4),
        "bias": torch.randn(5).to(torch.bfloat16),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(3).half(),
        "double": torch.randn(2, 1).double(),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "empty": torch.empty(0, 4),
    }


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]) for key in first
    )


def test_unpack_gives_what_was_packed() -> None:
    state, metadata = _state(), {"spec": '{"stem": "deep"}', "kind": "é"}
    tensors, read = blob.unpack(blob.pack(state, metadata))
    assert _equal(tensors, state)
    assert read == metadata


def test_the_same_tensors_and_metadata_give_the_same_bytes() -> None:
    state = _state()
    metadata = {name: name * 3 for name in ("spec", "kind", "classes", "start", "scores")}
    turned = dict(reversed(metadata.items()))
    assert len({blob.pack(state, each) for each in (metadata, turned) for _ in range(8)}) == 1


def test_a_backbone_survives() -> None:
    backbone = build_backbone("BNB(1,d1)+(0,1)", base_channels=4)
    tensors, _ = blob.unpack(blob.pack(backbone.state_dict(), {}))
    assert _equal(tensors, dict(backbone.state_dict()))


def test_it_is_safetensors_format() -> None:
    state = _state()
    assert _equal(safetensors.torch.load(blob.pack(state, {})), state)
    assert _equal(blob.unpack(safetensors.torch.save(state))[0], state)


def test_nothing_is_copied() -> None:
    buffer = np.frombuffer(blob.pack(_state(), {}), dtype=np.uint8)
    start = buffer.ctypes.data
    for name, tensor in blob.unpack(buffer)[0].items():
        assert name == "empty" or start <= tensor.data_ptr() < start + len(buffer)


def test_a_read_only_buffer_raises_no_warning() -> None:
    buffer = np.frombuffer(blob.pack(_state(), {}), dtype=np.uint8)
    assert not buffer.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blob.unpack(buffer)


def test_a_buffer_off_its_boundaries_is_read() -> None:
    packed = blob.pack(_state(), {})
    shifted = np.frombuffer(b"x" + packed, dtype=np.uint8)[1:]
    assert _equal(blob.unpack(shifted)[0], _state_of(packed))


def _state_of(packed: bytes) -> dict[str, torch.Tensor]:
    return blob.unpack(packed)[0]


def test_tensors_that_share_memory_are_packed_apart() -> None:
    one = torch.randn(4, 4)
    state = {"a": one, "b": one, "c": one[1:3], "d": one.T}
    assert _equal(_state_of(blob.pack(state, {})), state)


def test_a_network_without_tensors_is_a_blob_too() -> None:
    assert blob.unpack(blob.pack({}, {"a": "b"})) == ({}, {"a": "b"})


@REPEATABLE
@given(st.data())
def test_a_blob_cut_off_anywhere_is_refused(data: st.DataObject) -> None:
    packed = blob.pack(_state(), {"spec": "x"})
    length = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(ValueError, match="weights: "):
        blob.unpack(packed[:length])


@REPEATABLE
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(ValueError, match="weights: "):
        blob.unpack(noise)


@REPEATABLE
@given(st.data())
def test_a_damaged_header_raises_nothing_but_value_errors(data: st.DataObject) -> None:
    packed = bytearray(blob.pack(_state(), {"spec": "x"}))
    header = 8 + int.from_bytes(packed[:8], "little")
    for position in data.draw(st.lists(st.integers(0, header - 1), min_size=1, max_size=4)):
        packed[position] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789[]{},:"-'))
    try:
        blob.unpack(bytes(packed))
    except ValueError as error:
        assert str(error).startswith("weights: ")


def _with_header(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _entry(shape: list[object], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ([], b"", "no JSON object"),
        ({"__metadata__": {"a": 1}}, b"", "metadata"),
        ({"__metadata__": None}, b"", "metadata"),
        ({"w": _entry([1], 0, 4, "F31")}, bytes(4), "entry of 'w' is malformed"),
        ({"w": _entry([-1], 0, 4)}, bytes(4), "entry of 'w' is malformed"),
        ({"w": _entry([0, 2**62, 2**62], 0, 0)}, b"", "entry of 'w' is malformed"),
        ({"w": _entry([2], 0, 4)}, bytes(4), "has 4 bytes"),
        ({"w": _entry([1], 4, 8)}, bytes(8), "leave a hole at byte 0"),
        ({"w": _entry([2], 0, 8), "v": _entry([1], 4, 8)}, bytes(8), "overlap"),
        ({"w": _entry([1], 0, 4)}, bytes(5), "1 bytes after the last tensor"),
        ({"w": _entry([2], 0, 8)}, bytes(4), "cut off"),
    ],
)
def test_a_wrong_header_is_told(header: object, data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        blob.unpack(_with_header(header, data))
