"""`spnas arch` of multi-scale networks: every block in its row, and costs that add up."""

import re

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.detector_shape import DetectorShape
from models.families import read_spec
from models.msnas_costs import multi_scale_costs
from models.msnas_encoding import MultiScale, MultiScaleSpec
from models.msnas_zoo import MULTI_SCALE_ZOO
from models.zoo import ZOO
from orchestrator.cli import app
from tests.models.strategies import REPEATABLE
from tests.models.test_msnas_encoding import multi_scales


def arch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["arch", *map(str, arguments)])


def rows_of(answer: Result) -> dict[str, list[str]]:
    """The cells of the table's rows, by their first."""
    assert answer.exit_code == 0, answer.output
    lines = [re.split(r"\s{2,}", line.strip()) for line in answer.stdout.splitlines() if line.strip()]
    return {cells[0]: cells[1:] for cells in lines}


def test_a_named_network_is_shown_block_by_block_as_its_table_has_it() -> None:
    rows = rows_of(arch("msnas-r18-5"))
    assert rows["block 3"][:4] == ["0.5", "1/4", "180", "block 1"]  # up again: from the last one of 1/4
    assert rows["block 12"][:5] == ["0.5", "1/8", "180", "block 5", "1, 2"]
    assert rows["block 9"][:4] == ["1", "1/32", "180", "5"]  # no earlier one of 1/32; the largest objects' head
    assert rows["encoder and RPN"] == ["153.7793", "8,477,911"]  # 153.78 in docs/msnas.md
    assert arch("msnas-r18-5").stdout == arch(MULTI_SCALE_ZOO["msnas-r18-5"].architecture).stdout


@settings(REPEATABLE, max_examples=10)
@given(multi_scales(), st.sampled_from(["deep", "resnet"]), st.integers(1, 300), st.integers(1, 300))
def test_every_block_has_its_row_and_the_costs_are_those_that_a_search_counts(
    network: MultiScale, stem: str, height: int, width: int
) -> None:
    rows = rows_of(arch(network, "--stem", stem, "--height", height, "--width", width))
    assert sum(name.startswith("block ") for name in rows) == network.num_blocks
    sides = (-(-side // 64) * 64 for side in (height, width))
    costs = multi_scale_costs(MultiScaleSpec(network, stem), DetectorShape(), *sides)
    for name, cost in (("laterals", costs.laterals), ("RPN", costs.rpn), ("encoder", costs.encoder)):
        assert rows[name] == [f"{cost.macs / 1e9:.4f}", f"{cost.parameters:,}"]
    assert int(rows["detector"][0].replace(",", "")) < int(rows["super-net"][0].replace(",", ""))


def test_all_names_are_listed_each_family_with_its_papers_images() -> None:
    answer = arch()
    rows = rows_of(answer)
    assert {*ZOO, *MULTI_SCALE_ZOO} <= rows.keys()
    assert "224 x 224 pixels" in answer.stdout and "832 x 1280 pixels" in answer.stdout
    assert rows["msnas-r50-2"][2:] == ["209.7205", "14,821,723"]
    assert "256 x 1280 pixels" in arch("--list", "--height", 224).stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["msnas-r18"], "the nearest is msnas-r18-5 (`spnas arch` lists them all)"),
        (["MS(BB,180;1,2,2,0.5;4,8,8,16,64)"], "position 29: no block of this encoder gives a feature of stride 64; "),
        (["MS(BB,180;1,2,2;16,8,4,4,99)"], "position 25: expected the stride of a head's feature, one of 4, 8, 16, "),
        (["MS(BB,0;1;4,4,4,4,4)"], "position 6: expected a number of channels from 1 to "),
        (["msnas-r18-5", "--base-channels", 32], "base channels: 32, but MS(BB,180;"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[object], line: str) -> None:
    answer = arch(*arguments)
    assert (answer.exit_code, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert line in answer.stderr


@pytest.mark.parametrize("name", ["spnet-voc", "msnas-r34-4"])
def test_a_name_is_shown_as_its_encoding_is(name: str) -> None:
    spec = read_spec(name)
    assert arch(name).stdout == arch(spec.architecture, "--stem", spec.stem).stdout
