"""Figures fit for a paper, as SVG and PNG.

Invariant: what a story has nothing to show of has no figure; a figure's file is there whole or not at all.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from orchestrator.errors import UserError
from orchestrator.report import charts, comparing, diagrams, pictures
from orchestrator.report.comparison import Comparison
from orchestrator.report.detections import Detections
from orchestrator.report.story import Story
from orchestrator.report.style import style
from workers.storage import LocalFolder

PNG_DPI = 300


def write_figures(story: Story, detections: Detections | None, folder: Path) -> list[Path]:
    """Draw a run's figures into a folder, which is made.

    Args:
        story: the run.
        detections: of its start and its best, if they are to be drawn.
        folder: where to.

    Returns:
        The files.

    Raises:
        UserError: if they can't be written.
    """
    return _write(_of_run(story, detections), folder)


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw the figures of several runs into a folder; see `write_figures`."""
    drawn = (
        ("candidates", lambda: comparing.by_candidates(comparison)),
        ("hours", lambda: comparing.by_hours(comparison)),
    )
    return _write(iter(drawn), folder)


def _of_run(story: Story, detections: Detections | None) -> Iterator[tuple[str, Callable[[], Figure]]]:
    scored = [trial for trial in story.trials if trial.score is not None]
    searched = [trial for trial in scored if trial.role != "final"]
    if len(searched) > 1:
        yield "trajectory", lambda: charts.trajectory(story)
        yield "front", lambda: charts.front(story)
    yield "computation", lambda: charts.computation(story)
    yield "architectures", lambda: diagrams.architectures(story)
    if len(story.lineage) > 1:
        yield "lineage", lambda: charts.lineage(story)
    if any(trial.counter is not None for trial in story.trials):
        yield "counter", lambda: charts.counter(story)
    if story.attempts:
        yield "timeline", lambda: diagrams.timeline(story)
    if detections is not None and detections.pictures:
        yield "detections", lambda: pictures.side_by_side(detections, story.facts.metric)


def _write(drawn: Iterator[tuple[str, Callable[[], Figure]]], folder: Path) -> list[Path]:
    storage = LocalFolder(folder)
    files = []
    with style():
        for name, draw in drawn:
            figure = draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it holds for both files, and takes most of the time
            for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": PNG_DPI})):
                data = io.BytesIO()
                figure.savefig(data, format=suffix, **options)
                try:
                    storage.write(f"{name}.{suffix}", data.getvalue())
                except (OSError, ValueError) as error:
                    reason = getattr(error, "strerror", None) or error
                    raise UserError(
                        f"--figures {folder}: can't be written ({reason}); name a folder that can"
                    ) from None
                files.append(storage.path / f"{name}.{suffix}")
    return files
