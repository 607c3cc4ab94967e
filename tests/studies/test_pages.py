"""Figures and pages of studies: made of the record alone, and the docs' own are what the records make."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from experiments.studies.catalogue import STUDIES
from experiments.studying.figures import svg
from experiments.studying.pages import DOCS, made, markdown_table, page, write_pages
from experiments.studying.records import write_record
from orchestrator.errors import UserError
from orchestrator.report.style import style
from tests.studies.made_up_study import PROVENANCE, RESULTS, MadeUp


def test_the_docs_are_what_the_records_make() -> None:
    files = made(DOCS, STUDIES.values())
    records = {path.name for path in DOCS.glob("*.parquet")}
    assert records == {name.replace(".svg", ".parquet") for name in files if name.endswith(".svg")}
    assert {path.name for path in DOCS.iterdir()} - records == set(files)
    for name, data in files.items():
        assert (DOCS / name).read_bytes() == data, f"{name}: run python -m experiments.studying.pages"


def test_a_page_has_the_claim_the_answer_and_what_it_took() -> None:
    text = page(MadeUp(), RESULTS, PROVENANCE)
    assert text.startswith(
        "# Is ten more than nothing?\n\n**The claim.** The paper's Table 0 says so, on other data.\n"
    )
    assert "- It is more by +10.00 (95 % interval 10.00 to 10.00, sign-flip p = 0.25, 3 pairs)." in text
    assert "| arm | AP | runs |\n| --- | --- | ---: |\n| random | 2.0 ± 1.0 | 3 |\n| search | 12.0 ± 1.0 | 3 |" in text
    assert "](made-up.svg)" in text and "](made-up.parquet)" in text
    assert (
        "with 3 seeds the sign-flip p can't be below 0.25.\n\n"
        "6 runs with seeds 0, 1, 2: 1.5 hours of training in 0.8 hours, on 2 cores of" in text
    )
    assert "an abacus, recorded on 2026-11-21 with python 3.11.9, spnas 0.1.0." in text
    assert "<!-- not run: takes hours -->\n\n```sh\nspnas study made-up --seeds 3\n```" in text
    assert "with seed 4:" in page(MadeUp(), RESULTS, replace(PROVENANCE, seeds=(4,)))


def test_pages_and_an_index_are_written_beside_the_records(tmp_path: Path) -> None:
    write_record(tmp_path / "made-up.parquet", RESULTS, PROVENANCE)
    files = write_pages(tmp_path, [MadeUp()])
    assert [path.name for path in files] == ["made-up.svg", "made-up.md", "index.md"]
    assert "| [Is ten more than nothing?](made-up.md) | It is more by +10.00 (95 %" in files[2].read_text()
    assert files[1].read_text() == page(MadeUp(), RESULTS, PROVENANCE)
    assert {path.name: path.read_bytes() for path in files} == made(tmp_path, [MadeUp()])
    (tmp_path / "made-up.svg").unlink()
    (tmp_path / "made-up.svg").mkdir()
    with pytest.raises(UserError, match="made-up.svg: can't be written"):
        write_pages(tmp_path, [MadeUp()])


def test_a_study_without_a_record_has_no_page(tmp_path: Path) -> None:
    assert set(made(tmp_path, [MadeUp()])) == {"index.md"}


def test_cells_are_rounded_and_what_is_missing_is_empty() -> None:
    table = pd.DataFrame({"a|b": [0.125, None], "c": ["x|y", None]})
    assert markdown_table(table) == "| a\\|b | c |\n| ---: | --- |\n| 0.12 | x\\|y |\n|  |  |"


def test_a_figure_is_the_same_bytes_again_without_a_date() -> None:
    with style():
        first, second = svg(MadeUp().draw(RESULTS)), svg(MadeUp().draw(RESULTS.copy()))
    assert first == second and b"dc:date" not in first


def test_figures_show_means_and_deviations() -> None:
    with style():
        figure = MadeUp().draw(RESULTS)
    over, by_arm, by_step, each = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["random", "search"]
    thick = [line for line in over.lines if line.get_linewidth() > 1]
    assert [list(line.get_ydata()) for line in thick] == [[1, 2], [11, 12]]
    band = over.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((0, 3))  # seeds lie one apart
    assert [line for line in over.lines if line not in thick] and len(over.lines) == 8
    means = [bar.get_segments()[0][0][1] for bar in by_arm.collections if isinstance(bar, LineCollection)]
    assert means == [2, 12]
    assert [text.get_text() for text in by_arm.get_xticklabels()] == ["random", "search"]
    assert [bar.get_height() for bar in by_step.patches] == [1, 2, 11, 12]
    assert [len(marks.get_offsets()) for marks in each.collections] == [6, 6]
    assert (each.get_xlabel(), each.get_ylabel()) == ("step", "AP")


def test_an_arm_of_one_seed_has_a_line_without_a_band() -> None:
    with style():
        over, *_ = MadeUp().draw(RESULTS[RESULTS["seed"] == 0]).axes
    assert len(over.lines) == 2
