"""Networks and workers, drawn for print.

Invariant: each function draws one figure of one story from nothing but that, within `style.style`.
"""

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.path import Path

from orchestrator.report.story import STEM_STRIDE, Network, Story
from orchestrator.report.style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    RASTER_FROM,
    RED,
    SKY,
    WIDTH,
    new_figure,
)

CHANGES = {"": LIGHT, "swapped": BLUE, "expanded": ORANGE}
BLOCK, HALF = 0.8, 0.26
"""A block's width in columns, and half its height in lanes."""

SUBNET_PITCH = 0.26
MAX_NAMED_WORKERS = 24
OUTCOMES = {"completed": SKY, "running": GREEN, "failed": ORANGE, "rejected": PURPLE, "lost": RED}


def architectures(story: Story) -> Figure:
    """The start and the best, block by block, at their resolutions; what was swapped and expanded is marked."""
    shown = [story.networks[0]]
    if story.networks[-1].index != shown[0].index:
        shown.append(story.networks[-1])
    lanes = [_lanes(network) for network in shown]
    heights = [sum(each.values()) + 0.9 for each in lanes]
    columns = max(len(network.blocks) for network in shown) + 2
    figure = new_figure(0.36 * sum(heights) + 0.5)
    every = figure.subplots(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, network, rows in zip(every, shown, lanes, strict=True):
        _draw(axes, network, rows, columns)
    present = {block.change for network in shown for block in network.blocks}
    names = {"": "as in the start", "swapped": "at another resolution (swap)", "expanded": "new (expand)"}
    if shown[0].family == "msnas":
        names["swapped"] = "at another resolution than in the start"
    handles: list[Artist] = [
        Patch(color=CHANGES[change], label=names[change]) for change in CHANGES if change in present
    ]
    if any(any(network.subnets) for network in shown):
        handles.append(Patch(facecolor="white", edgecolor=GREEN, label="subnet"))
    if shown[0].heads:
        handles.append(Line2D([], [], color=PURPLE, linewidth=0.7, label="lateral connection"))
        handles.append(
            Line2D(
                [],
                [],
                color=BLACK,
                marker="^",
                markersize=3,
                linestyle="none",
                label="head of a group, 1: the smallest",
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _lanes(network: Network) -> dict[int, float]:
    """The height of each resolution, the finest first: more where subnets stand beside a stage."""
    return {stride: 1.0 + SUBNET_PITCH * count for stride, count in network.lanes.items()}


def _draw(axes: Axes, network: Network, lanes: dict[int, float], columns: int) -> None:
    places: dict[int, float] = {}
    y = 0.0
    for number, (stride, height) in enumerate(lanes.items()):
        if number % 2 == 0:
            axes.add_patch(Rectangle((-0.6, y - 0.5), columns + 0.2, height, color=FAINT, linewidth=0, zorder=0))
        axes.annotate(f"1/{stride}", (-0.7, y), ha="right", va="center", fontsize=7, annotation_clip=False)
        places[stride] = y
        y += height
    fontsize = min(6.0, 0.55 * 72 * WIDTH * 0.9 / columns * BLOCK / 2)
    before = (0.0, places[STEM_STRIDE])
    axes.add_patch(
        Rectangle((-BLOCK / 2, before[1] - HALF), BLOCK, 2 * HALF, facecolor="white", edgecolor=GREY, lw=0.7)
    )
    axes.annotate("stem", (0, before[1]), ha="center", va="center", fontsize=fontsize)
    channels = 0
    for block in network.blocks:
        x, level = block.position + 1.0, places[block.stride]
        axes.plot([before[0] + BLOCK / 2, x - BLOCK / 2], [before[1], level], color=GREY, linewidth=0.7, zorder=1)
        box = Rectangle((x - BLOCK / 2, level - HALF), BLOCK, 2 * HALF, facecolor=CHANGES[block.change], linewidth=0)
        axes.add_patch(box)
        if block.channels != channels:
            colour = "white" if block.change == "swapped" else BLACK
            axes.annotate(str(block.channels), (x, level), ha="center", va="center", fontsize=fontsize, color=colour)
            channels = block.channels
        if block.lateral is not None:
            _lateral(axes, network, block.lateral, block.position, places)
        before = (x, level)
    for stage, count in enumerate(network.subnets):
        _subnets(axes, network, stage, count, places)
    _heads(axes, network, places)
    score = "" if network.score is None else f", {100 * network.score:.2f} %"
    axes.set_title(
        f"{network.name}: {_cut(network.architecture)}{score}, {network.gflops:.3g} GFLOPs", loc="left", pad=3
    )
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(y - 0.5, -0.56)
    axes.set_axis_off()


def _cut(text: str, length: int = 84) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _lateral(axes: Axes, network: Network, source: int, target: int, places: dict[int, float]) -> None:
    """A lateral connection, above the blocks between."""
    first, last = source + 1.0, target + 1.0
    top = places[network.blocks[source].stride] - HALF
    way = [(first, top), (first + 0.5, top - 0.32), (last - 0.5, top - 0.32), (last, top)]
    path = Path(way, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    arrow = FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=5, color=PURPLE, linewidth=0.7, zorder=3)
    axes.add_patch(arrow)


def _subnets(axes: Axes, network: Network, stage: int, count: int, places: dict[int, float]) -> None:
    beside = [block for block in network.blocks if block.stage == stage]
    for row in range(count):
        level = places[beside[0].stride] + HALF + SUBNET_PITCH * (row + 0.55)
        first, last = beside[0].position + 1.0, beside[-1].position + 1.0
        axes.plot([first, last], [level, level], color=GREEN, linewidth=0.7, zorder=1)
        for block in beside:
            corner = (block.position + 1 - BLOCK / 2, level - 0.07)
            axes.add_patch(Rectangle(corner, BLOCK, 0.14, facecolor="white", edgecolor=GREEN, linewidth=0.8, zorder=2))


def _heads(axes: Axes, network: Network, places: dict[int, float]) -> None:
    """Which groups of objects, the smallest first, are found on which block's feature."""
    groups: dict[int, list[int]] = {}
    for number, head in enumerate(network.heads, start=1):
        groups.setdefault(head.block, []).append(number)
    for block, numbers in groups.items():
        changed = any(network.heads[number - 1].changed for number in numbers)
        x, y = block + 1.0, places[network.blocks[block].stride] + HALF
        axes.plot([x], [y + 0.06], marker="^", markersize=3, color=BLUE if changed else BLACK, linestyle="none")
        text = f"head {','.join(map(str, numbers))}"
        colour = BLUE if changed else BLACK
        axes.annotate(text, (x + 0.35, y + 0.12), ha="left", va="center", fontsize=5.5, color=colour)


def timeline(story: Story) -> Figure:
    """What each worker did when: attempts by their outcome, idle time left white, drivers' gaps in grey."""
    workers = [worker.name for worker in story.workers]
    lane = {name: number for number, name in enumerate(workers)}
    pitch = 0.2 if len(workers) <= MAX_NAMED_WORKERS else max(0.03, 4.8 / len(workers))
    figure = new_figure(1.0 + pitch * max(1, len(workers)))
    axes = figure.subplots()
    begin = min((life.begun_at for life in story.lives), default=0.0)
    end = max((life.ended_at for life in story.lives), default=1.0)
    unit, unit_name = (3600.0, "hours") if end - begin > 2 * 3600 else (60.0, "minutes")
    for before, after in zip(story.lives, story.lives[1:], strict=False):
        axes.axvspan((before.ended_at - begin) / unit, (after.begun_at - begin) / unit, color=LIGHT, linewidth=0)
    dense = len(story.attempts) > RASTER_FROM
    bars: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for attempt in story.attempts:
        for name in attempt.workers:
            span = (attempt.start - begin) / unit, (attempt.end - attempt.start) / unit
            bars.setdefault((attempt.outcome, name), []).append(span)
    for (outcome, name), spans in bars.items():
        where = (lane[name] - 0.36, 0.72)
        edge = {"linewidth": 0.0} if dense else {"edgecolor": "white", "linewidth": 0.3}
        axes.broken_barh(spans, where, color=OUTCOMES[outcome], rasterized=dense, **edge)
    axes.set_yticks(range(len(workers)), workers if len(workers) <= MAX_NAMED_WORKERS else [""] * len(workers))
    axes.set_ylim(len(workers) - 0.4, -0.6)
    axes.set_xlim(0, (end - begin) / unit)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{unit_name} since the run began")
    if len(workers) > MAX_NAMED_WORKERS:
        axes.set_ylabel(f"{len(workers)} workers")
    else:
        for use in story.workers:
            length = use.busy_s + use.lost_s + use.idle_s
            text = f"{100 * use.idle_s / length:.0f} % idle" if length else ""
            place = (1.005, lane[use.name])
            axes.annotate(text, place, xycoords=("axes fraction", "data"), va="center", fontsize=6.5, color=GREY)
    there = {outcome for outcome, _ in bars}
    handles = [Patch(color=colour, label=outcome) for outcome, colour in OUTCOMES.items() if outcome in there]
    if len(story.lives) > 1:
        handles.append(Patch(color=LIGHT, label="no driver"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
