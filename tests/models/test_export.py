"""Networks for elsewhere: they give what they gave, for images of any size."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torchvision.ops import boxes as box_ops

from models import export as exporting
from models.backbone import build_backbone
from models.blob import pack, unpack
from models.detector_shape import DetectorShape
from models.detectors import build_detector, choose_path, masks_of_boxes
from models.export import METADATA_FILE, ONNX_OPSET, TOLERANCE, ExportError, detector_program, export
from models.families import is_multi_scale
from models.features import FeatureList
from models.msnas import MultiScaleEncoder
from models.msnas_encoding import MultiScale, MultiScaleSpec
from models.portable import DetectorCard, Portable
from models.traceable import TraceableDetector, traceable_torchvision
from tests.conftest import REPOSITORY
from tests.models.strategies import warmed

SIZES = [(96, 128), (33, 200), (20, 20), (129, 64), (224, 320)]
SMALL = DetectorShape(
    pyramid_channels=16,
    anchor_size=16,
    head_channels=32,
    roi_size=3,
    canonical_scale=64,
    mask_channels=8,
    mask_roi_size=4,
    detections_per_image=20,
    image_mean=(0.4, 0.5, 0.6),
)


def detector(encoding: str = "BB(1,d)+(0,1)", *, max_stages: int = 2, **shape: Any) -> Portable:
    """A detector whose scores are spread: no two of its detections are likely to be equally good."""
    card = DetectorCard(classes=("disc", "square", "cross"), max_stages=max_stages, shape=replace(SMALL, **shape))
    torch.manual_seed(0)
    network = build_detector(
        encoding,
        len(card.classes),
        max_stages=max_stages,
        base_channels=64 if is_multi_scale(encoding) else 8,
        **{name: getattr(card.shape, name) for name in DetectorShape.__dataclass_fields__},
    )
    warmed(network.backbone.body)
    heads = network.roi_heads
    with torch.no_grad():
        for predictor in [stage.box_predictor for stage in getattr(heads, "stages", [heads])]:
            predictor.cls_score.weight.mul_(3)
            predictor.bbox_pred.weight.mul_(3)
        for name, weight in network.rpn.head.named_parameters():
            if "cls_logits" in name and name.endswith("weight"):
                weight.mul_(3)
    return Portable(spec=network.backbone.body.spec, state=network.state_dict(), card=card)


def image(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))


def detected(network: Portable, picture: Tensor) -> dict[str, Tensor]:
    model = network.build_detector()
    with torch.inference_mode(), masks_of_boxes(model):
        (found,) = model([picture])
    assert len(found["boxes"]) > 5, "a test of nothing"
    return found


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def check_near(found: Mapping[str, Tensor], answer: Mapping[str, np.ndarray]) -> None:
    """The same detections: each has its like among the others, whatever their order."""
    assert list(found) == list(answer)
    left = list(range(len(found["boxes"])))
    assert len(answer["boxes"]) == len(left)
    for row in range(len(answer["boxes"])):
        like = next(
            other
            for other in left
            if found["labels"][other] == answer["labels"][row]
            and all(
                np.abs(found[name][other].numpy() - answer[name][row]).max() <= TOLERANCE[name]
                for name in found
                if name != "labels"
            )
        )
        left.remove(like)


@pytest.fixture(scope="module")
def faster() -> Portable:
    return detector()


@pytest.fixture(scope="module")
def groups() -> Portable:
    """Of a multi-scale network, whose images are padded to multiples of 64."""
    return detector("MS(BB,4;1,2;4,4,4,8,8)")


@pytest.fixture(scope="module")
def cascade() -> Portable:
    return detector("BNB(1d)", max_stages=1, kind="cascade_rcnn", mask=True)


@pytest.mark.parametrize("kind", ["faster", "groups"])
def test_a_file_of_weights_builds_the_same_detector_again(kind: str, request: pytest.FixtureRequest) -> None:
    network: Portable = request.getfixturevalue(kind)
    again = Portable.of_blob(export(network, "safetensors"))
    assert (again.spec, again.card) == (network.spec, network.card)
    ours, theirs = detected(network, image(64, 80)), detected(again, image(64, 80))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_file_of_weights_says_what_a_stranger_needs(faster: Portable) -> None:
    _, metadata = unpack(export(faster, "safetensors"))
    told = {name: json.loads(text) for name, text in metadata.items()}
    assert told["spec"]["architecture"] == "BB(1,d)+(0,1)"
    assert told["classes"] == ["disc", "square", "cross"]
    assert told["image_mean"] == [0.4, 0.5, 0.6] and len(told["image_std"]) == 3
    assert told["detector"]["max_stages"] == 2 and told["detector"]["kind"] == "faster_rcnn"


def test_a_backbone_alone_keeps_its_images_mean_and_gives_the_same_features(faster: Portable) -> None:
    alone = Portable.of_blob(export(faster, "safetensors", "backbone"))
    assert alone.card is None and json.loads(alone.notes["image_mean"]) == [0.4, 0.5, 0.6]
    images = image(40, 50)[None]
    with torch.inference_mode():
        ours, theirs = faster.build_detector().backbone.body(images), alone.build_backbone()(images)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["faster", "cascade", "groups"])
def test_a_traceable_detector_is_the_detector_for_one_image(kind: str, request: pytest.FixtureRequest) -> None:
    network: Portable = request.getfixturevalue(kind)
    model = TraceableDetector(network.build_detector())
    for size in SIZES[:3]:
        found = detected(network, image(*size))
        with torch.inference_mode(), traceable_torchvision():
            answer = model(image(*size))
        check_near(found, {name: tensor.numpy() for name, tensor in answer.items()})


def files_of(network: Portable, **size: int) -> tuple[bytes, bytes]:
    """Of torch and of ONNX, both made of one program, which takes seconds."""
    program = None

    def once(network: Portable, size: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
        nonlocal program
        program = program or detector_program(network, size)
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "detector_program", once)
        return export(network, "torch-export", **size), export(network, "onnx", **size)


@pytest.mark.slow
def test_a_detectors_program_and_its_onnx_file_detect_alike_at_every_size(faster: Portable) -> None:
    torch_file, onnx_file = files_of(faster)

    metadata = {METADATA_FILE: ""}
    loaded = torch.export.load(io.BytesIO(torch_file), extra_files=metadata).module()
    assert json.loads(json.loads(metadata[METADATA_FILE])["classes"]) == ["disc", "square", "cross"]
    runtime = session(onnx_file)
    assert json.loads(runtime.get_modelmeta().custom_metadata_map["classes"]) == ["disc", "square", "cross"]
    assert [(item.name, item.shape) for item in runtime.get_inputs()] == [("image", [3, "height", "width"])]
    names = [item.name for item in runtime.get_outputs()]
    assert {item.shape[0] for item in runtime.get_outputs()} == {"detections"}
    for size in SIZES:
        found = detected(faster, image(*size))
        answer = loaded(image(*size))
        check_near(found, {name: tensor.numpy() for name, tensor in answer.items()})
        check_near(found, dict(zip(names, runtime.run(None, {"image": image(*size).numpy()}), strict=True)))


@pytest.mark.slow
def test_a_multi_scale_detector_pads_to_64_in_a_program_of_torch_and_in_one_of_onnx(groups: Portable) -> None:
    torch_file, onnx_file = files_of(groups, height=70, width=50)
    found = detected(groups, image(70, 50))
    answer = torch.export.load(io.BytesIO(torch_file)).module()(image(70, 50))
    check_near(found, {name: tensor.numpy() for name, tensor in answer.items()})
    runtime = session(onnx_file)
    assert [(item.name, item.shape) for item in runtime.get_inputs()] == [("image", [3, 70, 50])]
    assert json.loads(runtime.get_modelmeta().custom_metadata_map["spec"])["architecture"] == "MS(BB,4;1,2;4,4,4,8,8)"
    names = [item.name for item in runtime.get_outputs()]
    check_near(found, dict(zip(names, runtime.run(None, {"image": image(70, 50).numpy()}), strict=True)))


@pytest.mark.slow
def test_a_cascade_with_masks_becomes_a_program_of_images_of_one_size(cascade: Portable) -> None:
    data = export(cascade, "torch-export", height=40, width=72)
    answer = torch.export.load(io.BytesIO(data)).module()(image(40, 72))
    check_near(detected(cascade, image(40, 72)), {name: tensor.numpy() for name, tensor in answer.items()})
    with pytest.raises(Exception, match="40"):
        torch.export.load(io.BytesIO(data)).module()(image(41, 72))


def test_a_backbones_program_takes_batches_and_images_of_every_size(faster: Portable) -> None:
    alone = faster.backbone()
    backbone = alone.build_backbone()
    loaded = torch.export.load(io.BytesIO(export(alone, "torch-export"))).module()
    data = export(alone, "onnx")
    runtime = session(data)
    assert runtime.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert [item.name for item in runtime.get_outputs()] == ["stage1", "stage2"]
    for batch, (height, width) in zip((1, 3, 2), SIZES, strict=False):
        images = torch.rand(batch, 3, height, width)
        with torch.inference_mode():
            features = backbone(images)
        answer = loaded(images)
        assert all(torch.equal(features[name], answer[name]) for name in features)
        for ours, theirs in zip(features.values(), runtime.run(None, {"images": images.numpy()}), strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)
    onnx = pytest.importorskip("onnx")
    assert [entry.version for entry in onnx.load_from_string(data).opset_import if not entry.domain] == [ONNX_OPSET]


def test_a_multi_scale_encoders_program_fills_images_up_and_gives_the_feature_of_every_group() -> None:
    torch.manual_seed(0)
    encoder = MultiScaleEncoder(MultiScaleSpec(MultiScale.parse("MS(BB,4;1,2,0.5;4,4,8,8,8)")))
    warmed(encoder)
    alone = Portable(spec=encoder.spec, state=encoder.state_dict())
    encoder.eval()
    loaded = torch.export.load(io.BytesIO(export(alone, "torch-export"))).module()
    runtime = session(export(alone, "onnx"))
    assert runtime.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert [item.name for item in runtime.get_outputs()] == ["0", "1", "2", "3", "4"]
    for batch, (height, width) in zip((1, 2), [(64, 128), (65, 20)], strict=True):
        images = torch.rand(batch, 3, height, width)
        padded = functional.pad(images, (0, -width % 64, 0, -height % 64))
        with torch.inference_mode():
            features = encoder(padded)
        answer = loaded(images)
        assert list(answer) == list(features)
        assert all(torch.equal(features[name], answer[name]) for name in features)
        for ours, theirs in zip(features.values(), runtime.run(None, {"images": images.numpy()}), strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)


def test_what_a_super_net_has_is_taken_home_as_one_of_its_paths() -> None:
    path, other = (MultiScale.parse(f"MS(BB,4;{text})") for text in ("1,2,0.5;4,4,8,8,8", "1,2,2;8,8,16,16,16"))
    fields = asdict(SMALL)
    supernet = build_detector(path, 2, supernet=True, **fields).eval()
    card = DetectorCard(classes=("disc", "square"), max_stages=6, shape=SMALL)
    data = Portable(spec=MultiScaleSpec(path), state=supernet.state_dict(), card=card).to_blob()
    for chosen, network in (
        (path, Portable.of_blob(data)),
        (other, Portable.of_blob(data, spec=MultiScaleSpec(other))),
    ):
        assert network.spec == MultiScaleSpec(chosen)
        again = Portable.of_blob(export(network, "safetensors")).build_detector()
        choose_path(supernet, chosen)
        with torch.inference_mode():
            ours, theirs = supernet([image(50, 70)])[0], again([image(50, 70)])[0]
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match=r"nothing of blocks\.2\.down"):
        Portable.of_blob(Portable.of_blob(data).to_blob(), spec=MultiScaleSpec(other))


def test_features_of_a_multi_scale_encoder_are_those_that_heads_read_each_once_the_finest_first() -> None:
    encoder = MultiScaleEncoder(MultiScaleSpec(MultiScale.parse("MS(BNB,2;2,0.5,2,2;4,4,16,8,8)"))).eval()
    features = FeatureList(encoder)
    assert (features.feature_info.reduction(), features.feature_info.channels()) == ([4, 8, 16], [8, 8, 8])
    images = torch.rand(1, 3, 64, 128)
    maps, by_group = features(images), encoder(images)
    assert [tuple(item.shape[1:]) for item in maps] == [(8, 64 // step, 128 // step) for step in (4, 8, 16)]
    assert all(torch.equal(ours, by_group[name]) for ours, name in zip(maps, ("0", "3", "2"), strict=True))
    (last,) = FeatureList(encoder, [-1])(images)
    assert torch.equal(last, by_group["2"])


def test_suppression_in_a_program_is_torchvisions_and_knows_no_boxes_at_all() -> None:
    generator = torch.Generator().manual_seed(1)
    for count in (0, 1, 2, 300):
        corners = 50 * torch.rand(count, 2, generator=generator)
        boxes = torch.cat([corners, corners + 1 + 30 * torch.rand(count, 2, generator=generator)], dim=1)
        scores = torch.rand(count, generator=generator)
        groups = torch.randint(0, 3, (count,), generator=generator)
        expected = box_ops.batched_nms(boxes, scores, groups, 0.5)
        with traceable_torchvision():
            assert torch.equal(box_ops.batched_nms(boxes, scores, groups, 0.5), expected)
    assert box_ops.batched_nms.__module__ == "torchvision.ops.boxes"


def test_among_thousands_of_boxes_suppression_differs_only_by_the_rounding_that_the_guide_tells_of() -> None:
    generator = torch.Generator().manual_seed(2)
    corners = 1000 * torch.rand(4000, 2, generator=generator)
    boxes = torch.cat([corners, corners + 1 + 99 * torch.rand(4000, 2, generator=generator)], dim=1)
    scores, groups = torch.rand(4000, generator=generator), torch.randint(0, 80, (4000,), generator=generator)
    step = 1 / 128
    moved = (groups * (boxes.max() + 1))[:, None]
    assert ((boxes + moved).double() - moved.double() - boxes.double()).abs().max() <= step
    # a grid that moving does not leave: then nothing is rounded, and the two are the same
    boxes = (boxes / step).round() * step
    boxes[0] = torch.tensor([0.0, 0.0, 1099.0, 1.0])
    expected = box_ops._batched_nms_vanilla(boxes, scores, groups, 0.5)
    with traceable_torchvision():
        assert torch.equal(box_ops.batched_nms(boxes, scores, groups, 0.5), expected)
    assert "by 1/128 pixel" in (REPOSITORY / "docs" / "export.md").read_text()


def test_a_backbone_is_no_detector(faster: Portable) -> None:
    with pytest.raises(ExportError, match="a backbone's alone"):
        export(faster.backbone(), "onnx", "detector")
    with pytest.raises(ValueError, match="a backbone's alone"):
        faster.backbone().build_detector()


def test_one_side_is_no_size(faster: Portable) -> None:
    with pytest.raises(ExportError, match="height and width: give both"):
        export(faster, "onnx", height=64)


def test_without_its_packages_onnx_is_refused_in_one_line(faster: Portable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ExportError, match=r"onnx: needs no_such_package, .* pip install 'spnas\[export\]'"):
        export(faster, "onnx")


def test_weights_of_an_older_version_are_a_backbone_or_what_their_run_says(faster: Portable) -> None:
    old = pack(faster.state, {"spec": faster.metadata["spec"], "classes": faster.metadata["classes"]})
    assert Portable.of_blob(old).part == "backbone"
    assert Portable.of_blob(old, faster.card).build_detector() is not None


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("spec", "3", "spec are no JSON object"),
        ("spec", "{}", "has no architecture"),
        ("classes", "[]", "no name|num_classes: 0"),
        ("classes", "[1]", "detector are damaged"),
        ("detector", "[]", "detector are no JSON object"),
        ("detector", '{"max_stages": 2, "pyramid_channels": "many"}', "detector are damaged"),
        ("detector", '{"max_stages": 2, "wings": 2}', "detector are damaged"),
        ("detector", '{"max_stages": 10000}', "no number of pyramid levels"),
        ("detector", '{"max_stages": 2, "head_channels": 100000000}', "differ"),
        ("detector", '{"max_stages": 2, "kind": "yolo"}', "kind: 'yolo' is none of"),
    ],
)
def test_damaged_metadata_are_refused_in_a_line(faster: Portable, key: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Portable.of_blob(pack(faster.state, {**faster.metadata, key: text})).build_detector()
    assert len(str(caught.value)) < 1200 and "\n" not in str(caught.value)


@given(indices=st.lists(st.integers(-4, 4), max_size=4))
def test_a_list_of_features_has_what_its_info_says_or_is_refused(faster: Portable, indices: list[int]) -> None:
    network = faster.build_backbone()
    try:
        features = FeatureList(network, indices)
    except ValueError as error:
        assert "out_indices" in str(error)
        return
    info = features.feature_info
    maps = features(torch.rand(1, 3, 32, 64))
    assert len(maps) == len(indices) and len(info) == 2
    assert [item.shape[1] for item in maps] == info.channels()
    assert [(32 // item.shape[2], 64 // item.shape[3]) for item in maps] == [(step, step) for step in info.reduction()]
    assert [item["module"] for item in info.get_dicts()] == info.module_name()
    assert info.out_indices == tuple(index % 2 for index in indices)


@pytest.mark.parametrize("out_indices", [None, (1, 3), (2,)])
def test_feature_info_answers_as_timms_does(out_indices: tuple[int, ...] | None) -> None:
    options: Any = {} if out_indices is None else {"out_indices": [index + 1 for index in out_indices]}
    theirs = timm.create_model("resnet18", features_only=True, **({"out_indices": (1, 2, 3, 4)} | options)).feature_info
    ours = FeatureList(build_backbone("resnet18"), out_indices).feature_info
    assert len(ours) == len(theirs) - 1 == len(list(ours))  # timm's first is the stem, which we don't give
    for idx in (None, 0, 2, [0, 3], (1,)):
        shifted = None if idx is None else idx + 1 if isinstance(idx, int) else [index + 1 for index in idx]
        assert ours.channels(idx) == ours.get("num_chs", idx) == theirs.channels(shifted)
        assert ours.reduction(idx) == ours.get("reduction", idx) == theirs.reduction(shifted)
        assert type(ours.module_name(idx)) is type(theirs.module_name(shifted))
        for keys in (["num_chs"], ["num_chs", "reduction"]):
            assert ours.get_dicts(keys, idx) == theirs.get_dicts(keys, shifted)
    for stage in range(4):
        assert ours[stage]["num_chs"] == theirs[stage + 1]["num_chs"]
        assert ours[stage].get("reduction") == theirs[stage + 1].get("reduction")
        assert ours[stage].keys() <= theirs[stage + 1].keys()
    assert ours.get_dicts() == [ours[index] for index in ours.out_indices]
