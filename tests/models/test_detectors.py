"""Detectors: what they take, what they give, and what stays the same over a search."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BoxCoder

from models import NetworkSpec, build_detector
from models.detector_shape import DetectorShape
from tests.models.strategies import REPEATABLE, specs, warmed

SMALL = {
    "pyramid_channels": 8,
    "head_channels": 16,
    "roi_size": 3,
    "anchor_size": 8,
    "canonical_scale": 32,
    "rpn_post_nms_train": 30,
    "detections_per_image": 5,
    "score_threshold": 0.0,
}


def _detector(text: str = "BB(1,d1)", **fields: object) -> FasterRCNN:
    return build_detector(text, 2, base_channels=4, **{"max_stages": 4, **SMALL, **fields})


def _batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 64, 96, generator=generator), torch.rand(3, 70, 50, generator=generator)]
    target = {"boxes": torch.tensor([[4.0, 5.0, 30.0, 40.0]]), "labels": torch.tensor([2])}
    return images, [target, target]


@pytest.mark.parametrize("text", ["BB(1,d1)", "BNB(1,d,1)+(0,1,0)", "BB(1,1,1,1)"])
def test_every_parameter_learns_from_the_losses(text: str) -> None:
    detector = warmed(_detector(text))
    losses = detector(*_batch())
    assert losses.keys() == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_detections_lie_in_the_images_own_pixels() -> None:
    images, _ = _batch()
    detections = _detector().eval()(images)
    for image, found in zip(images, detections, strict=True):
        height, width = image.shape[-2:]
        assert 0 < len(found["boxes"]) <= 5
        assert set(found["labels"].tolist()) <= {1, 2}
        assert found["boxes"].min() >= 0
        assert found["boxes"][:, 2].max() <= width and found["boxes"][:, 3].max() <= height


def test_boxes_are_coded_in_float32_where_the_backbone_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = warmed(_detector(bfloat16=True))
    seen: list[tuple[str, Tensor]] = []
    for name in ("encode_single", "decode_single"):
        whole = getattr(BoxCoder, name)

        def coded(coder: BoxCoder, *boxes: Tensor, name: str = name, whole: Callable[..., Tensor] = whole) -> Tensor:
            result = whole(coder, *boxes)
            seen.extend((name, tensor) for tensor in (*boxes, result))
            return result

        monkeypatch.setattr(BoxCoder, name, coded)
    computed: list[Tensor] = []
    detector.backbone.body.stem.conv1.register_forward_hook(lambda _, __, output: computed.append(output))
    detector.backbone.fpn.layer_blocks[0].register_forward_hook(lambda _, __, output: computed.append(output))

    images, targets = _batch()
    losses = detector(images, targets)
    found = detector.eval()(images)

    assert len(computed) == 4 and {tensor.dtype for tensor in computed} == {torch.bfloat16}
    assert {name for name, _ in seen} == {"encode_single", "decode_single"}
    assert {tensor.dtype for _, tensor in seen} == {torch.float32}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert {detected[name].dtype for detected in found for name in ("boxes", "scores")} == {torch.float32}
    assert any((detected["boxes"] != detected["boxes"].bfloat16()).any() for detected in found)


@pytest.mark.parametrize("train", [True, False])
def test_images_are_normalised_and_never_resized(train: bool) -> None:
    detector = _detector(image_mean=(0.5, 0.5, 0.5), image_std=(0.25, 0.25, 0.25)).train(train)
    images, _ = _batch()
    batch, _ = detector.transform(images)
    assert batch.image_sizes == [(64, 96), (70, 50)]
    assert torch.equal(batch.tensors[1, :, :70, :50], (images[1] - 0.5) / 0.25)


def test_anchors_double_from_level_to_level() -> None:
    detector = _detector(max_stages=5)
    generator = detector.rpn.anchor_generator
    assert generator.sizes == ((8,), (16,), (32,), (64,), (128,))
    assert generator.aspect_ratios == ((0.5, 1.0, 2.0),) * 5


@pytest.mark.parametrize(
    ("max_stages", "roi_levels"), [(2, ["0", "1"]), (4, ["0", "1", "2", "3"]), (6, ["0", "1", "2", "3"])]
)
def test_rois_come_from_the_first_four_levels(max_stages: int, roi_levels: list[str]) -> None:
    detector = _detector(max_stages=max_stages)
    assert detector.roi_heads.box_roi_pool.featmap_names == roi_levels
    levels = detector.backbone(torch.rand(1, 3, 64, 64))
    assert list(levels) == [str(level) for level in range(max_stages)]


@settings(REPEATABLE, max_examples=20)
@given(specs(max_subnets=1))
def test_all_but_the_backbone_and_the_laterals_inputs_stays_the_same(spec: NetworkSpec) -> None:
    def shapes(detector: FasterRCNN) -> dict[str, tuple[int, ...]]:
        return {
            key: tuple(tensor.shape)
            for key, tensor in detector.state_dict().items()
            if not key.startswith("backbone.body.") and not ("inner_blocks" in key and key.endswith("weight"))
        }

    fields = {"max_stages": 4, **SMALL}
    assert shapes(build_detector(spec, 2, **fields)) == shapes(_detector())


def test_missing_stages_are_padded_by_subsampling() -> None:
    detector = _detector("BB(1,d)", max_stages=4).eval()
    maps = detector.backbone.padded_features(torch.rand(2, 3, 72, 100))
    assert [tuple(features.shape[-2:]) for features in maps.values()] == [(18, 25), (9, 13), (5, 7), (3, 4)]
    assert torch.equal(maps["2"], maps["1"][:, :, ::2, ::2])
    assert torch.equal(maps["3"], maps["1"][:, :, ::4, ::4])


def test_every_field_of_the_shape_has_its_effect() -> None:
    detector = _detector(
        rpn_pre_nms_train=7,
        rpn_pre_nms_test=6,
        rpn_post_nms_test=4,
        rpn_batch=9,
        roi_batch=11,
        nms_threshold=0.4,
        anchor_ratios=(1.0,),
        roi_sampling_ratio=1,
    )
    assert detector.rpn._pre_nms_top_n == {"training": 7, "testing": 6}
    assert detector.rpn._post_nms_top_n == {"training": 30, "testing": 4}
    assert detector.rpn.fg_bg_sampler.batch_size_per_image == 9
    assert detector.rpn.head.cls_logits.out_channels == 1
    heads = detector.roi_heads
    assert heads.fg_bg_sampler.batch_size_per_image == 11
    assert (heads.nms_thresh, heads.score_thresh, heads.detections_per_img) == (0.4, 0.0, 5)
    pool = heads.box_roi_pool
    assert (pool.output_size, pool.sampling_ratio, pool.canonical_scale) == ((3, 3), 1, 32)
    assert heads.box_head.fc6.weight.shape == (16, 8 * 9)
    assert heads.box_predictor.cls_score.weight.shape == (3, 16)


def test_the_defaults_are_torchvisions() -> None:
    ours = build_detector("resnet18", 90, base_channels=8)
    assert ours.roi_heads.box_head.fc6.weight.shape == (1024, 256 * 49)
    assert ours.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert len(ours.backbone.fpn.inner_blocks) == 6
    assert DetectorShape().image_mean == (0.485, 0.456, 0.406)


def test_the_same_seed_gives_the_same_losses() -> None:
    def losses() -> dict[str, Tensor]:
        torch.manual_seed(5)
        result: dict[str, Tensor] = _detector()(*_batch())
        return result

    first, second = losses(), losses()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_detector_that_cannot_be_built_says_why() -> None:
    with pytest.raises(ValueError, match=r"max_stages: 1 pyramid levels are too few for BB\(1,d1\), which has 2"):
        _detector(max_stages=1)
    with pytest.raises(ValueError, match="num_classes: 0"):
        build_detector("BB(1)", 0, base_channels=4)
    with pytest.raises(TypeError, match="pyramid_chanels"):
        _detector(pyramid_chanels=3)


@pytest.mark.parametrize("kind", ["faster_rcnn", "cascade_rcnn"])
def test_what_is_detected_does_not_depend_on_the_first_image_there_was(kind: str) -> None:
    def found(*sides: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = _detector("BB(1,1)", kind=kind).eval()
        with torch.no_grad():
            return [model([torch.full((3, side, 96), 0.5)])[0]["scores"] for side in sides][-1]

    assert torch.equal(found(33, 96), found(96))
