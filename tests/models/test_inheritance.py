"""Morphs on weights: what is exact is exact to the last bit, what is kept is the parent's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from models import Architecture, NetworkSpec, blob, build_backbone, build_detector
from models.architecture import NORMALIZATIONS
from models.backbone import Backbone
from models.detector_shape import CASCADE_RCNN, FASTER_RCNN
from models.inheritance import inherit, load_weights, misfits
from models.morphism import Assemble, Expand, Insert, InsertStage, Morph, NewStage, Swap, apply_all, legal_swaps
from models.pyramid import Pyramid
from tests.models.strategies import REPEATABLE, morph_chains, pictures, small_spec, specs, warmed

SMALL = {"pyramid_channels": 4, "head_channels": 8, "roi_size": 2}
MASKS = {"mask_channels": 4, "mask_roi_size": 3}
EXACT_NETWORKS = ("BB(11,d1,1)", "BNB(11,d1,1)", "XB(11,d1,1)")
both_modes = pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])


def _spec(text: str) -> NetworkSpec:
    return small_spec(Architecture.parse(text))


def _parent(spec: NetworkSpec, normalization: str = "batch") -> Backbone:
    backbone = build_backbone(spec, normalization=normalization)
    warmed(backbone)
    return backbone


def _child(parent: Backbone, morphs: tuple[Morph, ...], normalization: str = "batch") -> Backbone:
    child = build_backbone(apply_all(parent.spec, morphs), normalization=normalization)
    child.load_state_dict(inherit(parent.state_dict(), parent.spec, morphs))
    return child


def _features(module: nn.Module, train: bool) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(module.train(train)(pictures(size=64)))


def _assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@both_modes
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("text", EXACT_NETWORKS)
def test_expand_leaves_every_feature_exactly_unchanged(text: str, normalization: str, train: bool) -> None:
    parent = _parent(_spec(text), normalization)
    expected = _features(parent, train)
    for after in range(parent.spec.architecture.num_blocks):
        child = _child(parent, (Expand(after),), normalization)
        _assert_equal(expected, _features(child, train))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("text", EXACT_NETWORKS)
@pytest.mark.parametrize(("morph", "place"), [(Insert(1), "stages.0.2."), (InsertStage(), "stages.3.0.")], ids=str)
def test_a_block_inserted_with_fresh_weights_is_as_a_fresh_build_has_it(
    morph: Morph, place: str, text: str, normalization: str
) -> None:
    parent = _parent(_spec(text), normalization)
    torch.manual_seed(1)
    child = _child(parent, (morph,), normalization)
    torch.manual_seed(1)
    assert all(map(torch.equal, _child(parent, (morph,), normalization).parameters(), child.parameters()))
    fresh = build_backbone(child.spec, normalization=normalization).state_dict()
    block = {key: tensor for key, tensor in child.state_dict().items() if key.startswith(place)}
    assert block.keys() == {key for key in fresh if key.startswith(place)}
    for key, tensor in block.items():
        if "conv" in key:  # a sample's deviation is within 5 of its own deviations
            assert tensor.std() / fresh[key].std() == pytest.approx(1, abs=5 / tensor.numel() ** 0.5)
        else:
            assert torch.equal(tensor, fresh[key]), key


@both_modes
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("text", EXACT_NETWORKS)
@pytest.mark.parametrize("counts", [(1, 1, 1), (0, 2, 3)])
def test_fresh_subnets_leave_every_feature_exactly_unchanged(
    text: str, counts: tuple[int, ...], normalization: str, train: bool
) -> None:
    parent = _parent(_spec(text), normalization)
    child = _child(parent, (Assemble(counts),), normalization)
    _assert_equal(_features(parent, train), _features(child, train))


@both_modes
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("text", EXACT_NETWORKS)
def test_a_new_stage_leaves_the_pyramid_exactly_unchanged(text: str, normalization: str, train: bool) -> None:
    parent = Pyramid(_parent(_spec(text), normalization), 8, max_stages=5)
    expected = _features(parent, train)
    for morphs in ((NewStage(),), (NewStage(), NewStage()), (NewStage(), Expand(5))):
        child = Pyramid(_child(parent.body, morphs, normalization), 8, max_stages=5)
        child.fpn.load_state_dict(parent.fpn.state_dict())
        _assert_equal(expected, _features(child, train))


@settings(REPEATABLE, max_examples=25)
@given(specs(), st.booleans())
def test_a_swap_done_twice_restores_every_feature_bit_for_bit(spec: NetworkSpec, train: bool) -> None:
    parent = _parent(spec)
    for swap in legal_swaps(spec.architecture.stages):
        once = _child(parent, (swap,))
        twice = _child(once, (swap,))
        assert twice.spec == spec
        _assert_equal(dict(parent.state_dict()), dict(twice.state_dict()))
        _assert_equal(_features(parent, train), _features(twice, train))


@settings(REPEATABLE, max_examples=60)
@given(specs(), st.sampled_from(NORMALIZATIONS), st.booleans(), st.data())
def test_any_chain_gives_weights_that_fit_and_keeps_the_parents(
    spec: NetworkSpec, normalization: str, whole_detector: bool, data: st.DataObject
) -> None:
    def build(each: NetworkSpec) -> nn.Module:
        if whole_detector:
            return build_detector(each, 2, max_stages=5, normalization=normalization, **SMALL)
        return build_backbone(each, normalization=normalization)

    morphs = data.draw(morph_chains(spec))
    parent = build(spec)
    state = warmed(parent).state_dict()
    before = {key: tensor.clone() for key, tensor in state.items()}
    inherited = inherit(state, spec, morphs)
    child = build(apply_all(spec, morphs))

    own = child.state_dict()
    assert inherited.keys() == own.keys()
    fresh = load_weights(child, inherited)
    assert all("inner_blocks" in unit for unit in fresh)
    _assert_equal({key: value for key, value in own.items() if not key.startswith(tuple(fresh))}, inherited)

    parents_own = {id(tensor) for tensor in state.values()}
    kept = {id(tensor) for tensor in inherited.values()}
    assert parents_own <= kept
    num_new_blocks = sum(isinstance(morph, Expand | NewStage | Insert | InsertStage) for morph in morphs)
    new_places = {key.rsplit(".", 2)[0] for key, tensor in inherited.items() if id(tensor) not in parents_own}
    assert len({place for place in new_places if "stages." in place}) == num_new_blocks
    _assert_equal(before, dict(state))


@pytest.mark.parametrize("text", EXACT_NETWORKS)
@pytest.mark.parametrize(("have", "want"), [("batch", "frozen"), ("sync", "frozen"), ("frozen", "batch")])
def test_expand_is_exact_where_the_normalisation_changes_too(text: str, have: str, want: str) -> None:
    parent = _parent(_spec(text), have)
    same = build_backbone(parent.spec, normalization=want)
    load_weights(same, parent.state_dict())
    morphs = (Expand(0), Expand(3))
    child = build_backbone(apply_all(parent.spec, morphs), normalization=want)
    assert load_weights(child, inherit(parent.state_dict(), parent.spec, morphs, want)) == []
    _assert_equal(_features(same, False), _features(child, False))


def test_a_block_inserted_under_any_normalisation_can_learn() -> None:
    kinds = [(kind, kind) for kind in NORMALIZATIONS]
    for have, normalization in (*kinds, ("batch", "frozen"), ("frozen", "batch")):
        parent = _parent(_spec("BNB(1,d)"), have)
        child = build_backbone(apply_all(parent.spec, (Expand(0),)), normalization=normalization)
        load_weights(child, inherit(parent.state_dict(), parent.spec, (Expand(0),), normalization))
        optimizer = torch.optim.SGD(child.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            sum(feature.square().mean() for feature in child(pictures()).values()).backward()
            optimizer.step()
        for name, parameter in child.stages[0][1].named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (normalization, name)


def test_inserted_convolutions_are_diracs() -> None:
    for text in EXACT_NETWORKS:
        parent = _parent(_spec(text))
        block = _child(parent, (Expand(1),)).stages[0][2]
        for layer in (module for module in block.modules() if isinstance(module, nn.Conv2d)):
            expected = nn.init.dirac_(torch.empty_like(layer.weight), layer.groups)
            assert torch.equal(layer.weight, expected)


def test_subnets_are_kept_by_stage_and_number() -> None:
    parent = _parent(_spec("BB(1,d)+(1,2)"))
    child = _child(parent, (Assemble((2, 1)),))
    _assert_equal(dict(parent.subnets[0][0].state_dict()), dict(child.subnets[0][0].state_dict()))
    _assert_equal(dict(parent.subnets[1][0].state_dict()), dict(child.subnets[1][0].state_dict()))
    _assert_equal(dict(parent.stages[0].state_dict()), dict(child.subnets[0][1].blocks.state_dict()))
    assert not child.subnets[0][1].up.weight.any() and not child.subnets[0][1].up.bias.any()
    assert len(child.subnets[1]) == 1


def test_subnets_can_be_given_up_and_the_serial_network_morphed_on() -> None:
    parent = _parent(_spec("BB(11,d)+(1,2)"))
    child = _child(parent, (Assemble((0, 0)), Swap(1), NewStage()))
    assert str(child.spec.architecture) == "BB(1,1d,1)"
    _assert_equal(dict(parent.stages[1][0].state_dict()), dict(child.stages[1][1].state_dict()))


@pytest.mark.parametrize("text", ["BB(1,d)", "BB(11,d1)", "BB(11,d)+(0,1)"])
def test_weights_of_another_spec_are_refused(text: str) -> None:
    state = build_backbone(_spec("BB(11,d)")).state_dict()
    with pytest.raises(ValueError, match="these are not of BB"):
        inherit(state, _spec(text), ())


def test_an_illegal_morph_is_refused() -> None:
    spec = _spec("BB(1,d)")
    with pytest.raises(ValueError, match="is not legal"):
        inherit(build_backbone(spec).state_dict(), spec, (Swap(0),))


def test_weights_load_from_read_only_memory() -> None:
    parent = build_detector(_spec("BB(11,d1)"), 2, max_stages=3, **SMALL)
    packed = np.frombuffer(blob.pack(warmed(parent).state_dict(), {}), dtype=np.uint8)
    tensors, _ = blob.unpack(packed)
    morphs = (Expand(0), NewStage())
    child = build_detector(apply_all(parent.backbone.body.spec, morphs), 2, max_stages=3, **SMALL)
    assert load_weights(child, inherit(tensors, parent.backbone.body.spec, morphs)) == []
    _assert_equal(_features(parent.backbone, False), _features(child.backbone, False))
    with torch.no_grad():
        for tensor in child.state_dict().values():
            tensor.zero_()
    _assert_equal(dict(parent.state_dict()), tensors)


def test_class_predictors_and_laterals_that_do_not_fit_stay_fresh_and_are_named() -> None:
    parent = build_detector(_spec("BB(11,d1)"), 2, max_stages=3, **SMALL)
    warmed(parent)
    morphs = (Swap(2),)
    child = build_detector(apply_all(parent.backbone.body.spec, morphs), 3, max_stages=4, **SMALL)
    before = {key: tensor.clone() for key, tensor in child.state_dict().items()}
    fresh = load_weights(child, inherit(parent.state_dict(), parent.backbone.body.spec, morphs))
    assert fresh == [
        "backbone.fpn.inner_blocks.0",
        "backbone.fpn.inner_blocks.3",
        "backbone.fpn.layer_blocks.3",
        "roi_heads.box_predictor",
    ]
    own = child.state_dict()
    for key in own:
        if key.startswith(tuple(fresh)):
            assert torch.equal(own[key], before[key])
        elif not key.startswith("backbone.body."):
            assert torch.equal(own[key], parent.state_dict()[key])


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("kind", [FASTER_RCNN, CASCADE_RCNN])
def test_the_heads_of_every_kind_of_detector_are_inherited_through_blobs_and_morphs(kind: str, mask: bool) -> None:
    def build(spec: NetworkSpec) -> FasterRCNN:
        return build_detector(spec, 2, kind=kind, mask=mask, max_stages=4, score_threshold=0.0, **SMALL, **MASKS)

    parent = build(_spec("BB(11,d1)"))
    warmed(parent)
    spec = parent.backbone.body.spec
    state, _ = blob.unpack(blob.pack(parent.state_dict(), {}))
    morphs = (Expand(0), NewStage(), Assemble((1, 0, 2)))
    child = build(apply_all(spec, morphs))
    assert load_weights(child, inherit(state, spec, morphs)) == []
    images = list(pictures(size=64))
    with torch.no_grad():
        for expected, found in zip(parent.eval()(images), child.eval()(images), strict=True):
            assert len(found["boxes"]) > 0
            _assert_equal(expected, found)
    swapped = build(apply_all(spec, (Swap(2),)))
    assert load_weights(swapped, inherit(state, spec, (Swap(2),))) == ["backbone.fpn.inner_blocks.0"]
    own = swapped.state_dict()
    _assert_equal({key: tensor for key, tensor in state.items() if key.startswith(("rpn.", "roi_heads."))}, own)


@pytest.mark.parametrize(
    ("have", "want", "words"),
    [
        (
            {"kind": FASTER_RCNN},
            {"kind": CASCADE_RCNN},
            ["roi_heads.box_head is left out", "roi_heads.box_predictor is left out"]
            + [f"roi_heads.stages.{stage}.box_{part} is fresh" for stage in range(3) for part in ("head", "predictor")],
        ),
        (
            {"kind": CASCADE_RCNN},
            {"kind": FASTER_RCNN},
            ["roi_heads.box_head is fresh", "roi_heads.box_predictor is fresh"]
            + [
                f"roi_heads.stages.{stage}.box_{part} is left out"
                for stage in range(3)
                for part in ("head", "predictor")
            ],
        ),
        ({}, {"mask": True}, ["roi_heads.mask_head is fresh", "roi_heads.mask_predictor is fresh"]),
        ({"mask": True}, {}, ["roi_heads.mask_head is left out", "roi_heads.mask_predictor is left out"]),
    ],
)
def test_heads_of_another_kind_of_detector_stay_fresh_and_are_named(
    have: dict[str, Any], want: dict[str, Any], words: list[str]
) -> None:
    parent, child = (
        build_detector(_spec("BB(1,d)"), 2, max_stages=3, **SMALL, **MASKS, **fields) for fields in (have, want)
    )
    before = {key: tensor.clone() for key, tensor in child.state_dict().items()}
    assert misfits(child, load_weights(child, parent.state_dict())) == words
    own, theirs = child.state_dict(), parent.state_dict()
    _assert_equal({key: theirs.get(key, before[key]) for key in own}, own)


def test_a_head_of_which_only_a_part_is_there_is_refused() -> None:
    detector = build_detector(_spec("BB(1,d)"), 2, max_stages=3, kind=CASCADE_RCNN, **SMALL)
    state = dict(detector.state_dict())
    del state["roi_heads.stages.1.box_head.fc7.weight"]
    with pytest.raises(ValueError, match=r"missing: roi_heads\.stages\.1\.box_head\.fc7\.weight"):
        load_weights(detector, state)


def test_levels_without_a_place_are_named() -> None:
    state = build_detector(_spec("BB(1,d)"), 2, max_stages=3, **SMALL).state_dict()
    fewer = build_detector(_spec("BB(1,d)"), 2, max_stages=2, **SMALL)
    assert load_weights(fewer, state) == ["backbone.fpn.inner_blocks.2", "backbone.fpn.layer_blocks.2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("stem.conv1.weight"), "missing: stem.conv1.weight"),
        (lambda state: state.update(stray=torch.zeros(1)), "left over: stray"),
        (
            lambda state: state.update({"stem.norm1.bias": torch.zeros(5)}),
            "of another shape: stem.norm1.bias",
        ),
    ],
)
def test_any_other_misfit_is_refused_and_nothing_is_copied(
    change: Callable[[dict[str, Tensor]], object], reason: str
) -> None:
    backbone = _parent(_spec("BB(1,d)"))
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    state = {key: torch.zeros_like(tensor) for key, tensor in before.items()}
    change(state)
    with pytest.raises(ValueError, match=reason):
        load_weights(backbone, state)
    _assert_equal(before, dict(backbone.state_dict()))


@pytest.mark.parametrize(("have", "want"), [("batch", "frozen"), ("frozen", "batch"), ("batch", "sync")])
def test_weights_move_between_kinds_of_batch_normalisation(have: str, want: str) -> None:
    parent = _parent(_spec("BNB(1,d)"), have)
    child = build_backbone(parent.spec, normalization=want)
    assert load_weights(child, parent.state_dict()) == []
    for name, feature in _features(parent, False).items():
        torch.testing.assert_close(feature, _features(child, False)[name])
