"""Backbones: their features, their keys, and torchvision's ResNets."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from models import Architecture, NetworkSpec, build_backbone, load_torchvision_weights
from models.backbone import Backbone
from models.blocks import NORMALIZATIONS, make_norm
from models.morphism import apply_all
from models.zoo import ZOO
from tests.models.strategies import REPEATABLE, morph_chains, pictures, small_spec, specs, warmed


@settings(REPEATABLE, max_examples=30)
@given(specs(max_subnets=2), st.integers(33, 70), st.integers(33, 70), st.data())
def test_every_encoding_gives_one_map_per_stage(
    spec: NetworkSpec, height: int, width: int, data: st.DataObject
) -> None:
    if not any(spec.architecture.subnets):
        spec = apply_all(spec, data.draw(morph_chains(spec)))
    features = build_backbone(spec).eval()(torch.rand(1, 3, height, width))
    assert list(features) == [f"stage{number}" for number in range(1, len(spec.stages) + 1)]
    for level, (feature, channels) in enumerate(zip(features.values(), spec.stage_channels, strict=True)):
        stride = 2 ** (level + 2)
        assert feature.shape == (1, channels, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("stem", ["deep", "resnet"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("text", ["BB(11,d1)+(1,0)", "BNB(1,d1)+(0,1)", "XB(1,d1)+(2,1)"])
def test_every_part_learns(text: str, normalization: str, stem: str) -> None:
    backbone = build_backbone(small_spec(Architecture.parse(text), stem), normalization=normalization)
    warmed(backbone)
    sum(feature.square().mean() for feature in backbone(pictures()).values()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_keys_tell_where_a_block_stands() -> None:
    keys = build_backbone("BNB(11,d1)+(0,1)", base_channels=4).state_dict().keys()
    for key in (
        "stem.conv1.weight",
        "stages.0.0.shortcut.norm.bias",
        "stages.1.1.conv3.weight",
        "subnets.1.0.up.bias",
        "subnets.1.0.blocks.1.norm2.running_mean",
    ):
        assert key in keys


def test_a_stage_gives_the_last_subnets_output() -> None:
    backbone = build_backbone("BB(1,d1)+(0,2)", base_channels=4).eval()
    warmed(backbone)
    with torch.no_grad():
        features = backbone(pictures(size=48))
        x = features["stage1"]
        expected = backbone.stages[1](x)
        for subnet in backbone.subnets[1]:
            up = nn.functional.conv2d(expected, subnet.up.weight, subnet.up.bias)
            expected = subnet.blocks(x + up.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert torch.equal(features["stage2"], expected)


@pytest.mark.parametrize("text", ["BB(11)", "BNB(1d1)", "XB(11)"])
def test_a_block_leaves_its_input_alone(text: str) -> None:
    backbone = build_backbone(small_spec(Architecture.parse(text)))
    for block, shape in zip(backbone.stages[0], backbone.spec.blocks, strict=True):
        x = torch.rand(2, shape.in_channels, 8, 8)
        before = x.clone()
        assert block(x).min() >= 0
        assert torch.equal(x, before)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50-32x4d"])
def test_torchvisions_weights_give_torchvisions_features(name: str, train: bool) -> None:
    theirs = torchvision.models.get_model(ZOO[name].torchvision, weights=None)
    warmed(theirs)
    ours = build_backbone(name)
    load_torchvision_weights(ours, theirs.state_dict())
    layers = {f"layer{number}": f"stage{number}" for number in range(1, 5)}
    extractor = create_feature_extractor(theirs, layers).train(train)
    images = pictures(size=64)
    with torch.no_grad():
        expected, features = extractor(images), ours.train(train)(images)
    for stage, feature in features.items():
        assert torch.equal(feature, expected[stage]), stage


@pytest.mark.parametrize("normalization", ["sync", "frozen"])
def test_torchvisions_weights_fit_other_kinds_of_batch_normalisation(normalization: str) -> None:
    theirs = torchvision.models.resnet18(weights=None)
    ours = build_backbone("resnet18", normalization=normalization)
    load_torchvision_weights(ours, theirs.state_dict())
    assert torch.equal(ours.stages[3][0].norm1.running_var, theirs.layer4[0].bn1.running_var)


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        (
            "BB(11,d1,d1,d1)",
            {},
            "missing stem.conv1.weight.* stem 'resnet'|stem 'resnet'.*missing stem.conv1.weight",
        ),
        ("BB(11,d1,d1,d11)", {"stem": "resnet"}, "missing stages.3.2.conv1.weight"),
        ("BB(11,d1,d1)", {"stem": "resnet"}, "left over stages.3.0.conv1.weight"),
        (
            "BB(11,d1,d1,d1)",
            {"stem": "resnet", "base_channels": 32},
            "of another shape stages.0.0.conv1.weight",
        ),
        (
            "BB(11,d1,d1,d1)",
            {"stem": "resnet", "normalization": "group"},
            "left over stages.0.0.norm1.running_mean",
        ),
    ],
)
def test_torchvision_weights_of_another_network_are_refused(text: str, fields: dict, reason: str) -> None:
    ours = build_backbone(text, **fields)
    with pytest.raises(ValueError, match=reason):
        load_torchvision_weights(ours, torchvision.models.resnet18(weights=None).state_dict())


def test_a_foreign_key_is_named() -> None:
    state = torchvision.models.resnet18(weights=None).state_dict() | {"layer9.x": torch.zeros(1)}
    with pytest.raises(ValueError, match="left over layer9.x"):
        load_torchvision_weights(build_backbone("resnet18"), state)


def test_group_normalisation_never_norms_single_channels() -> None:
    for channels, groups in ((256, 32), (64, 32), (48, 24), (16, 8), (8, 4), (6, 3), (7, 1), (1, 1)):
        norm = make_norm("group", channels)
        assert isinstance(norm, nn.GroupNorm)
        assert norm.num_groups == groups


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        ("XB(11)", {"base_channels": 8}, "base_channels: 8 is not a multiple of 16"),
        ("BB(11)", {"stem": "shallow"}, "stem: 'shallow'"),
        (
            "BB(11)",
            {"normalization": "layer"},
            "normalization: 'layer' is none of batch, sync, frozen, group",
        ),
        ("BB(11", {}, "position 5"),
    ],
)
def test_a_backbone_that_cannot_be_built_says_why(text: str, fields: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_backbone(text, **fields)


def test_the_same_seed_gives_the_same_weights() -> None:
    def build() -> Backbone:
        torch.manual_seed(3)
        return build_backbone("BB(1,d)", base_channels=4)

    first, second = build().state_dict(), build().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
