"""What `spnas arch` prints: the networks that have names, and one network part by part.

Invariant: the numbers are those of `models.costs` and `models.msnas_costs`; nothing is built.
"""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from models.architecture import SHORTCUT_NAMES, NetworkSpec
from models.costs import Cost, backbone_costs
from models.detector_shape import DetectorShape
from models.families import AnySpec
from models.msnas_costs import COUNTED_SIZE, multi_scale_costs, multi_scale_detector_parameters
from models.msnas_encoding import FEATURE_STRIDES, MultiScaleSpec
from models.msnas_zoo import MULTI_SCALE_ZOO
from models.zoo import ZOO

BACKBONE_SIZE = (224, 224)
"""Height and width for which backbones are counted, if nobody says otherwise: the papers'."""

NUM_CLASSES = 80
"""Of the detector whose parameters are told: COCO's."""

_SHAPE = DetectorShape()


def listing(height: int | None, width: int | None) -> Iterator[str | Table]:
    """The networks that have names; without a size each family is counted for its papers'."""
    side, other = _size(BACKBONE_SIZE, height, width)
    yield f"Backbones, {side} x {other} pixels:"
    table = _table("name", "encoding", "stem", "GFLOPs", "parameters")
    for name, network in ZOO.items():
        cost = backbone_costs(network.spec, side, other).total
        table.add_row(name, str(network.architecture), network.stem, *_cells(cost))
    yield table
    side, other = _padded(COUNTED_SIZE, height, width)
    yield f"Multi-scale networks, encoder and RPN, {side} x {other} pixels:"
    table = _table("name", "encoding", "stem", "GFLOPs", "parameters")
    for name, searched in MULTI_SCALE_ZOO.items():
        costs = multi_scale_costs(searched.spec, _SHAPE, side, other)
        table.add_row(name, str(searched.architecture), searched.spec.stem, *_cells(costs.encoder + costs.rpn))
    yield table


def description(spec: AnySpec, height: int | None, width: int | None) -> Iterator[str | Table]:
    """A network part by part; without a size it is counted for its papers'."""
    if isinstance(spec, NetworkSpec):
        side, other = _size(BACKBONE_SIZE, height, width)
        yield f"{spec.architecture}, stem {spec.stem}, base channels {spec.base_channels}, {side} x {other} pixels"
        yield _backbone_table(spec, side, other)
        return
    side, other = _padded(COUNTED_SIZE, height, width)
    yield f"{spec.architecture}, stem {spec.stem}, {side} x {other} pixels"
    yield _multi_scale_table(spec, side, other)
    yield f"detector: Faster R-CNN with the default sizes and {NUM_CLASSES} classes; super-net: that of all paths"


def _size(default: tuple[int, int], height: int | None, width: int | None) -> tuple[int, int]:
    """The size that was asked for, each side by default the papers'."""
    return height or default[0], width or default[1]


def _padded(default: tuple[int, int], height: int | None, width: int | None) -> tuple[int, int]:
    """The size, filled up to multiples of a multi-scale network's coarsest stride."""
    coarsest = FEATURE_STRIDES[-1]
    side, other = _size(default, height, width)
    return -(-side // coarsest) * coarsest, -(-other // coarsest) * coarsest


def _backbone_table(spec: NetworkSpec, height: int, width: int) -> Table:
    """Stages, strides, channels, multiply-adds and parameters."""
    costs = backbone_costs(spec, height, width)
    table = _table("", "blocks", "stride", "channels", "shortcuts", "GFLOPs", "parameters")
    table.add_row("stem", spec.stem, "4", str(spec.base_channels), "", *_cells(costs.stem))
    subnets = spec.architecture.subnets or (0,) * spec.architecture.num_stages
    for number, (blocks, stage, subnet, count) in enumerate(
        zip(spec.stages, costs.stages, costs.subnets, subnets, strict=True), start=1
    ):
        names = sorted({SHORTCUT_NAMES[block.shortcut] for block in blocks})
        letters = spec.architecture.stages[number - 1]
        stride, channels = 4 * 2 ** (number - 1), blocks[-1].out_channels
        table.add_row(f"stage {number}", letters, str(stride), str(channels), ", ".join(names), *_cells(stage))
        if count:
            table.add_row(f"  + {count} subnet" + "s" * (count > 1), "", "", "", "", *_cells(subnet * count))
    table.add_row("total", str(spec.architecture.num_blocks), "", "", "", *_cells(costs.total))
    return table


def _multi_scale_table(spec: MultiScaleSpec, height: int, width: int) -> Table:
    """Block by block: stride, resolution, where its lateral connection is from, and which heads read it."""
    network = spec.architecture
    costs = multi_scale_costs(spec, _SHAPE, height, width)
    table = _table("", "stride", "feature", "channels", "lateral from", "heads", "GFLOPs", "parameters")
    table.add_row("stem", spec.stem, f"1/{FEATURE_STRIDES[0]}", str(network.channels), "", "", *_cells(costs.stem))
    for row, cost in zip(_block_cells(spec), costs.blocks, strict=True):
        table.add_row(*row, *_cells(cost))
    empty = ("", "", "", "", "")
    table.add_row("laterals", *empty, *_cells(costs.laterals))
    table.add_row("encoder", *empty, *_cells(costs.encoder))
    table.add_row("RPN", *empty, *_cells(costs.rpn))
    table.add_row("encoder and RPN", *empty, *_cells(costs.encoder + costs.rpn))
    for name, supernet in (("detector", False), ("super-net", True)):
        parameters = multi_scale_detector_parameters(spec, _SHAPE, NUM_CLASSES, supernet=supernet)
        table.add_row(name, *empty, "", f"{parameters:,}")
    return table


def _block_cells(spec: MultiScaleSpec) -> Iterator[tuple[str, ...]]:
    network = spec.architecture
    for index, (stride, feature, source) in enumerate(
        zip(network.strides, network.feature_strides, network.laterals, strict=True)
    ):
        readers = [str(group) for group, block in enumerate(network.head_blocks, start=1) if block == index]
        yield (
            f"block {index + 1}",
            f"{stride:g}",
            f"1/{feature}",
            str(network.out_channels),
            "" if source is None else f"block {source + 1}",
            ", ".join(readers),
        )


def _table(*columns: str) -> Table:
    """A table whose numbers stand at the right."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        is_number = column in ("stride", "feature", "channels", "GFLOPs", "parameters")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table


def _cells(cost: Cost) -> tuple[str, str]:
    return f"{cost.macs / 1e9:.4f}", f"{cost.parameters:,}"
