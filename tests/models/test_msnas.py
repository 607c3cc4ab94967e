"""Multi-scale encoders, the super-net and detectors: against the equations, and against each other."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN

from models.detector_shape import DetectorShape
from models.detectors import build_detector, choose_path
from models.families import detector_parameters
from models.inheritance import load_weights
from models.msnas import MultiScaleEncoder, inherit_path
from models.msnas_costs import multi_scale_costs, multi_scale_detector_parameters
from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace
from tests.models.strategies import REPEATABLE, warmed
from tests.models.test_msnas_encoding import multi_scales

SPACE = SearchSpace(block="BB", channels=4, num_blocks=6)
UP_AND_DOWN = MultiScale.parse("MS(BB,4;2,1,2,0.5,0.5,2;4,8,8,16,16)")
SMALL: dict[str, Any] = {
    "pyramid_channels": 8,
    "head_channels": 16,
    "head_convolution_channels": 8,
    "anchor_size": 8,
    "canonical_scale": 32,
    "rpn_pre_nms_train": 50,
    "rpn_post_nms_train": 20,
    "rpn_post_nms_test": 20,
    "roi_batch": 16,
    "detections_per_image": 5,
}


def _detector(architecture: MultiScale, **fields: Any) -> FasterRCNN:
    torch.manual_seed(0)
    return build_detector(architecture, 2, **SMALL, **fields)


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@settings(REPEATABLE, max_examples=20)
@given(multi_scales(), st.sampled_from(["deep", "resnet"]))
def test_costs_equal_torchs_own_counter(network: MultiScale, stem: str) -> None:
    spec = MultiScaleSpec(network, stem)
    detector = build_detector(spec, 2, **SMALL).eval()
    costs = multi_scale_costs(spec, DetectorShape(**SMALL), 64, 128)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features = detector.backbone(torch.zeros(1, 3, 64, 128))
        detector.rpn.head(list(features.values()))
    assert costs.macs == counter.get_total_flops() // 2
    assert costs.encoder.parameters == _num_parameters(detector.backbone)
    assert costs.rpn.parameters == _num_parameters(detector.rpn)


@settings(REPEATABLE, max_examples=20)
@given(multi_scales())
def test_a_feature_is_what_equations_4_to_6_say(network: MultiScale) -> None:
    encoder = warmed(MultiScaleEncoder(MultiScaleSpec(network))).eval()
    images = torch.rand(1, 3, 64, 128)
    outputs: list[Tensor] = []
    with torch.no_grad():
        features = encoder(images)
        x = encoder.stem(images)
        for index, block in enumerate(encoder.blocks):
            (operator,) = block.values()
            x = operator(x)
            lateral = network.laterals[index]
            if lateral is not None:
                x = x + encoder.laterals[str(lateral)](outputs[lateral])
            outputs.append(x)
    for group, (stride, source) in enumerate(zip(network.heads, network.head_blocks, strict=True)):
        assert features[str(group)].shape == (1, network.out_channels, 64 // stride, 128 // stride)
        assert torch.equal(features[str(group)], outputs[source])


def test_groups_that_read_one_feature_get_one_tensor() -> None:
    features = _detector(UP_AND_DOWN).eval().backbone(torch.rand(1, 3, 64, 64))
    assert features["1"] is features["2"] and features["3"] is features["4"]
    assert len({id(feature) for feature in features.values()}) == 3


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize("seed", range(3))
def test_a_path_with_the_super_nets_weights_computes_what_the_super_net_computes(seed: int, normalization: str) -> None:
    supernet = _detector(UP_AND_DOWN, supernet=True, normalization=normalization, head_convolutions=1)
    warmed(supernet.backbone)
    path = SPACE.draw(np.random.default_rng(seed))
    choose_path(supernet, path)
    own = _detector(path, normalization=normalization, head_convolutions=1)
    assert load_weights(own, inherit_path(supernet.state_dict(), path)) == []
    image = torch.rand(3, 60, 100)
    with torch.no_grad():
        (expected,), (found,) = supernet.eval()([image]), own.eval()([image])
    assert len(found["boxes"]) > 0
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_super_net_has_every_operator_that_a_valid_path_takes() -> None:
    supernet = MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN), supernet=True)
    state = supernet.state_dict()
    for path in SearchSpace(block="BB", channels=4, num_blocks=6, utilization="fpn"):
        MultiScaleEncoder(MultiScaleSpec(path)).load_state_dict(inherit_path(state, path))
    assert [list(block) for block in supernet.blocks] == [["same", "down"]] + [["up", "same", "down"]] * 5  # type: ignore[call-overload]
    assert list(supernet.laterals) == ["0", "1", "2", "3", "4"]


def test_a_step_on_one_path_leaves_the_other_operators_without_gradients() -> None:
    supernet = MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN), supernet=True)
    sum(feature.sum() for feature in supernet(torch.rand(2, 3, 64, 64)).values()).backward()
    trained = {name for name, parameter in supernet.named_parameters() if parameter.grad is not None}
    own = {name for name, _ in MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN)).named_parameters()}
    assert trained == own


@pytest.mark.parametrize("supernet", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"mask": True, "mask_channels": 6},
        {"head_convolutions": 2},
        {"kind": "cascade_rcnn", "anchor_ratios": (1.0,)},
    ],
)
@pytest.mark.parametrize("block", ["BB", "BNB"])
def test_the_parameters_of_a_detector_and_of_its_super_net_are_counted_without_building_them(
    block: str, shape: dict[str, Any], supernet: bool
) -> None:
    spec = MultiScaleSpec(MultiScale(block, 4, UP_AND_DOWN.strides, UP_AND_DOWN.heads))
    fields = SMALL | shape
    counted = multi_scale_detector_parameters(spec, DetectorShape(**fields), 3, supernet=supernet)
    assert counted == _num_parameters(build_detector(spec, 3, supernet=supernet, **fields))
    if not supernet:
        assert counted == detector_parameters(spec, DetectorShape(**fields), 3, max_stages=4)


def test_a_path_of_another_space_is_refused() -> None:
    supernet = MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN), supernet=True)
    other = MultiScale.parse("MS(BB,4;1,2;4,4,8,8,8)")
    with pytest.raises(ValueError, match="is no path of the super-net of MS"):
        supernet.choose(other)
    single = MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN))
    single.choose(MultiScale("BB", 4, UP_AND_DOWN.strides, (4, 4, 8, 8, 16)))
    with pytest.raises(ValueError, match="is no path of MS"):
        single.choose(SPACE.at(0))
    with pytest.raises(ValueError, match=r"nothing of blocks\.\d"):
        inherit_path(single.state_dict(), SPACE.at(0))


def test_images_that_are_not_padded_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="images: 64 x 96 pixels are not multiples of 64; pad them"):
        MultiScaleEncoder(MultiScaleSpec(UP_AND_DOWN))(torch.rand(1, 3, 64, 96))


@pytest.mark.parametrize("kind", ["faster_rcnn", "cascade_rcnn"])
def test_every_kind_of_detector_trains_and_detects_on_five_groups(kind: str) -> None:
    detector = _detector(UP_AND_DOWN, kind=kind, mask=True, mask_channels=8, head_convolutions=2)
    boxes = torch.tensor([[4.0, 4, 20, 30], [10, 10, 60, 60]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": torch.ones(2, 60, 100, dtype=torch.uint8)}
    losses = detector.train()([torch.rand(3, 60, 100)] * 2, [target] * 2)
    total = torch.stack([loss.sum() for loss in losses.values()]).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(parameter.grad is not None for parameter in detector.parameters())
    with torch.no_grad():
        (found,) = detector.eval()([torch.rand(3, 60, 100)])
    assert found["masks"].shape[1:] == (1, 60, 100)


def test_a_box_is_pooled_from_the_feature_that_the_head_of_its_group_reads() -> None:
    pool = _detector(UP_AND_DOWN).roi_heads.box_roi_pool
    features = {str(group): torch.full((1, 1, 64 // s, 64 // s), group) for group, s in enumerate(UP_AND_DOWN.heads)}
    # equation 1 of FPN with canonical scale 32: sides of 8, 16, 32, 64 and 128 pixels are groups 0 to 4
    sides = torch.tensor([8.0, 16, 32, 64, 128])
    boxes = torch.stack([torch.zeros(5), torch.zeros(5), sides, sides], dim=1)
    pooled = pool({name: map_.float() for name, map_ in features.items()}, [boxes], [(64, 64)])
    assert pooled.amax((1, 2, 3)).tolist() == [0, 1, 2, 3, 4]
    assert pool.scales == [1 / 4, 1 / 8, 1 / 8, 1 / 16, 1 / 16]
