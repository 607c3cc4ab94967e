"""Multi-scale encodings, their rules, and the uniform choice among them."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import Architecture, ArchitectureError, NetworkSpec
from models.backbone import build_backbone
from models.costs import backbone_costs
from models.detector_shape import DetectorShape
from models.families import (
    network_cost,
    parse_architecture,
    read_architecture,
    read_spec,
    spec_from_dict,
)
from models.msnas_costs import multi_scale_costs
from models.msnas_encoding import (
    FEATURE_STRIDES,
    FPN_HEADS,
    STRIDES,
    UTILIZATIONS,
    MultiScale,
    MultiScaleSpec,
    SearchSpace,
    feature_strides,
    meets_equation_7,
)
from models.msnas_zoo import MULTI_SCALE_ZOO, PUBLISHED_GFLOPS, SPACES
from tests.models.strategies import REPEATABLE

PIECES = ["MS", "(", ")", ",", ";", "BB", "BNB", "XB", "8", "0", "08", "1", "2", "0.5", "0.55", "4", "64", "5", " "]


def multi_scales(max_blocks: int = 9, utilization: str = "constrained") -> st.SearchStrategy[MultiScale]:
    """Any network of a small space."""
    spaces = st.builds(
        SearchSpace,
        block=st.sampled_from(["BB", "BNB"]),
        channels=st.sampled_from([2, 4]),
        num_blocks=st.integers(5, max_blocks),
        utilization=st.just(utilization),
    )
    return spaces.flatmap(lambda space: st.integers(0, space.size - 1).map(space.at))


@REPEATABLE
@given(multi_scales(), st.sampled_from(["deep", "resnet"]))
def test_an_encoding_and_its_spec_read_what_they_print(network: MultiScale, stem: str) -> None:
    assert MultiScale.parse(str(network)) == parse_architecture(str(network)) == network
    spec = MultiScaleSpec(network, stem)
    assert spec_from_dict(spec.to_dict()) == spec
    other = NetworkSpec.fresh(Architecture.parse("BB(1,d)"))
    assert spec_from_dict(other.to_dict()) == other


@REPEATABLE
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join).map(lambda text: f"MS(BB,8;{text}") | st.text())
def test_a_text_is_an_encoding_that_prints_as_itself_or_is_refused_with_its_position(text: str) -> None:
    try:
        assert str(MultiScale.parse(text)) == text
    except ArchitectureError as error:
        assert 0 <= error.position <= len(text)


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("BB(1)", 0, "expected 'MS(', found 'B'"),
        ("MS(XB,8;1;4,4,4,4,4)", 3, "a type of block, one of BB, BNB; found 'XB'"),
        ("MS(BB,08;", 6, "number of channels from 1 to 1048576, found '08'"),
        ("MS(BB,8;1,3;", 10, "a block's stride, one of 0.5, 1, 2; found '3'"),
        ("MS(BB,8;1,0.5;", 10, "with stride 0.5, block 2 would give a feature finer than 1/4 of the image"),
        ("MS(BB,8;2,2,2,2,2;", 16, "with stride 2, block 5 would give a feature coarser than 1/64 of the image"),
        ("MS(BB,8;1,2;4,8,16,", 16, "no block of this encoder gives a feature of stride 16; its strides are 4, 8"),
        ("MS(BB,8;1,2;4,8,8,8)", 19, "expected ',', found ')'"),
        ("MS(BB,8;1,2;4,8,8,8,8", 21, "expected ')', the text ends"),
        ("MS(BB,8;1,2;4,8,8,8,8) ", 22, "expected the end, found ' '"),
    ],
)
def test_a_malformed_encoding_is_refused_where_it_breaks_a_rule(text: str, position: int, reason: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        MultiScale.parse(text)
    assert caught.value.position == position
    assert reason in str(caught.value)


def test_what_can_not_be_built_is_refused_as_a_value_too() -> None:
    with pytest.raises(ArchitectureError, match="finer than 1/4"):
        MultiScale("BB", 8, (0.5,), (4, 4, 4, 4, 4))
    with pytest.raises(ValueError, match="stem: 'x' is none of"):
        MultiScaleSpec(MultiScale.parse("MS(BB,8;1,2;4,8,8,8,8)"), "x")
    with pytest.raises(ValueError, match="block 3 gives a feature finer than 1/4"):
        feature_strides((2, 0.5, 0.5))


def _by_the_equations(strides: tuple[float, ...]) -> list[int | None]:
    """Equations 5 and 6 as they are printed, with `k < i`."""
    count = len(strides)
    found: list[int | None] = []
    for i in range(count):
        ends = i == count - 1 or strides[i + 1] != 1
        earlier = [k for k in range(i) if np.prod(strides[k + 1 : i + 1]) == 1 and strides[k + 1] != 1]
        found.append(max(earlier) if ends and earlier else None)
    return found


@REPEATABLE
@given(multi_scales(max_blocks=14))
def test_lateral_connections_are_those_of_equations_5_and_6(network: MultiScale) -> None:
    assert list(network.laterals) == _by_the_equations(network.strides)


def test_a_pyramid_has_the_lateral_connections_of_fpn() -> None:
    down_and_up = MultiScale.parse("MS(BB,8;1,2,1,2,2,0.5,0.5,0.5;4,8,16,32,32)")
    assert down_and_up.feature_strides == (4, 8, 8, 16, 32, 16, 8, 4)
    assert down_and_up.laterals == (None, None, None, None, None, 3, 2, 0)
    assert down_and_up.head_blocks == (7, 6, 5, 4, 4)


def _all_valid(num_blocks: int, utilization: str) -> set[tuple[tuple[float, ...], tuple[int, ...]]]:
    """Every member of a space by trying all that can be written."""
    found = set()
    for strides in product(STRIDES, repeat=num_blocks):
        here = [4 * np.prod(strides[: block + 1]) for block in range(num_blocks)]
        if not all(4 <= stride <= 64 for stride in here):
            continue
        for heads in product(FEATURE_STRIDES, repeat=5):
            rising = list(heads) == sorted(heads) and min(heads) <= 8 <= max(heads) and len(set(heads)) > 1
            allowed = {"constrained": rising, "free": True, "fpn": heads == FPN_HEADS}[utilization]
            if allowed and set(heads) <= set(here):
                found.add((strides, heads))
    return found


@pytest.mark.parametrize(("num_blocks", "utilization"), [(2, "constrained"), (4, "constrained"), (2, "free")])
def test_a_space_is_all_that_is_valid_each_once(num_blocks: int, utilization: str) -> None:
    space = SearchSpace(block="BB", channels=4, num_blocks=num_blocks, utilization=utilization)
    members = [(network.strides, network.heads) for network in space]
    assert len(members) == space.size
    assert set(members) == _all_valid(num_blocks, utilization)
    assert all(network in space for network in space)


def test_fpns_own_utilisation_is_in_the_space_and_is_all_of_the_fpn_space() -> None:
    free = SearchSpace(block="BB", channels=4, num_blocks=6)
    fixed = SearchSpace(block="BB", channels=4, num_blocks=6, utilization="fpn")
    assert fixed.size == 7
    assert all(network.heads == FPN_HEADS and network in free for network in fixed)


def test_drawing_is_uniform_and_repeats_with_its_seed() -> None:
    space = SearchSpace(block="BB", channels=4, num_blocks=2)
    rng = np.random.default_rng(7)
    counts = Counter(space.draw(rng) for _ in range(2400))
    expected = 2400 / space.size
    assert counts.keys() == set(space)
    # the 99.9 % point of chi-squared with 11 degrees of freedom
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 31.3
    draws = [[space.draw(rng) for _ in range(5)] for rng in (np.random.default_rng(3), np.random.default_rng(3))]
    assert draws[0] == draws[1]


@REPEATABLE
@given(st.sampled_from(UTILIZATIONS), st.sampled_from([5, 13, 21, 300]), st.integers(0, 2**32))
def test_a_draw_is_valid_however_many_blocks_there_are(utilization: str, num_blocks: int, seed: int) -> None:
    space = SearchSpace(block="BNB", channels=4, num_blocks=num_blocks, utilization=utilization)
    network = space.draw(np.random.default_rng(seed))
    assert network in space
    assert utilization == "free" or meets_equation_7(network.heads)


def test_a_space_knows_what_is_not_in_it() -> None:
    space = SearchSpace(block="BB", channels=4, num_blocks=3)
    assert space.allows((1, 2, 1), (4, 4, 8, 8, 8))
    assert not space.allows((1, 2), (4, 4, 8, 8, 8))  # too short
    assert not space.allows((1, 0.5, 1), (4, 4, 8, 8, 8))  # too fine
    assert not space.allows((1, 2, 1), (4, 4, 8, 8, 16))  # not offered
    assert not space.allows((1, 2, 1), (8, 4, 8, 8, 8))  # equation 7
    assert MultiScale.parse("MS(BNB,4;1,2,1;4,4,8,8,8)") not in space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block": "XB"}, "block: 'XB' is none of BB, BNB"),
        ({"channels": 0}, "channels: 0 is not from 1"),
        ({"num_blocks": 0}, "num_blocks: 0 is not from 1"),
        ({"utilization": "x"}, "utilization: 'x' is none of constrained, free, fpn"),
        ({"num_blocks": 1}, "num_blocks: 1 can't offer what a utilisation needs, 'constrained' at least 2"),
        ({"num_blocks": 4, "utilization": "fpn"}, "'fpn' at least 5"),
    ],
)
def test_a_space_without_members_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace(**({"block": "BB", "channels": 4, "num_blocks": 9} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MULTI_SCALE_ZOO)
def test_every_row_of_tables_7_to_9_is_valid(name: str) -> None:
    network = MULTI_SCALE_ZOO[name]
    assert network.architecture in SPACES[network.space]
    assert read_architecture(name.upper().replace("-", "_")) == network.architecture
    assert read_spec(name) == network.spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("msnas-r18-9", "the nearest is msnas-r18-5 "),
        ("msnas", "the nearest is msnas-"),
        ("resnet19", "the nearest is resnet18 "),
        ("MS", "position 0: expected 'MS\\('"),
        ("MS(BB,4;1,2;4,4,8,8,16)", "position 20: no block of this encoder gives a feature of stride 16; .* are 4, 8"),
        ("MS(BB,4;0.5;4,4,4,4,4)", "position 8: with stride 0.5, block 1 would give a feature finer than 1/4"),
        ("MS(XB,4;1;4,4,4,4,4)", "position 3: expected a type of block, one of BB, BNB; found 'XB'"),
    ],
)
def test_what_is_no_network_of_any_family_is_refused_with_the_nearest_or_the_position(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_spec(text)
    assert str(caught.value).startswith("architecture ") and "\n" not in str(caught.value)


def test_a_text_of_any_family_is_read_with_its_stem_or_another() -> None:
    assert read_spec("resnet18") == NetworkSpec.fresh(Architecture.parse("BB(11,d1,d1,d1)"), "resnet")
    assert read_spec("BB(1)", base_channels=8) == NetworkSpec.fresh(Architecture.parse("BB(1)"), "deep", 8)
    assert read_spec("msnas-r18-5") == MULTI_SCALE_ZOO["msnas-r18-5"].spec
    assert read_spec("MS(BB,4;1,2;4,4,8,8,8)", "deep").stem == "deep"
    with pytest.raises(ValueError, match="base channels: 8, but MS.* says its channels itself; leave them out"):
        read_spec("msnas-r18-5", base_channels=8)
    with pytest.raises(ValueError, match="is a multi-scale network; build a MultiScaleEncoder"):
        build_backbone("msnas-r18-5")


@pytest.mark.parametrize("name", MULTI_SCALE_ZOO)
def test_rows_cost_what_table_1_says_to_4_percent_without_their_stems(name: str) -> None:
    network = MULTI_SCALE_ZOO[name]
    costs = multi_scale_costs(network.spec, DetectorShape())
    published = PUBLISHED_GFLOPS[network.space]
    assert (costs.macs - costs.stem.macs) / 1e9 == pytest.approx(published, rel=0.04)


def test_costs_are_counted_on_padded_images_only() -> None:
    spec = MULTI_SCALE_ZOO["msnas-r18-1"].spec
    assert network_cost(spec, 800, 1217) == network_cost(spec, 832, 1280)
    with pytest.raises(ValueError, match="800 x 1280 pixels are not multiples of 64"):
        multi_scale_costs(spec, DetectorShape(), 800, 1280)


def _fpn_gflops(encoding: str, widths: tuple[int, ...]) -> float:
    """Encoder, FPN and RPN of 256 channels and three anchors, at 832 x 1280."""
    macs = backbone_costs(NetworkSpec.fresh(Architecture.parse(encoding), "resnet"), 832, 1280).macs
    places = [832 * 1280 // stride**2 for stride in FEATURE_STRIDES]
    for width, count in zip(widths, places, strict=False):
        macs += (width * 256 + 256 * 256 * 9) * count
    return (macs + (256 * 256 * 9 + 256 * 15) * sum(places)) / 1e9


def test_the_page_says_what_the_networks_cost() -> None:
    page = (Path(__file__).parents[2] / "docs" / "msnas.md").read_text(encoding="utf-8")
    for name, network in MULTI_SCALE_ZOO.items():
        costs = multi_scale_costs(network.spec, DetectorShape())
        target = PUBLISHED_GFLOPS[network.space]
        rest = (costs.macs - costs.stem.macs) / 1e9
        figures = f"{costs.macs / 1e9:.2f} | {rest:.2f} | {target:.2f} | {100 * (rest / target - 1):+.1f} %"
        assert f"| `{name}` | {figures} | {network.published_map} |" in page
    plain, wide = (64, 128, 256, 512), (256, 512, 1024, 2048)
    baselines = {
        "ResNet18": (_fpn_gflops("BB(11,d1,d1,d1)", plain), "msnas-r18"),
        "ResNet34": (_fpn_gflops("BB(111,d111,d11111,d11)", plain), "msnas-r34"),
        "ResNet50": (_fpn_gflops("BNB(111,d111,d11111,d11)", wide), "msnas-r50"),
    }
    for name, (counted, space) in baselines.items():
        target = PUBLISHED_GFLOPS[space]
        row = f"| {name}-FPN | {counted:.2f} | {target:.2f} | {100 * (counted / target - 1):+.1f} % |"
        assert row in page
