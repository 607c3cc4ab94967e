"""Costs: against torch's own counter, and against the papers."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.architecture import Architecture, NetworkSpec
from models.backbone import build_backbone
from models.costs import Cost, backbone_costs, detector_parameters, subnet_macs
from models.detector_shape import DetectorShape
from models.detectors import build_detector
from models.morphism import apply_all
from models.zoo import ZOO
from tests.models.strategies import REPEATABLE, morph_chains, specs


def _counted_macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(*inputs)
    return counter.get_total_flops() // 2


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@settings(REPEATABLE, max_examples=60)
@given(specs(max_subnets=2), st.integers(17, 70), st.integers(17, 70), st.data())
def test_costs_equal_torchs_own_counter(spec: NetworkSpec, height: int, width: int, data: st.DataObject) -> None:
    if not any(spec.architecture.subnets) and data.draw(st.booleans()):
        spec = apply_all(spec, data.draw(morph_chains(spec)))
    backbone = build_backbone(spec)
    costs = backbone_costs(spec, height, width)
    assert costs.macs == _counted_macs(backbone, torch.zeros(1, 3, height, width))
    assert costs.parameters == _num_parameters(backbone)


@settings(REPEATABLE, max_examples=15)
@given(specs(max_subnets=1))
def test_every_part_is_counted_by_itself(spec: NetworkSpec) -> None:
    backbone = build_backbone(spec)
    costs = backbone_costs(spec, 48, 64)
    assert costs.stem == Cost(
        macs=_counted_macs(backbone.stem, torch.zeros(1, 3, 48, 64)),
        parameters=_num_parameters(backbone.stem),
    )
    x = torch.zeros(1, spec.base_channels, 12, 16)
    for stage, subnets, cost, subnet_cost in zip(
        backbone.stages, backbone.subnets, costs.stages, costs.subnets, strict=True
    ):
        assert cost == Cost(macs=_counted_macs(stage, x), parameters=_num_parameters(stage))
        with torch.no_grad():
            incoming, x = x, stage(x)
        for subnet in subnets:
            macs = _counted_macs(subnet, incoming, x)
            assert subnet_cost == Cost(macs=macs, parameters=_num_parameters(subnet))


@pytest.mark.parametrize(
    "num_classes, max_stages, shape",
    [
        (1, 4, {}),
        (20, 6, {"roi_size": 3, "anchor_ratios": (1.0,)}),
        (3, 4, {"mask": True, "mask_channels": 6, "mask_roi_size": 4}),
        (3, 4, {"kind": "cascade_rcnn"}),
        (3, 4, {"head_convolutions": 4, "head_convolution_channels": 6}),
        (3, 4, {"kind": "cascade_rcnn", "mask": True, "mask_channels": 6}),
    ],
)
def test_a_detectors_parameters_are_counted_without_building_it(
    num_classes: int, max_stages: int, shape: dict[str, Any]
) -> None:
    fields = {"pyramid_channels": 8, "head_channels": 16} | shape
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,d1,1)+(0,1,1)"), "deep", 4)
    detector = build_detector(spec, num_classes, max_stages=max_stages, **fields)
    assert detector_parameters(spec, DetectorShape(**fields), num_classes, max_stages) == _num_parameters(detector)


def test_subnet_costs_are_what_the_parallel_search_needs() -> None:
    spec = NetworkSpec.fresh(ZOO["spnet-bdd"].architecture.serial)
    macs = subnet_macs(spec, 224, 224)
    weights = [1 / value for value in macs]
    shares = [round(weight / sum(weights), 2) for weight in weights]
    assert shares == [0.01, 0.01, 0.01, 0.03, 0.13, 0.8]
    assert macs == subnet_macs(ZOO["spnet-bdd"].spec, 224, 224)


@pytest.mark.parametrize(
    ("name", "macs", "parameters", "tolerance"),
    [
        ("spnet-voc", 5_547_659_264, 55_637_928, 0.01),
        ("spnet-ecp", 14_064_943_104, 63_206_568, 0.01),
        ("spnet-bdd", 13_719_699_456, 87_766_952, 0.01),
        ("spnet-coco-bnb", 9_483_517_952, 102_827_432, 0.01),
        ("spnet-coco-xb", 9_077_293_056, 55_509_416, 0.035),
    ],
)
def test_the_searched_networks_cost_what_the_supplement_says(
    name: str, macs: int, parameters: int, tolerance: float
) -> None:
    costs = backbone_costs(NetworkSpec.fresh(ZOO[name].architecture.serial), 224, 224, num_classes=1000)
    assert (costs.macs, costs.parameters) == (macs, parameters)
    assert costs.macs / 1e9 == pytest.approx(ZOO[name].published_gflops, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("spnet-voc", 5_625_253_888),
        ("spnet-ecp", 28_682_616_832),
        ("spnet-bdd", 31_728_467_968),
        ("spnet-coco-bnb", 10_899_685_376),
        ("spnet-coco-xb", 23_116_709_888),
    ],
)
def test_the_parallel_networks_cost_what_they_did(name: str, macs: int) -> None:
    assert backbone_costs(ZOO[name].spec, 224, 224, num_classes=1000).macs == macs


def test_the_coco_networks_differ_from_resnet101_as_in_table_3() -> None:
    def with_laterals(name: str) -> int:
        spec = ZOO[name].spec
        sizes = [(-(-800 // stride), -(-1333 // stride)) for stride in (4, 8, 16, 32)]
        laterals = (
            channels * 256 * height * width
            for channels, (height, width) in zip(spec.stage_channels[:4], sizes, strict=True)
        )
        return backbone_costs(spec, 800, 1333).macs + sum(laterals)

    for name, published in (("spnet-coco-bnb", 391.1 - 323.3), ("spnet-coco-xb", 654.5 - 323.3)):
        difference = (with_laterals(name) - with_laterals("resnet101")) / 1e9
        assert difference == pytest.approx(published, rel=0.025)


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("resnet18", 1_814_073_344, 11_689_512),
        ("resnet34", 3_663_761_408, 21_797_672),
        ("resnet50", 4_089_184_256, 25_557_032),
        ("resnet101", 7_801_405_440, 44_549_160),
        ("resnext50-32x4d", 4_230_479_872, 25_028_904),
        ("resnext101-32x4d", 7_969_996_800, 44_177_704),
    ],
)
def test_the_hand_made_networks_cost_what_torchvisions_do(name: str, macs: int, parameters: int) -> None:
    costs = backbone_costs(ZOO[name].spec, 224, 224, num_classes=1000)
    assert (costs.macs, costs.parameters) == (macs, parameters)


def test_an_image_of_any_size_is_counted() -> None:
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,1)"), base_channels=4)
    assert backbone_costs(spec, 33, 33).macs > backbone_costs(spec, 32, 32).macs
