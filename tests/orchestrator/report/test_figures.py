import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from orchestrator.errors import UserError
from orchestrator.report import charts, diagrams, figures, pictures
from orchestrator.report.comparison import compare
from orchestrator.report.detections import Detections, Detector, ObjectBox, Picture
from orchestrator.report.figures import write_comparison, write_figures
from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from orchestrator.report.style import style

ASSETS = Path(__file__).parents[2] / "assets"
OF_A_SEARCH = ["trajectory", "front", "computation", "architectures", "lineage", "counter", "timeline"]


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PNG_DPI", 30)


def texts(figure: Figure) -> str:
    """All that can be read on a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def drawn(draw: Callable[[Story], Figure], story: Story) -> Figure:
    with style():
        return draw(story)


def test_a_search_has_every_figure_as_vectors_and_as_pixels(paper_story: Story, tmp_path: Path) -> None:
    files = write_figures(paper_story, None, tmp_path / "figures")
    assert [path.name for path in files] == [f"{name}.{suffix}" for name in OF_A_SEARCH for suffix in ("svg", "png")]
    for path in files:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            with PillowImage.open(path) as picture:
                assert len(set(picture.convert("L").tobytes())) > 10


def test_the_same_story_gives_the_same_vectors(paper_story: Story, tmp_path: Path) -> None:
    comparison = compare([paper_story])
    once, again = (write_comparison(comparison, tmp_path / name)[::2] for name in ("once", "again"))
    assert [path.name for path in once] == ["candidates.svg", "hours.svg"]
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_run_is_drawn_with_what_there_is(tmp_path: Path) -> None:
    told = read_story(str(ASSETS / "run-format-2"))
    alone = replace(told, trials=told.trials[:1], attempts=(), phases=told.phases[:1], reignitions=())
    files = write_figures(alone, None, tmp_path)
    assert {path.stem for path in files} == {"computation", "architectures", "counter"}


def test_figures_of_a_multi_scale_search_say_what_is_particular_to_it(msnas_story: Story) -> None:
    shown = texts(drawn(diagrams.architectures, msnas_story))
    assert "head 1" in shown and "lateral connection" in shown and "1/64" in shown
    assert "RPN" in texts(drawn(charts.computation, msnas_story))
    assert "generation 0" in texts(drawn(charts.trajectory, msnas_story))


def test_a_trajectory_names_phases_reignitions_and_who_is_left_out(paper_story: Story) -> None:
    bad = replace(paper_story.trials[5], score=0.0, status="completed")
    trials = (*paper_story.trials[:5], bad, *paper_story.trials[6:])
    shown = texts(drawn(charts.trajectory, replace(paper_story, trials=trials)))
    for text in ("serial 1", "parallel", "reignition", "best so far", "AP (%)", "not shown"):
        assert text in shown


def test_where_less_is_better_the_best_are_shown_and_the_far_worse_left_out(paper_story: Story) -> None:
    trials = tuple(replace(t, score=None if t.score is None else 1 - t.score) for t in paper_story.trials)
    less = replace(paper_story, facts=replace(paper_story.facts, maximize=False), trials=trials)
    for draw in (charts.trajectory, charts.front):
        more_shown, less_shown = (drawn(draw, story) for story in (paper_story, less))
        assert "not shown" in texts(more_shown) and texts(more_shown).count("below") == texts(less_shown).count("above")
        low, high = more_shown.axes[0].get_ylim()
        assert less_shown.axes[0].get_ylim() == pytest.approx((100 - high, 100 - low))


def test_an_architecture_is_drawn_beside_the_start_with_its_changes(paper_story: Story) -> None:
    shown = texts(drawn(diagrams.architectures, paper_story))
    start, best = paper_story.networks[0], paper_story.networks[-1]
    assert start.architecture in shown and best.architecture in shown
    assert "new (expand)" in shown and ("subnet" in shown) == any(best.subnets)


def test_a_lineage_has_a_row_for_each_step_and_the_gain_in_it(paper_story: Story) -> None:
    figure = drawn(charts.lineage, paper_story)
    assert len(figure.axes[0].get_yticks()) == len(paper_story.lineage)
    for step in paper_story.lineage:
        if step.gain is not None:
            assert f"({100 * step.gain:+.2f})".replace("-", "−") in texts(figure)


def test_a_long_lineage_shares_a_row(paper_story: Story) -> None:
    steps = paper_story.lineage * 20
    figure = drawn(charts.lineage, replace(paper_story, lineage=steps))
    assert len(figure.axes[0].get_yticks()) == charts.MAX_STEPS + 1
    assert f"{len(steps) - charts.MAX_STEPS} earlier steps" in texts(figure)


def test_a_timeline_shows_losses_gaps_and_idle_time(paper_story: Story) -> None:
    shown = texts(drawn(diagrams.timeline, paper_story))
    for text in ("worker-7", "lost", "failed", "no driver", "% idle"):
        assert text in shown


def test_many_workers_are_counted_instead_of_named(paper_story: Story) -> None:
    workers = tuple(replace(paper_story.workers[0], name=f"worker-{n}") for n in range(100))
    shown = texts(drawn(diagrams.timeline, replace(paper_story, workers=workers)))
    assert "100 workers" in shown and "worker-50" not in shown


def test_detections_are_drawn_side_by_side(paper_story: Story, tmp_path: Path) -> None:
    PillowImage.new("RGB", (40, 30), "grey").save(tmp_path / "image.jpg")
    true = ObjectBox(box=(2, 2, 20, 20), label="car", score=None, is_right=False)
    found = replace(true, score=0.9, is_right=True)
    picture = Picture(
        index=0, data=(tmp_path / "image.jpg").read_bytes(), media_type="image/jpeg", width=40, height=30,
        truth=(true,), found=((), (found,)), missed=((true,), ()),
    )  # fmt: skip
    detectors = (Detector(name="start", index=0, score=0.3), Detector(name="best", index=9, score=None))
    seen = Detections(detectors=detectors, pictures=(picture,) * 3)
    with style():
        shown = texts(pictures.side_by_side(seen, "AP"))
    for text in ("start, AP 30.0 %", "best", "car 90", "missed"):
        assert text in shown
    assert [name for name, _ in figures._of_run(paper_story, seen)] == [*OF_A_SEARCH, "detections"]
    assert [name for name, _ in figures._of_run(paper_story, Detections(missing="no data"))] == OF_A_SEARCH


def test_a_folder_that_cannot_be_made_is_one_line(paper_story: Story, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--figures .*file/figures: can't be written"):
        write_figures(paper_story, None, tmp_path / "file" / "figures")


def test_points_of_a_long_search_can_be_seen_in_its_legend(paper_story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "LONG_SEARCH", 1)
    (legend,) = drawn(charts.front, paper_story).legends
    sizes = [size for handle in legend.legend_handles if hasattr(handle, "get_sizes") for size in handle.get_sizes()]
    assert sizes and min(sizes) >= charts.LEGEND_SIZE
