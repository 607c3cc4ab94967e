"""Weights that somebody else has made: blobs, files of torch, pickles."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from models.architecture import Architecture, NetworkSpec
from models.blob import pack, unpack
from models.detectors import build_detector
from tests.fuzz.answers import FEW, MANY, answer, refusal
from workers.checkpoint import Checkpoint, _checksum
from workers.start_names import check_start_weights
from workers.start_weights import load_start_weights

SPEC = NetworkSpec.fresh(Architecture.parse("BB(1,d)"), "deep", 8)
PACKED = pack({"w": torch.zeros(2, 3), "b": torch.zeros(2)}, {"spec": json.dumps(SPEC.to_dict())})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([2**64, 10**4000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F64", "BOOL", "F31", "", "F8_E5M2"]) | json_values,
        "shape": st.lists(st.integers(-1, 4) | json_values, max_size=4) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40) | json_values, max_size=3) | json_values,
    },
)


def with_header(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A blob of this header, that may say another length."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


@MANY
@given(
    st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), entries | json_values, max_size=3),
    st.binary(max_size=40),
)
def test_a_blob_with_any_header_is_one_or_refused(header: dict[str, Any], data: bytes) -> None:
    found = answer(lambda: unpack(with_header(json.dumps(header).encode(), data)))
    if found is not None:
        assert sum(tensor.numel() * tensor.itemsize for tensor in found[0].values()) <= len(data)


def entry(shape: object, begin: object, end: object, dtype: object = "F32") -> bytes:
    """The header of one tensor."""
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}).encode()


HOSTILE = {
    "a header of 2^64 bytes": with_header(b"{}", length=2**64 - 1),
    "a header of a terabyte": with_header(b"{}", length=2**40),
    "deep": with_header(b"[" * 10**6),
    "deep in an entry": with_header(b'{"w": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
    "a long number": with_header(b'{"w": ' + b"9" * 10**6 + b"}"),
    "many sizes": with_header(entry([10**4000] * 1000, 0, 4), bytes(4)),
    "many zeros": with_header(entry([0] * 10**5, 0, 0)),
    "an empty tensor of 2^62 rows": with_header(entry([2**62, 0], 0, 0)),
    "a tensor that ends before it begins": with_header(entry([1], 4, 0), bytes(4)),
    "a tensor before the data": with_header(entry([1], -8, -4), bytes(4)),
    "a number of bytes that is none": with_header(entry([1], 0.0, 4.0), bytes(4)),
    "no type": with_header(entry([1], 0, 4, ["F32"]), bytes(4)),
    "a long name": with_header(json.dumps({"x" * 10**6: 1}).encode()),
    "a name for the terminal": with_header(json.dumps({"\x1b[31m\n": 1}).encode()),
    "no text": with_header(b'{"\xff": 1}'),
    "two that overlap": with_header(
        b'{"v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b' "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        bytes(4),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_blob_that_lies_is_refused(name: str) -> None:
    assert refusal(lambda: unpack(HOSTILE[name])).startswith("weights: ")


class Bomb:
    """What unpickling runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def load(path: Path, data: bytes) -> object:
    """What a search does with start weights."""
    path.write_bytes(data)
    detector = build_detector(SPEC, 2, max_stages=2, pyramid_channels=8, head_channels=8)
    check_start_weights(str(path), SPEC)
    return load_start_weights(detector, SPEC, str(path))


def saved(value: object, **options: Any) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
@pytest.mark.parametrize("way", ["pickle", "torch", "old torch", "zip"])
def test_a_pickle_that_runs_a_program_is_refused_and_runs_nothing(name: str, way: str, tmp_path: Path) -> None:
    bomb = {"w": Bomb(tmp_path / "owned")}
    if way == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(bomb))
            archive.writestr("archive/version", "3")
        data = file.getvalue()
    else:
        data = pickle.dumps(bomb) if way == "pickle" else saved(bomb, _use_new_zipfile_serialization=way == "torch")
    assert name in refusal(lambda: load(tmp_path / name, data))
    assert not (tmp_path / "owned").exists()


ODD_STATES: dict[str, object] = {
    "keys that are numbers": {1: torch.zeros(1)},
    "no tensors": {"w": 1},
    "a list": [torch.zeros(1)],
    "a tensor": torch.zeros(1),
    "nothing": {},
    "a sparse tensor": {"w": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (5,), check_invariants=True)},
    "complex numbers": {"w": torch.zeros(2, dtype=torch.complex64)},
    "a tensor without memory": {"w": torch.empty(2, device="meta")},
    "a huge tensor of one number": {"w": torch.zeros(1).expand(2**50)},
    "long names": {"x" * 10**5: torch.zeros(1)},
    "names for the terminal": {"layer1.\x1b[31m\n": torch.zeros(1)},
    "the prefix alone": {"backbone.body.": torch.zeros(1)},
}


@pytest.mark.parametrize("name", ODD_STATES)
def test_a_state_dict_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    refusal(lambda: load(tmp_path / "w.pt", saved(ODD_STATES[name])))


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO(saved({"w": torch.zeros(10**7)}))
    small = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert len(small.getvalue()) < 10**5
    assert "w.pt is broken" in refusal(lambda: load(tmp_path / "w.pt", small.getvalue()))


SPECS = [
    "[]",
    "{}",
    "null",
    "[" * 10**5,
    '{"architecture": 5}',
    "",
    json.dumps(SPEC.to_dict() | {"base_channels": "8"}),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec[:12])
def test_a_blob_of_no_network_is_refused(spec: str, tmp_path: Path) -> None:
    assert "is broken" in refusal(lambda: load(tmp_path / "w.safetensors", pack({}, {"spec": spec})))


@MANY
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@example(changes=[(0, 255)])
def test_a_damaged_blob_is_one_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(PACKED)
    for position, byte in changes:
        data[position % len(data)] = byte
    answer(lambda: unpack(bytes(data)))


WHOLE, OLD = (
    saved({"w": torch.zeros(2), "v": torch.ones(3, dtype=torch.bfloat16)}, _use_new_zipfile_serialization=new)
    for new in (True, False)
)


@FEW
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    length=st.integers(0, len(WHOLE)),
    old=st.booleans(),
)
def test_a_damaged_file_of_torch_is_refused(
    changes: list[tuple[int, int]], length: int, old: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(WHOLE if not old else OLD)[: length or None]
    for position, byte in changes:
        data[position % len(data)] = byte
    refusal(lambda: load(tmp_path_factory.getbasetemp() / "w.pt", bytes(data)))


@MANY
@given(
    told=json_values, tensors=st.sets(st.sampled_from(["order", "torch_cpu", "momentum/0", "momentum/x", "model/w"]))
)
@example(told={"format": 1, "fingerprint": "", "step": 0, "generators": "", "notes": 5}, tensors={"order", "torch_cpu"})
def test_a_checkpoint_of_anything_is_one_or_refused(told: object, tensors: set[str]) -> None:
    try:
        text = json.dumps(told)
    except ValueError:  # a number of more digits than Python writes
        text = "[" * 10**5
    state = {name: torch.zeros(2) for name in tensors}
    answer(lambda: Checkpoint.from_bytes(pack(state, {"checkpoint": text, "sha256": _checksum(state, text)})))
