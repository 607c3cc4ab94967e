"""Scoring result files of any detector, as each benchmark's own tools take and judge them.

Invariant: the same files give the figures of the official tool. What is missing or malformed is a `ValueError` of one
line, or the `OSError` of what can't be reached; what a tool passes over in silence is passed over with a note.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Format = Literal["voc", "coco", "ecp", "bdd"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Metrics as JSON has them, None where nothing was there to measure; and what a user should know of the files."""

    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()


def score(
    kind: Format, truth: Path, detections: Path, *, split: str | None = None, ignore_other_vru: bool = False
) -> Score:
    """The metrics of a benchmark.

    Args:
        kind: the benchmark.
        truth: its annotations; see the module of each benchmark for files and folders.
        detections: what a detector found, likewise.
        split: VOC's list of images.
        ignore_other_vru: of EuroCity Persons: riders found as pedestrians, and the other way round, count neither way.

    Raises:
        ValueError: for an option of another benchmark, and for what is missing or malformed.
        OSError: where a file can't be reached.
    """
    if split is not None and kind != "voc":
        raise ValueError(f"--split: {kind} has no splits in one place; give the split's own annotations as TRUTH")
    if ignore_other_vru and kind != "ecp":
        raise ValueError(f"--ignore-other-vru: is EuroCity Persons', not {kind}'s; leave it out")
    match kind:
        case "voc":
            from workers.scoring.voc import score_voc

            return score_voc(truth, detections, split)
        case "coco":
            from workers.scoring.coco import score_coco

            return score_coco(truth, detections)
        case "ecp":
            from workers.scoring.ecp import score_ecp

            return score_ecp(truth, detections, ignore_other_vru=ignore_other_vru)
        case "bdd":
            from workers.scoring.bdd import score_bdd

            return score_bdd(truth, detections)
