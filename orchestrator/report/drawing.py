"""Networks as drawings: where each block, link, subnet and label of one stands, in CSS pixels.

Every resolution is a lane, the finest on top; blocks stand from left to right in the order of computation, so a path
that goes down loses resolution. Subnets run below the stage that they stand beside.

Invariant: a drawing is geometry and text alone; how it looks is the style sheet's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.report.story import STEM_STRIDE, Block, Network

LEFT, PITCH, BLOCK_WIDTH, BLOCK_HEIGHT = 92, 46, 38, 28
SUBNET_HEIGHT, SUBNET_PITCH, HEAD_HEIGHT, LANE_GAP, TOP = 14, 20, 20, 20, 12
CHANGES = {"expanded": "+", "swapped": "↕"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A block, or its like within a subnet.

    Attributes:
        x: of its left edge.
        y: of its upper edge.
        kind: ``stem``, ``block`` or ``subnet``.
        change: ``""``, ``expanded`` or ``swapped``; of a subnet that the start had not: ``expanded``.
        label: within it.
        mark: the sign of its change.
        words: for whoever points at it or can't see it.
    """

    x: float
    y: float
    width: float
    height: float
    kind: str
    change: str
    label: str
    mark: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A way that features go.

    Attributes:
        path: as SVG has it.
        kind: ``forward``, ``lateral`` or ``subnet``.
    """

    path: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A resolution.

    Attributes:
        y: of its upper edge.
        height: of it.
        label: its stride as a share: ``1/8``.
        size: its features' pixels: ``28 × 28``.
    """

    y: float
    height: float
    label: str
    size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMark:
    """Where a group of objects is found on (multi-scale networks)."""

    x: float
    y: float
    label: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A network, drawn.

    Attributes:
        words: all of it as a sentence.
    """

    network: Network
    width: float
    height: float
    lanes: tuple[Lane, ...]
    links: tuple[Link, ...]
    boxes: tuple[Box, ...]
    heads: tuple[HeadMark, ...]
    words: str


def draw(network: Network, image_size: tuple[int, int]) -> Drawing:
    """Where everything of a network stands.

    Args:
        network: it.
        image_size: height and width, of which each lane's features are a share.
    """
    lanes = _lanes(network, image_size)
    stem, blocks = _stem(network, lanes), [_block_box(block, lanes) for block in network.blocks]
    boxes, links = [stem, *blocks], list(_links(network, blocks, stem))
    for stage, count in enumerate(network.subnets):
        for row in range(count):
            row_boxes, row_links = _subnet(network, stage, row, blocks)
            boxes += row_boxes
            links += row_links
    last = list(lanes.values())[-1]
    return Drawing(
        network=network,
        width=LEFT + PITCH * (len(network.blocks) + 1) + 12,
        height=last.y + last.height + 4,
        lanes=tuple(lanes.values()),
        links=tuple(links),
        boxes=tuple(boxes),
        heads=tuple(_heads(network, blocks)),
        words=in_words(network),
    )


def in_words(network: Network) -> str:
    """A network as a sentence: its stages, their blocks, and what is new against the start."""
    parts = []
    for stage in sorted({block.stage for block in network.blocks}):
        blocks = [block for block in network.blocks if block.stage == stage]
        count = network.num_subnets(stage)
        beside = f" with {count} subnet{'s' * (count > 1)}" if count else ""
        parts.append(f"{len(blocks)} block{'s' * (len(blocks) > 1)} at 1/{blocks[0].stride}{beside}")
    changes = [f"{sum(b.change == change for b in network.blocks)} {change}" for change in CHANGES]
    changes += [f"{sum(network.subnets_added)} subnets added"] if network.subnets else []
    return f"{network.architecture}: {', then '.join(parts)}. Against the start: {', '.join(changes)}."


def _lanes(network: Network, image_size: tuple[int, int]) -> dict[int, Lane]:
    """By stride, the finest first."""
    read = {head.stride for head in network.heads}
    lanes: dict[int, Lane] = {}
    y: float = TOP
    for stride, rows in network.lanes.items():
        height = BLOCK_HEIGHT + rows * SUBNET_PITCH + (HEAD_HEIGHT if stride in read else 0) + LANE_GAP
        size = " × ".join(str(-(-side // stride)) for side in image_size)
        lanes[stride] = Lane(y=y, height=height, label=f"1/{stride}", size=size)
        y += height
    return lanes


def _stem(network: Network, lanes: dict[int, Lane]) -> Box:
    return Box(
        x=LEFT,
        y=lanes[STEM_STRIDE].y + LANE_GAP / 2,
        width=BLOCK_WIDTH,
        height=BLOCK_HEIGHT,
        kind="stem",
        change="",
        label="stem",
        mark="",
        words=f"{network.stem} stem, {network.base_channels} channels",
    )


def _block_box(block: Block, lanes: dict[int, Lane]) -> Box:
    change = {"expanded": "new", "swapped": "at another resolution than in the start", "": "as in the start"}
    doubled = ", doubles the channels" if block.doubles else ""
    return Box(
        x=LEFT + PITCH * (block.position + 1),
        y=lanes[block.stride].y + LANE_GAP / 2,
        width=BLOCK_WIDTH,
        height=BLOCK_HEIGHT,
        kind="block",
        change=block.change,
        label=str(block.channels),
        mark=CHANGES.get(block.change, ""),
        words=f"block {block.position + 1}, stage {block.stage + 1}, at 1/{block.stride}: {block.channels} channels"
        f"{doubled}, {block.shortcut} shortcut; {change[block.change]}",
    )


def _links(network: Network, boxes: list[Box], stem: Box) -> Iterator[Link]:
    for before, after in zip([stem, *boxes], boxes, strict=False):
        yield Link(path=_curve(before, after), kind="forward")
    for block, box in zip(network.blocks, boxes, strict=True):
        if block.lateral is not None:
            source = boxes[block.lateral]
            top = min(source.y, box.y) - 9
            x1, x2 = source.x + source.width / 2, box.x + box.width / 2
            yield Link(
                path=f"M{x1:g} {source.y:g}C{x1:g} {top:g} {x2:g} {top:g} {x2:g} {box.y:g}",
                kind="lateral",
            )


def _curve(before: Box, after: Box) -> str:
    x1, y1 = before.x + before.width, before.y + before.height / 2
    x2, y2 = after.x, after.y + after.height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _subnet(network: Network, stage: int, row: int, boxes: list[Box]) -> tuple[list[Box], list[Link]]:
    """A subnet's boxes, below its stage's, and its ways: from the stage's beginning to its end."""
    beside = [box for block, box in zip(network.blocks, boxes, strict=True) if block.stage == stage]
    y = beside[0].y + BLOCK_HEIGHT + 6 + row * SUBNET_PITCH
    is_new = row >= network.subnets[stage] - network.subnets_added[stage]
    drawn = [
        Box(
            x=box.x,
            y=y,
            width=box.width,
            height=SUBNET_HEIGHT,
            kind="subnet",
            change="expanded" if is_new else "",
            label="",
            mark="",
            words=f"subnet {row + 1} beside stage {stage + 1}; {'new' if is_new else 'as in the start'}",
        )
        for box in beside
    ]
    middle = y + SUBNET_HEIGHT / 2
    links = [
        Link(path=f"M{left.x + left.width:g} {middle:g}H{right.x:g}", kind="subnet")
        for left, right in zip(drawn, drawn[1:], strict=False)
    ]
    first, last = beside[0], beside[-1]
    level = first.y + BLOCK_HEIGHT / 2
    into, out = first.x - 4, last.x + last.width + 4
    links.append(Link(path=f"M{into:g} {level:g}V{middle:g}H{first.x:g}", kind="subnet"))
    links.append(Link(path=f"M{last.x + last.width:g} {middle:g}H{out:g}V{level:g}", kind="subnet"))
    return drawn, links


def _heads(network: Network, boxes: list[Box]) -> Iterator[HeadMark]:
    places: dict[int, list[int]] = {}
    for number, head in enumerate(network.heads, start=1):
        places.setdefault(head.block, []).append(number)
    for block, numbers in places.items():
        box = boxes[block]
        yield HeadMark(
            x=box.x + box.width / 2,
            y=box.y + box.height,
            label=",".join(map(str, numbers)),
            changed=any(network.heads[number - 1].changed for number in numbers),
        )
