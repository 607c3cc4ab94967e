"""Networks as files for elsewhere: safetensors, `torch.export` programs, and ONNX.

A program takes images of any size, or of one that is asked for. That of a backbone: float32 ``images`` [B, 3, H, W],
normalised with the ``image_mean`` and ``image_std`` of its metadata -> ``stage1``, ``stage2``, ...; that of a
multi-scale encoder fills them up with zeros to multiples of 64 and gives ``0`` to ``4``, the feature of each group of
objects; that of a detector: one float32 ``image`` [3, H, W] in [0, 1], resized as for training -> ``boxes`` [D, 4] in
the image's pixels, ``labels`` int64 [D], ``scores`` [D] and perhaps ``masks`` [D, 1, M, M], each within its box.

ONNX files have opset 20. They are made from the program of `torch.export` by torch's exporter of today
(``dynamo=True``), which knows torchvision's ``nms`` and ``roi_align``; the older one, which traces TorchScript, is
deprecated in torch, and would need a second way of following a detector.

Invariant: a program gives what the network gives for each image alone. Detections are compared in `TOLERANCE`.
"""

import io
import json
import re
import warnings
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx.experimental.dynamic_spec import ParamsSpec, ShapeVar, TensorSpec

from models.detector_shape import MAX_SIDE
from models.families import AnySpec
from models.msnas import MultiScaleEncoder
from models.msnas_encoding import NUM_GROUPS, MultiScaleSpec
from models.portable import Portable
from models.traceable import PaddedEncoder, TraceableDetector, traceable_torchvision

Format = Literal["safetensors", "torch-export", "onnx"]
Part = Literal["backbone", "detector"]
SUFFIXES: dict[str, str] = dict(zip(get_args(Format), (".safetensors", ".pt2", ".onnx"), strict=True))

ONNX_OPSET = 20
ONNX_PACKAGES = ("onnx", "onnxscript")
METADATA_FILE = "spnas.json"
"""Where a `torch.export` file has its metadata: `torch.export.load(path, extra_files={"spnas.json": ""})`."""

TOLERANCE = {"boxes": 1e-2, "scores": 1e-4, "masks": 1e-3}
"""How far onnxruntime's detections on a CPU may be from torch's: pixels, and fractions. Both compute in float32, but
add in another order. (On torch, an exported program's are the same to the last bit.) Detections whose scores are this
near to each other may change places. On both, an overlap within rounding of ``nms_threshold`` may be judged otherwise
among more than 1000 boxes, and another detection be kept; see `models.traceable`."""

_EXAMPLE_SIDES = 96, 128
_BATCH = 2


class ExportError(ValueError):
    """What is asked for can't be made of these weights, or on this machine; one line."""


def export(
    network: Portable, to: Format, part: Part | None = None, *, height: int | None = None, width: int | None = None
) -> bytes:
    """The bytes of a file that holds a network.

    Args:
        network: what to export.
        to: the kind of file.
        part: the backbone alone or the whole detector; None is all there is.
        height: of the images, if only one size shall do; then `width`, too.
        width: see `height`.

    Raises:
        ExportError: if the weights don't have that part, or packages are missing.
        ValueError: if the weights are damaged.
    """
    if part == "detector" and network.card is None:
        raise ExportError(
            "weights: they are a backbone's alone, or don't say what their detector is; name their run, or take the "
            "part backbone"
        )
    if (height is None) != (width is None):
        raise ExportError("height and width: give both, or none for images of any size")
    if part == "backbone":
        network = network.backbone()
    if to == "safetensors":
        network.build_backbone() if network.card is None else network.build_detector()  # or it could not be rebuilt
        return network.to_blob()
    if to == "onnx" and (missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]):
        raise ExportError(f"onnx: needs {' and '.join(missing)}, which this Python lacks; pip install 'spnas[export]'")
    size = None if height is None or width is None else (height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations within torch and torchvision, which nobody here can mend
        program = backbone_program(network, size) if network.card is None else detector_program(network, size)
        return _torch_file(program, network) if to == "torch-export" else _onnx_file(program, network)


def backbone_program(network: Portable, size: tuple[int, int] | None = None) -> ExportedProgram:
    """The program of a backbone, for batches and images of any size, or of one size (height, width)."""
    backbone: nn.Module = network.build_backbone().requires_grad_(False)
    if isinstance(backbone, MultiScaleEncoder):
        backbone = PaddedEncoder(backbone)
    height, width = size or _EXAMPLE_SIDES
    shape = [ShapeVar("batch", min=1), 3, *(_sides() if size is None else (None, None))]
    return torch.export.export(
        backbone,
        (torch.rand(_BATCH, 3, height, width),),
        dynamic_shapes=ParamsSpec({"images": TensorSpec(shape)}),
        strict=False,
    )


def detector_program(network: Portable, size: tuple[int, int] | None = None) -> ExportedProgram:
    """The program of a detector, for one image of any size, or of one (height, width)."""
    detector = TraceableDetector(network.build_detector())
    height, width = size or _EXAMPLE_SIDES
    with traceable_torchvision():
        return torch.export.export(
            detector,
            (torch.rand(3, height, width),),
            dynamic_shapes=ParamsSpec({"image": TensorSpec([3, *_sides()])}) if size is None else None,
            strict=False,
        )


def _sides() -> tuple[ShapeVar, ShapeVar]:
    return ShapeVar("height", min=1, max=MAX_SIDE), ShapeVar("width", min=1, max=MAX_SIDE)


def _torch_file(program: ExportedProgram, network: Portable) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(network.metadata)})
    return file.getvalue()


def _onnx_file(program: ExportedProgram, network: Portable) -> bytes:
    card = network.card
    if card is None:
        names = _features(network.spec)
    else:
        names = ["boxes", "labels", "scores", *(["masks"] if card.shape.mask else [])]
    made = torch.onnx.export(program, (), dynamo=True, opset_version=ONNX_OPSET, output_names=names, verbose=False)
    assert made is not None, "there is a program with dynamo=True"
    model = made.model_proto
    _name_sizes(model.graph)
    for key, text in sorted(network.metadata.items()):
        model.metadata_props.add(key=key, value=text)
    data: bytes = model.SerializeToString()
    return data


def _features(spec: AnySpec) -> list[str]:
    """The names of what a backbone gives."""
    if isinstance(spec, MultiScaleSpec):
        return [str(group) for group in range(NUM_GROUPS)]
    return [f"stage{number}" for number in range(1, spec.architecture.num_stages + 1)]


def _name_sizes(graph: Any) -> None:
    """Have the sizes that differ from image to image bear names, in place of a tracer's."""
    (given,) = graph.input
    sizes = [size.dim_param for size in given.type.tensor_type.shape.dim]
    names = dict(zip(reversed(sizes), ("width", "height", "channels", "batch"), strict=False))
    names = {size: name for size, name in names.items() if size}
    if len(sizes) == 3:  # one image; its detections are of any number
        names[graph.output[0].type.tensor_type.shape.dim[0].dim_param] = "detections"
    for value in (given, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]
            elif size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), size.dim_param)
