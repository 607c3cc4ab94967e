"""Encodings: what they print, what they refuse and where, and the specs of fresh builds."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import Architecture, ArchitectureError, NetworkSpec
from tests.models.strategies import REPEATABLE, architectures, specs


@REPEATABLE
@given(architectures(max_stages=7, max_stage_blocks=12, max_subnets=3))
def test_what_an_architecture_prints_it_parses(architecture: Architecture) -> None:
    again = Architecture.parse(str(architecture))
    assert again == architecture
    assert hash(again) == hash(architecture)


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 0, "a type of block, one of BB, BNB, XB"),
        ("bnb(11)", 0, "a type of block"),
        (" BB(1)", 0, "a type of block"),
        ("BB", 2, "expected '(', the text ends"),
        ("BBB(1)", 2, "expected '(', found 'B'"),
        ("BB(", 3, "every stage has at least one), the text ends"),
        ("BB()", 3, "every stage has at least one), found ')'"),
        ("BB(11,,1)", 6, "every stage has at least one), found ','"),
        ("BB(11,)", 6, "every stage has at least one), found ')'"),
        ("BB(11 ,1)", 5, "expected '1', 'd', ',' or ')', found ' '"),
        ("BB(11,2)", 6, "found '2'"),
        ("BB(11,1D)", 7, "expected '1', 'd', ',' or ')', found 'D'"),
        ("BB(11,1", 7, "expected '1', 'd', ',' or ')', the text ends"),
        ("BB(11)x", 6, "expected '+', found 'x'"),
        ("BB(11)+", 7, "expected '(', the text ends"),
        ("BB(11,1)+()", 10, "a number of subnets, found ')'"),
        ("BB(11,1)+(0,-1)", 12, "a number of subnets, found '-'"),
        ("BB(11,1)+(0,01)", 12, "without leading zeros, found '01'"),
        ("BB(11,1)+(0,1000)", 12, "from 0 to 999"),
        ("BB(11,1)+(0)", 11, "2 stages need 2 numbers of subnets, found 1"),
        ("BB(11,1)+(0,1,0)", 15, "2 stages need 2 numbers of subnets, found 3"),
        ("BB(11,1)+(0,1", 13, "expected ')', the text ends"),
        ("BB(11,1)+(0,1)\n", 14, "expected the end"),
    ],
)
def test_a_malformed_encoding_is_refused_with_its_position(text: str, position: int, reason: str) -> None:
    with pytest.raises(ArchitectureError) as error:
        Architecture.parse(text)
    assert error.value.position == position
    assert reason in str(error.value)
    assert f"{text!r}, position {position}" in str(error.value)


def _parses_or_refuses(text: str) -> None:
    try:
        assert str(Architecture.parse(text)) == text
    except ArchitectureError as error:
        assert 0 <= error.position <= len(text)


@REPEATABLE
@given(st.text() | st.text("BNX(1d,)+0 9", max_size=30))
def test_no_string_raises_anything_else(text: str) -> None:
    _parses_or_refuses(text)


@REPEATABLE
@given(architectures(max_subnets=2), st.data())
def test_no_damaged_encoding_raises_anything_else(architecture: Architecture, data: st.DataObject) -> None:
    text = str(architecture)
    cut = data.draw(st.integers(0, len(text)))
    keep = data.draw(st.integers(cut, len(text)))
    _parses_or_refuses(text[:cut] + data.draw(st.text("BNX(1d,)+02é٣", max_size=2)) + text[keep:])


@pytest.mark.parametrize(
    "parts",
    [("BB", ()), ("BB", ("",)), ("BB", ("1x",)), ("QQ", ("1",)), ("BB", ("1",), (1, 2)), ("BB", ("1,1",))],
)
def test_parts_that_no_text_has_are_refused(parts: tuple) -> None:
    with pytest.raises(ArchitectureError):
        Architecture(*parts)


def test_architectures_have_an_order() -> None:
    texts = ["BB(1,d1)", "BB(11)", "BNB(1)", "BB(1)+(2)", "BB(1)"]
    ordered = sorted(map(Architecture.parse, texts))
    assert [str(architecture) for architecture in ordered] == [
        "BB(1)",
        "BB(1)+(2)",
        "BB(1,d1)",
        "BB(11)",
        "BNB(1)",
    ]


def test_resnet50_has_its_shapes() -> None:
    spec = NetworkSpec.fresh(Architecture.parse("BNB(111,d111,d11111,d11)"), "resnet")
    assert [block.stride for block in spec.blocks] == [1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]
    assert spec.stage_channels == (256, 512, 1024, 2048)
    assert spec.shortcuts == "piipiiipiiiiipii"
    first = spec.stages[1][0]
    assert (first.in_channels, first.mid_channels, first.out_channels) == (256, 128, 512)


def test_stride_and_doubling_are_independent() -> None:
    spec = NetworkSpec.fresh(Architecture.parse("XB(1d,1)"), base_channels=16)
    assert [(block.stride, block.in_channels, block.mid_channels, block.out_channels) for block in spec.blocks] == [
        (1, 16, 32, 64),
        (1, 64, 64, 128),
        (2, 128, 64, 128),
    ]
    assert spec.shortcuts == "ppp"


@REPEATABLE
@given(specs(max_subnets=2))
def test_a_spec_survives_json(spec: NetworkSpec) -> None:
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        ("BB(1)", {"stem": "wide"}, "stem: 'wide' is none of deep, resnet"),
        ("BB(1)", {"base_channels": 0}, "base_channels: 0"),
        ("XB(1)", {"base_channels": 24}, "base_channels: 24 is not a multiple of 16"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(text: str, fields: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NetworkSpec.fresh(Architecture.parse(text), **fields)


@pytest.mark.parametrize("shortcuts", ["", "iii", "ix", "ii", "is"])
def test_shortcuts_that_do_not_fit_their_blocks_are_refused(shortcuts: str) -> None:
    with pytest.raises(ValueError, match="shortcuts: "):
        NetworkSpec(Architecture.parse("BB(1,d)"), shortcuts)


def test_encodings_morphisms_and_costs_load_without_torch() -> None:
    code = "import sys, models, models.morphism, models.costs, models.zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_offers_its_torch_part_by_name() -> None:
    import models

    for name in models.__all__:
        assert callable(getattr(models, name))
    with pytest.raises(AttributeError, match="no attribute 'build_everything'"):
        models.build_everything  # noqa: B018
