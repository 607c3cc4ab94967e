"""What the start and the best find on the same images, side by side, for print.

Invariant: right, wrong and missed can be told apart without colours: by full, dashed and dotted lines.
"""

import io
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image as PillowImage

from orchestrator.report.detections import Detections, ObjectBox, Picture
from orchestrator.report.style import RED, SKY, WIDTH, new_figure

MISSED = "#F0E442"
PER_ROW = 2
"""Images beside each other, each with all detectors."""

KINDS: dict[str, tuple[str, Literal["solid", "dashed", "dotted"]]] = {
    "right": (SKY, "solid"),
    "wrong": (RED, "dashed"),
    "missed": (MISSED, "dotted"),
}


def side_by_side(detections: Detections, metric: str) -> Figure:
    """Each image once for each detector."""
    num_detectors = len(detections.detectors)
    per_row = min(PER_ROW, len(detections.pictures))
    columns = per_row * num_detectors
    rows = -(-len(detections.pictures) // per_row)
    shape = max(picture.height / picture.width for picture in detections.pictures)
    figure = new_figure(rows * 0.94 * WIDTH / columns * shape + 0.6)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.04, wspace=0.02, hspace=0.0)
    every = figure.subplots(rows, columns, squeeze=False)
    for axes in every.flat:
        axes.set_axis_off()
    for number, picture in enumerate(detections.pictures):
        pixels = PillowImage.open(io.BytesIO(picture.data))
        for place, detector in enumerate(detections.detectors):
            axes = every[number // per_row, number % per_row * num_detectors + place]
            axes.imshow(pixels, interpolation="lanczos")
            _draw(axes, picture, place)
            if number < per_row:
                score = "" if detector.score is None else f", {metric} {100 * detector.score:.1f} %"
                axes.set_title(f"{detector.name}{score}", pad=3)
    handles = [Line2D([], [], color=colour, linestyle=line, label=name) for name, (colour, line) in KINDS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw(axes: Axes, picture: Picture, place: int) -> None:
    for each in picture.missed[place]:
        _frame(axes, each, "missed")
    for each in picture.found[place]:
        _frame(axes, each, "right" if each.is_right else "wrong")


def _frame(axes: Axes, each: ObjectBox, kind: str) -> None:
    left, top, right, bottom = each.box
    colour, line = KINDS[kind]
    frame = Rectangle(
        (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linestyle=line, linewidth=1
    )
    axes.add_patch(frame)
    text = each.label if each.score is None else f"{each.label} {100 * each.score:.0f}"
    box = {"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    axes.annotate(text, (left, top), fontsize=4.5, va="bottom", color="black", bbox=box, annotation_clip=True)
