"""Cascade R-CNN and masks: what each stage is asked, what it learns from, and what comes of it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from models import NetworkSpec, build_detector
from models.cascade import BOX_WEIGHTS, IOUS, LOSS_WEIGHTS, CascadeHeads
from models.detector_shape import CASCADE_RCNN, FASTER_RCNN, NUM_CASCADE_STAGES
from models.detectors import masks_of_boxes, seed_samplers
from tests.models.strategies import REPEATABLE, specs, warmed

SMALL = {
    "pyramid_channels": 8,
    "head_channels": 16,
    "roi_size": 3,
    "roi_sampling_ratio": 1,
    "mask_channels": 8,
    "mask_roi_size": 4,
    "anchor_size": 8,
    "canonical_scale": 32,
    "rpn_post_nms_train": 30,
    "rpn_post_nms_test": 20,
    "roi_batch": 16,
    "detections_per_image": 5,
    "score_threshold": 0.0,
}
EVERY_KIND = pytest.mark.parametrize(
    ("kind", "mask"), [(FASTER_RCNN, True), (CASCADE_RCNN, False), (CASCADE_RCNN, True)]
)


def _detector(kind: str = CASCADE_RCNN, mask: bool = True, text: str = "BB(1,d1)", **fields: Any) -> FasterRCNN:
    torch.manual_seed(0)
    detector = build_detector(text, 2, base_channels=4, kind=kind, mask=mask, **{"max_stages": 4, **SMALL, **fields})
    warmed(detector)
    return detector


def _images(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 64, 96, generator=generator) for _ in range(count)]


def _target(*boxes: tuple[int, int, int, int], label: int = 2) -> dict[str, Tensor]:
    masks = torch.zeros(len(boxes), 64, 96, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top : (top + bottom) // 2, left:right] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.full((len(boxes),), label),
        "masks": masks,
    }


TARGETS = [_target((4, 5, 30, 40), (50, 20, 80, 60)), _target((10, 10, 40, 50), label=1)]


@EVERY_KIND
@pytest.mark.parametrize("text", ["BB(1,d1)", "BNB(1,d,1)+(0,1,0)"])
def test_every_parameter_learns_from_the_losses(kind: str, mask: bool, text: str) -> None:
    detector = _detector(kind, mask, text)
    losses = detector(_images(), TARGETS)
    names = ["loss_classifier", "loss_box_reg"] + ["loss_mask"] * mask
    expected = {f"{name}_{stage}" for name in names for stage in (1, 2, 3)} if kind == CASCADE_RCNN else set(names)
    assert losses.keys() == expected | {"loss_objectness", "loss_rpn_box_reg"}
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


@EVERY_KIND
def test_detections_have_torchvisions_form(kind: str, mask: bool) -> None:
    detector, images = _detector(kind, mask).eval(), _images()
    with torch.inference_mode():
        detections = detector(images)
        with masks_of_boxes(detector):
            within_boxes = detector(images)
    for found, unpasted in zip(detections, within_boxes, strict=True):
        assert found.keys() == {"boxes", "labels", "scores"} | ({"masks"} if mask else set())
        count = len(found["boxes"])
        assert 0 < count <= 5
        assert set(found["labels"].tolist()) <= {1, 2} and found["labels"].dtype == torch.int64
        assert found["scores"].min() >= 0 and found["scores"].max() <= 1
        assert (found["scores"].diff() <= 0).all()
        assert found["boxes"].min() >= 0 and found["boxes"][:, 2].max() <= 96 and found["boxes"][:, 3].max() <= 64
        assert torch.equal(found["boxes"], unpasted["boxes"])
        if mask:
            assert found["masks"].shape == (count, 1, 64, 96) and unpasted["masks"].shape == (count, 1, 8, 8)
            assert found["masks"].min() >= 0 and found["masks"].max() <= 1


def test_an_image_without_a_detection_has_no_mask_either() -> None:
    detector = _detector(score_threshold=0.999).eval()
    found = detector(_images())
    assert [tuple(one["masks"].shape) for one in found] == [(0, 1, 64, 96)] * 2


@EVERY_KIND
def test_images_without_objects_teach_what_background_is(kind: str, mask: bool) -> None:
    detector = _detector(kind, mask)
    losses = detector(_images(), [_target(), _target()])
    for name, loss in losses.items():
        assert loss > 0 if "classifier" in name or "objectness" in name else loss == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


@EVERY_KIND
def test_the_losses_of_a_batch_are_the_mean_of_its_images_own(kind: str, mask: bool) -> None:
    """So ranks that share a batch train what one would, whatever RoIs and objects their images have."""
    detector = _detector(kind, mask, normalization="group")
    images, targets = _images(3), [*TARGETS, _target()]

    def losses(kept: slice) -> dict[str, Tensor]:
        seed_samplers(detector, [7, 8, 9][kept])
        found: dict[str, Tensor] = detector(images[kept], targets[kept])
        return found

    with torch.no_grad():
        together = losses(slice(3))
        alone = [losses(slice(index, index + 1)) for index in range(3)]
    for name, loss in together.items():
        torch.testing.assert_close(loss, torch.stack([one[name] for one in alone]).mean(), msg=name)


def test_the_losses_fall_on_a_batch_that_is_seen_again_and_again() -> None:
    detector = _detector()
    optimizer = torch.optim.Adam(detector.parameters(), 0.003)
    totals = []
    for _ in range(12):
        seed_samplers(detector, [1, 2])
        losses = detector(_images(), TARGETS)
        totals.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert sum(totals[-1].values()) < 0.7 * sum(totals[0].values())
    for name in ("loss_mask_3", "loss_classifier_3"):
        assert totals[-1][name] < totals[0][name]


def _steered(logits: list[list[float]], codes: list[list[float]]) -> CascadeHeads:
    """Heads of three stages that answer the same for every RoI."""
    heads = _detector(mask=False).eval().roi_heads
    assert isinstance(heads, CascadeHeads)
    with torch.no_grad():
        for stage, classes, box in zip(heads.stages, logits, codes, strict=True):
            for layer, values in ((stage.box_predictor.cls_score, classes), (stage.box_predictor.bbox_pred, box)):
                layer.weight.zero_()
                layer.bias.copy_(torch.tensor(values))
    return heads


def _levels() -> dict[str, Tensor]:
    return {str(level): torch.zeros(1, 8, 64 >> level + 2, 96 >> level + 2) for level in range(4)}


def test_every_stage_moves_the_boxes_and_the_scores_are_the_mean_of_the_heads_probabilities() -> None:
    logits = [[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [1.0, 1.0, -1.0]]
    # 1 / 10, 1 / 20 and 1 / 30 of the box's width to the right; the last one makes it twice as high
    codes = [[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 15 * 0.6931472]]
    heads = _steered(logits, codes)
    ((found,), losses) = heads(_levels(), [torch.tensor([[10.0, 20.0, 40.0, 30.0]])], [(64, 96)])
    assert losses == {}
    right = 30 * (1 / 10 + 1 / 20 + 1 / 30)
    box = torch.tensor([[10 + right, 15.0, 40 + right, 35.0]])
    torch.testing.assert_close(found["boxes"], box.repeat(2, 1))
    expected = torch.tensor(logits).softmax(1).mean(0)
    assert found["labels"].tolist() == [2, 1]
    torch.testing.assert_close(found["scores"], expected[[2, 1]])


def test_boxes_are_cut_at_the_borders_between_stages() -> None:
    heads = _steered([[0.0, 1.0, 0.0]] * 3, [[-10.0, 0.0, 0.0, 0.0], [20.0, 0.0, 0.0, 0.0], [0.0] * 4])
    ((found,), _) = heads(_levels(), [torch.tensor([[10.0, 20.0, 40.0, 30.0]])], [(64, 96)])
    # to the left by its width of 30 and cut to 10; then to the right by 10
    torch.testing.assert_close(found["boxes"][0], torch.tensor([10.0, 20.0, 20.0, 30.0]))


def test_a_stages_proposals_are_the_sampled_ones_of_the_last_as_it_moved_them() -> None:
    heads = _steered([[0.0, 1.0, 0.0]] * 3, [[1.0, 0.0, 0.0, 0.0]] * 3).train()
    thing = torch.tensor([[10.0, 20.0, 40.0, 30.0]])
    given: list[Tensor] = []
    sampled: list[Tensor] = []
    for stage in heads.stages:
        whole = stage.select_training_samples

        def select(proposals: list[Tensor], targets: list[dict[str, Tensor]], whole: Any = whole) -> Any:
            given.append(proposals[0])
            chosen = whole(proposals, targets)
            sampled.append(chosen[0][0])
            return chosen

        stage.select_training_samples = select
    proposals = torch.tensor([[11.0, 20.0, 41.0, 30.0], [60.0, 10.0, 70.0, 20.0], [96.0, 0.0, 96.0, 9.0]])
    heads(_levels(), [proposals], [(64, 96)], [{"boxes": thing, "labels": torch.tensor([1])}])
    assert torch.equal(sampled[0], torch.cat((proposals, thing)))
    # moved by a tenth of their width; the object's own box is not, nor is what has no area
    torch.testing.assert_close(given[1], torch.tensor([[14.0, 20.0, 44.0, 30.0], [61.0, 10.0, 71.0, 20.0]]))
    assert torch.equal(sampled[1], torch.cat((given[1], thing)))
    torch.testing.assert_close(given[2], torch.tensor([[15.5, 20.0, 45.5, 30.0], [61.5, 10.0, 71.5, 20.0]]))


def test_a_stage_learns_from_proposals_of_its_own_overlap() -> None:
    heads = _detector(mask=False).roi_heads
    thing = torch.tensor([[0.0, 0.0, 100.0, 10.0]])
    boxes = torch.tensor([[0.0, 0.0, width, 10.0] for width in (45.0, 55.0, 65.0, 75.0)])
    torch.testing.assert_close(box_iou(thing, boxes), torch.tensor([[0.45, 0.55, 0.65, 0.75]]))
    for stage, iou, num_positive in zip(heads.stages, IOUS, (3, 2, 1), strict=True):
        _, (labels,) = stage.assign_targets_to_proposals([boxes], [thing], [torch.tensor([2])])
        assert labels.tolist() == [0] * (4 - num_positive) + [2] * num_positive, iou


def test_no_loss_reaches_an_earlier_stage_through_its_boxes() -> None:
    detector = _detector(mask=False)
    losses = detector(_images(), TARGETS)
    losses["loss_box_reg_3"].backward()
    first, _, last = detector.roi_heads.stages
    assert first.box_predictor.bbox_pred.weight.grad is None and first.box_head.fc6.weight.grad is None
    assert last.box_predictor.bbox_pred.weight.grad is not None


def test_the_stages_are_those_of_the_paper() -> None:
    assert len(IOUS) == len(BOX_WEIGHTS) == len(LOSS_WEIGHTS) == NUM_CASCADE_STAGES
    detector = build_detector("BB(1,d1)", 90, base_channels=4, max_stages=4, kind=CASCADE_RCNN, mask=True)
    for stage, weights in zip(detector.roi_heads.stages, BOX_WEIGHTS, strict=True):
        assert stage.box_coder.weights == weights
        assert stage.fg_bg_sampler.batch_size_per_image == 512
        assert stage.box_predictor.bbox_pred.out_features == 4
        assert stage.box_predictor.cls_score.out_features == 91
        assert stage.mask_predictor.mask_fcn_logits.weight.shape == (91, 256, 1, 1)


@settings(REPEATABLE, max_examples=5)
@given(specs(max_subnets=1))
def test_heads_are_the_same_for_every_architecture(spec: NetworkSpec) -> None:
    def shapes(detector: FasterRCNN) -> dict[str, tuple[int, ...]]:
        state = detector.state_dict()
        return {key: tuple(tensor.shape) for key, tensor in state.items() if not key.startswith("backbone.")}

    other = build_detector(spec, 2, kind=CASCADE_RCNN, mask=True, max_stages=4, **SMALL)
    assert shapes(other) == shapes(_detector())


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="kind: 'retinanet' is none of faster_rcnn, cascade_rcnn"):
        _detector("retinanet")
