"""The parsers of encodings and morphs, and what is built from what they let pass."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.architecture import MAX_BLOCKS, MAX_CHANNELS, Architecture, ArchitectureError, NetworkSpec
from models.costs import backbone_costs
from models.families import network_cost, parse_architecture, spec_from_dict
from models.morphism import parse_morph
from models.msnas_encoding import FEATURE_STRIDES, MultiScale, MultiScaleSpec
from models.wording import MAX_VALUE, brief, one_line
from tests.fuzz.answers import FEW, MANY, answer, check_message, refusal

# Pieces that an encoding consists of, and pieces that look like them.
PIECES = ["BB", "BNB", "XB", "(", ")", "+", ",", "1", "d", "11", "d1", "0", "7", "999", "1000", "01", "-1", " ", "\n"]
ODD = ["\u0661", "\uff11", "\x00", "\x1b[31m", "\u202e", "\ud800", "1e9", "9" * 50, "(" * 200, "\u0130"]
encodings = st.lists(st.sampled_from(PIECES) | st.sampled_from(ODD), max_size=16).map("".join) | st.text(max_size=40)


@MANY
@given(encodings)
@example("BB(1)+(99999999999999999999)")
@example("BB(1)+(\u0661)")
@example("BB(1)\n")
def test_a_text_is_an_encoding_that_prints_as_itself_or_is_refused_with_its_position(text: str) -> None:
    try:
        assert str(Architecture.parse(text)) == text
    except ArchitectureError as error:
        assert 0 <= error.position <= len(text)
        check_message(str(error))


@FEW
@given(encodings, st.sampled_from(["deep", "resnet", "", "\x00"]), st.integers() | st.sampled_from([2**20, 10**4000]))
@example("BB(" + "d" * 900 + ")", "deep", 64)  # 64 * 2 ** 900 channels, which no float holds
def test_what_is_built_from_an_encoding_has_costs_that_can_be_shown(text: str, stem: str, base_channels: int) -> None:
    spec = answer(lambda: NetworkSpec.fresh(Architecture.parse(text), stem, base_channels))
    if spec is not None:
        assert max(spec.stage_channels) <= 4 * MAX_CHANNELS
        assert backbone_costs(spec, 2**14, 2**14).macs / 1e9 > 0


WHOLE = "MS(BB,180;1,2,2,1,2,1,0.5,1,1,0.5,1,1,0.5;8,8,16,16,32)"
MULTI_SCALE_PIECES = ["MS(", "BB", "BNB", ",", ";", "0.5", "1", "2", "4", "8", "16", "32", "64", ")", "0.50", "02", "+"]
multi_scales = (
    st.lists(st.sampled_from(MULTI_SCALE_PIECES) | st.sampled_from(ODD), max_size=16).map("".join)
    # what is almost one: a piece of one that is has another one in its place
    | st.builds(
        lambda start, length, piece: WHOLE[:start] + piece + WHOLE[start + length :],
        st.integers(0, len(WHOLE)),
        st.integers(0, 5),
        st.sampled_from(["", *MULTI_SCALE_PIECES, *ODD]),
    )
)


@MANY
@given(multi_scales)
@example(WHOLE + "\n")
@example(WHOLE.replace("180", "\u0661"))
@example(WHOLE.replace("180", "9" * 5000))
@example("MS(BB,4;" + "2,0.5," * 10 + "2;8,8,8,8,8)")
def test_a_text_is_a_multi_scale_encoding_that_prints_as_itself_or_is_refused_with_its_position(text: str) -> None:
    try:
        network = MultiScale.parse(text)
    except ArchitectureError as error:
        assert 0 <= error.position <= len(text)
        check_message(str(error))
        return
    assert str(network) == text and parse_architecture(text) == network
    assert set(network.heads) <= set(network.feature_strides) <= set(FEATURE_STRIDES)
    assert network_cost(MultiScaleSpec(network), 2**14, 2**14).macs / 1e9 > 0


@pytest.mark.parametrize(
    "text",
    [
        "MS(BB,4;" + "1," * 10**6 + "1;4,4,4,4,4)",
        "MS(BB,4;1;" + "4," * 10**6 + "4)",
        "MS(BB," + "9" * 10**6 + ";1;4,4,4,4,4)",
        "MS(" * 10**6,
        "BB(" + "d" * 10**6 + ")",
        "BB(" + "1," * 10**6 + "1)",
        "BB(1)+(" + "0," * 10**5 + "0)",
        "BB(1)+(" + "9" * 10**5 + ")",
        "(" * 10**6,
        "\x00" * 10**6,
        "BB(1)" * 10**5,
    ],
    ids=lambda text: text[:10].replace("\x00", "0"),
)
def test_a_megabyte_is_refused_at_once_in_one_line(text: str) -> None:
    assert "\n" not in refusal(lambda: parse_architecture(text))


def test_the_longest_encoding_is_one() -> None:
    assert Architecture.parse(f"BNB({'1' * MAX_BLOCKS})").num_blocks == MAX_BLOCKS
    assert f"at most {MAX_BLOCKS} blocks" in refusal(lambda: Architecture.parse(f"BNB({'1' * MAX_BLOCKS},1)"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@FEW
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("architecture", "shortcuts", "stem", "base_channels"), json_values)
    )
)
@example({"architecture": "BB(1)", "shortcuts": ["i"], "stem": "deep", "base_channels": 8})
@example({"architecture": "BB(1)", "shortcuts": "i", "stem": "deep", "base_channels": 1.5})
@example({"architecture": 5, "shortcuts": "i", "stem": "deep", "base_channels": 8})
@example({"architecture": WHOLE, "stem": ["deep"]})
@example({"architecture": WHOLE, "stem": "none"})
@example({"architecture": "MS(", "stem": "deep"})
def test_a_stored_network_is_one_or_refused(values: dict[str, object]) -> None:
    answer(lambda: NetworkSpec.from_dict(values))
    answer(lambda: MultiScaleSpec.from_dict(values))
    answer(lambda: spec_from_dict(values))


morphs = st.lists(
    st.sampled_from(["swap", "expand", "new_stage", "assemble", "(", ")", "()", ",", "0", "7", *ODD]), max_size=8
).map("".join)


@MANY
@given(morphs | st.text(max_size=30))
@example("swap(\u0661)")  # a digit, but none that is printed
@example("swap(" + "9" * 5000 + ")")  # more digits than Python makes a number of
def test_a_text_is_a_morph_that_can_be_printed_or_is_refused(text: str) -> None:
    morph = answer(lambda: parse_morph(text))
    assert morph is None or parse_morph(str(morph)) == morph


def looped() -> list[object]:
    loop: list[object] = []
    loop.append(loop)
    return loop


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def doubling(depth: int) -> list[object]:
    """A list that would take 2 ** depth entries to write out."""
    value: list[object] = ["lol"]
    for _ in range(depth):
        value = [value, value]
    return value


@MANY
@given(json_values)
@example("\x1b[31m\n\u202e\ud800" * 50)
def test_any_value_can_be_shown_in_a_message(value: object) -> None:
    check_message(brief(value))


@pytest.mark.parametrize(
    "value",
    [16**10_000, looped(), nested(100_000), doubling(60), "x" * 10**6],
    ids=["a number that Python refuses to print", "looped", "nested", "doubling", "long"],
)
def test_an_endless_value_is_shown_in_part(value: object) -> None:
    check_message(brief(value))
    assert len(brief(value)) <= MAX_VALUE


@FEW
@given(st.text(max_size=60))
@example("a\r\x1b[2J\u2028b" * 200)
def test_any_text_can_be_shown_in_a_message(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable() or len(text) > 1000
