"""The files that `spnas report` writes.

Invariant: a file that is there is whole; nothing else in the run's folder is touched.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.report.comparison import compare
from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from workers.storage import LocalFolder

RUN_FILE, COMPARISON_FILE = "report.html", "comparison.html"
NUM_IMAGES = 6


def make_report(
    runs: Sequence[str], *, out: Path | None = None, figures: Path | None = None, num_images: int = NUM_IMAGES
) -> Iterator[str]:
    """Write a run's page, or one that compares several, and their figures.

    Args:
        runs: addresses.
        out: the page's file; by default ``report.html`` in the run's folder, or, of a run in an object store and of
            several runs, a file here.
        figures: a folder for the figures; None for none.
        num_images: on how many validation images the start's and the best's detections are shown, of a single run.

    Yields:
        What has been written, or can't be shown, in lines.

    Raises:
        UserError: if a run can't be read, or a file can't be written.
    """
    stories = [read_story(run) for run in runs]
    yield from _one(stories[0], out, figures, num_images) if len(stories) == 1 else _several(stories, out, figures)


def _one(story: Story, out: Path | None, figures: Path | None, num_images: int) -> Iterator[str]:
    from orchestrator.report.detections import find_detections
    from orchestrator.report.page import report_page

    detections = find_detections(story, num_images) if num_images else None
    if detections is not None and detections.missing:
        yield f"without detections: {detections.missing}"
    yield _write(out or _file_of(story), report_page(story, detections))
    if figures is not None:
        from orchestrator.report.figures import write_figures  # matplotlib takes a moment

        for path in write_figures(story, detections, figures):
            yield str(path)


def _several(stories: Sequence[Story], out: Path | None, figures: Path | None) -> Iterator[str]:
    from orchestrator.report.page import comparison_page

    comparison = compare(stories)
    yield _write(out or Path(COMPARISON_FILE), comparison_page(comparison, stories[0].facts.made_at))
    if figures is not None:
        from orchestrator.report.figures import write_comparison

        for path in write_comparison(comparison, figures):
            yield str(path)


def _file_of(story: Story) -> Path:
    address = story.facts.address
    return Path(f"{story.facts.name}-{RUN_FILE}") if "://" in address else Path(address) / RUN_FILE


def _write(path: Path, text: str) -> str:
    path = path.absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {path}: {'is a folder' if path.is_dir() else 'lies in no folder'}; name a file")
    data = text.encode()
    try:
        LocalFolder(path.parent).write(path.name, data)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror or error}); name another file with --out") from None
    except ValueError as error:
        raise UserError(f"--out {path}: {error}") from None
    return f"{path}: {len(data) / 1e6:.1f} MB"
