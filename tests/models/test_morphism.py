"""Morphs on encodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import Architecture, NetworkSpec
from models.morphism import (
    Assemble,
    Expand,
    Insert,
    InsertStage,
    Morph,
    NewStage,
    Swap,
    apply,
    apply_all,
    legal_expansions,
    legal_swaps,
    parse_morph,
)
from tests.models.strategies import MAX_BLOCKS, MAX_STAGES, REPEATABLE, morph_chains, small_spec, specs


def _spec(text: str) -> NetworkSpec:
    return small_spec(Architecture.parse(text))


@REPEATABLE
@given(st.data())
def test_what_a_morph_prints_it_parses(data: st.DataObject) -> None:
    for morph in data.draw(morph_chains(_spec("BNB(11,d1,1)"))):
        assert parse_morph(str(morph)) == morph


@pytest.mark.parametrize(
    "text",
    ["", "swap", "swap()", "swap(1,2)", "swap(-1)", "new_stage(1)", "assemble()", "grow()", "insert()"]
    + ["insert_stage(1)"],
)
def test_a_text_that_is_no_morph_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="morph: "):
        parse_morph(text)


@pytest.mark.parametrize(
    ("before", "morph", "after", "shortcuts"),
    [
        ("BB(11,1)", Swap(1), "BB(1,11)", "isp"),
        ("BB(11,d1)", Swap(1), "BB(1,1d1)", "ispi"),
        ("BB(11,d1)", Swap(2), "BB(11d,1)", "iips"),
        ("BNB(11,d1)", Expand(0), "BNB(111,d1)", "piipi"),
        ("BNB(11,d1)", Expand(1), "BNB(111,d1)", "piipi"),
        ("BNB(11,d1)", Expand(2), "BNB(11,d11)", "pipii"),
        ("XB(1,d)", NewStage(), "XB(1,d,1)", "pps"),
        ("BNB(11,d1)", Insert(2), "BNB(11,d11)", "pipii"),
        ("XB(1,d)", InsertStage(), "XB(1,d,1)", "pps"),
        ("BB(1,d)", Assemble((0, 2)), "BB(1,d)+(0,2)", "ip"),
        ("BB(1,d)+(0,2)", Assemble((1, 0)), "BB(1,d)+(1,0)", "ip"),
    ],
)
def test_a_morph_changes_encoding_and_shortcuts(before: str, morph: Morph, after: str, shortcuts: str) -> None:
    child = apply(_spec(before), morph)
    assert str(child.architecture) == after
    assert child.shortcuts == shortcuts


@REPEATABLE
@given(specs())
def test_a_swap_is_legal_exactly_where_strides_differ_and_no_stage_empties(spec: NetworkSpec) -> None:
    for block in range(spec.architecture.num_blocks + 1):
        if Swap(block) in legal_swaps(spec.architecture.stages):
            child = apply(spec, Swap(block))
            assert apply(child, Swap(block)) == spec
            assert child.architecture.num_stages == spec.architecture.num_stages
            strides, childs = ([shape.stride for shape in each.blocks] for each in (spec, child))
            assert strides[block : block + 2] == childs[block : block + 2][::-1] != strides[block : block + 2][::-1]
        else:
            with pytest.raises(ValueError, match="is not legal"):
                apply(spec, Swap(block))


@REPEATABLE
@given(specs(), st.data())
def test_any_chain_stays_within_limits_and_rebuilds_from_its_encoding(spec: NetworkSpec, data: st.DataObject) -> None:
    child = apply_all(spec, data.draw(morph_chains(spec, max_length=10)))
    assert child.architecture.num_blocks <= MAX_BLOCKS
    assert child.architecture.num_stages <= MAX_STAGES
    assert child.architecture.stages and "".join(child.architecture.stages).count("d") == "".join(
        spec.architecture.stages
    ).count("d")
    again = small_spec(Architecture.parse(str(child.architecture)))
    assert again.stage_channels == child.stage_channels


def test_limits_bound_the_expansions() -> None:
    architecture = Architecture.parse("BB(11,1)")
    assert legal_expansions(architecture.stages, max_blocks=3, max_stages=4) == ()
    assert legal_expansions(architecture.stages, max_blocks=4, max_stages=2) == (Expand(0), Expand(1), Expand(2))
    assert legal_expansions(architecture.stages, max_blocks=4, max_stages=3)[-1] == NewStage()


@pytest.mark.parametrize("morph", [Swap(0), Expand(0), NewStage(), Insert(0), InsertStage()])
def test_serial_morphs_refuse_parallel_networks(morph: Morph) -> None:
    with pytest.raises(ValueError, match="is for serial networks"):
        apply(_spec("BB(11,1)+(0,1)"), morph)


@pytest.mark.parametrize("morph", [Expand(3), Insert(3), Expand(-1), Swap(-1), Swap(0), Assemble((1,))])
def test_an_illegal_morph_says_so(morph: Morph) -> None:
    with pytest.raises(ValueError, match="morph: |subnets"):
        apply(_spec("BB(11,1)"), morph)
