"""What a network costs, counted from its spec: multiply-adds and parameters (SP-NAS, 3.2 and the supplement).

Pure Python: nothing here imports torch, so the search may ask before anything is built.

Invariant: the multiply-adds equal half of what torch's `FlopCounterMode` counts for the built backbone, and
the parameters are the module's own. As in that counter, only convolutions and linear layers count;
normalisation, additions and interpolation do not. The papers' "FLOPs" are these multiply-adds.
"""

from dataclasses import dataclass
from functools import lru_cache

from models.architecture import PROJECTION, BlockShape, NetworkSpec
from models.detector_shape import CASCADE_RCNN, NUM_CASCADE_STAGES, NUM_MASK_LAYERS, DetectorShape

XB_GROUPS = 32
"""Groups of the 3x3 convolution of an `XB` block (Table 2)."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one part of a network costs on one image.

    Attributes:
        macs: multiply-adds.
        parameters: trainable numbers (weights and biases, the scales and shifts of batch normalisation among
            them).
    """

    macs: int = 0
    parameters: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(macs=self.macs + other.macs, parameters=self.parameters + other.parameters)

    def __mul__(self, count: int) -> "Cost":
        return Cost(macs=self.macs * count, parameters=self.parameters * count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The parts of a backbone on one image.

    Attributes:
        stem: the stem.
        stages: one serial stage each.
        subnets: one subnet of each stage, its `up` convolution included.
        num_subnets: how many subnets the architecture has beside each stage.
        head: the linear classifier on the last stage's mean, if one was asked for.
    """

    stem: Cost
    stages: tuple[Cost, ...]
    subnets: tuple[Cost, ...]
    num_subnets: tuple[int, ...]
    head: Cost

    @property
    def total(self) -> Cost:
        """The whole network."""
        parallel = (subnet * count for subnet, count in zip(self.subnets, self.num_subnets, strict=True) if count)
        return sum((*self.stages, *parallel, self.head), self.stem)

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole network."""
        return self.total.macs

    @property
    def parameters(self) -> int:
        """Trainable parameters of the whole network."""
        return self.total.parameters


def backbone_costs(spec: NetworkSpec, height: int, width: int, num_classes: int | None = None) -> Costs:
    """Count a backbone.

    Args:
        spec: the network.
        height: of the image, in pixels.
        width: of the image, in pixels.
        num_classes: if given, count a linear classifier too (1000 for the supplement's figures).

    Returns:
        The costs of stem, stages and subnets on one image.
    """
    stem, size = stem_cost(spec.stem, spec.base_channels, (height, width))
    block_type = spec.architecture.block
    stages, subnets = [], []
    for shapes in spec.stages:
        stage, subnet, size = _stage_costs(block_type, shapes, size)
        stages.append(stage)
        subnets.append(subnet)
    head = Cost()
    if num_classes is not None:
        channels = spec.stage_channels[-1]
        head = Cost(macs=channels * num_classes, parameters=(channels + 1) * num_classes)
    return Costs(
        stem=stem,
        stages=tuple(stages),
        subnets=tuple(subnets),
        num_subnets=spec.architecture.subnets or (0,) * spec.architecture.num_stages,
        head=head,
    )


def subnet_macs(spec: NetworkSpec, height: int, width: int) -> tuple[int, ...]:
    """Multiply-adds of one subnet of each stage with its `up`, by which section 3.2 samples."""
    return tuple(subnet.macs for subnet in backbone_costs(spec, height, width).subnets)


def detector_parameters(spec: NetworkSpec, shape: DetectorShape, num_classes: int, max_stages: int) -> int:
    """Trainable parameters of a whole detector: backbone, pyramid of `max_stages` levels, RPN and heads."""
    channels, nowhere = shape.pyramid_channels, (0, 0)
    padding = (spec.stage_channels[-1],) * (max_stages - len(spec.stage_channels))
    smooth = conv_cost(channels, channels, 3, nowhere, bias=True)
    rpn = smooth + conv_cost(channels, 5 * len(shape.anchor_ratios), 1, nowhere, bias=True)
    pyramid = (conv_cost(inner, channels, 1, nowhere, bias=True) + smooth for inner in (*spec.stage_channels, *padding))
    return backbone_costs(spec, 0, 0).parameters + sum(pyramid, rpn + heads_cost(shape, num_classes)).parameters


def heads_cost(shape: DetectorShape, num_classes: int) -> Cost:
    """The parameters of a detector's heads, which read features of `shape.pyramid_channels` channels."""
    if shape.kind == CASCADE_RCNN:
        return _heads(shape, num_classes + 1, agnostic=True) * NUM_CASCADE_STAGES
    return _heads(shape, num_classes + 1, agnostic=False)


def _heads(shape: DetectorShape, num_labels: int, *, agnostic: bool) -> Cost:
    """The parameters of one stage's heads; a linear layer counts as a convolution."""
    hidden, num_boxes, nowhere = shape.head_channels, 1 if agnostic else num_labels, (0, 0)
    box = conv_cost(hidden, num_labels + 4 * num_boxes, 1, nowhere, bias=True)
    if shape.head_convolutions:
        inner, outer = shape.pyramid_channels, shape.head_convolution_channels
        box += conv_cost(inner, outer, 3, nowhere) + conv_cost(outer, hidden, shape.roi_size, nowhere, bias=True)
        box += conv_cost(outer, outer, 3, nowhere) * (shape.head_convolutions - 1)
        box += norm_cost(outer) * shape.head_convolutions
    else:
        box += conv_cost(shape.pyramid_channels, hidden, shape.roi_size, nowhere, bias=True)
        box += conv_cost(hidden, hidden, 1, nowhere, bias=True)
    if not shape.mask:
        return box
    width = shape.mask_channels
    first = conv_cost(shape.pyramid_channels, width, 3, nowhere, bias=True)
    others = conv_cost(width, width, 3, nowhere, bias=True) * (NUM_MASK_LAYERS - 1)
    doubling = conv_cost(width, width, 2, nowhere, bias=True)
    return box + first + others + doubling + conv_cost(width, num_labels, 1, nowhere, bias=True)


@lru_cache(maxsize=512)  # a search meets the same few stages in network after network
def _stage_costs(block_type: str, shapes: tuple[BlockShape, ...], size: Size) -> tuple[Cost, Cost, Size]:
    """The costs of a stage and of one subnet beside it, and the size of its output."""
    stage = Cost()
    for shape in shapes:
        size, incoming = _strided(size, shape.stride), size
        stage += block_cost(block_type, shape, incoming, size)
    # `up` runs at the stage's own resolution, before its output is enlarged to the incoming one
    up = conv_cost(shapes[-1].out_channels, shapes[0].in_channels, 1, size, bias=True)
    return stage, stage + up, size


def stem_cost(stem: str, channels: int, size: Size) -> tuple[Cost, Size]:
    """The cost of a stem that gives this many channels, and the size of its output."""
    half = _strided(size, 2)
    quarter = _strided(half, 2)
    if stem == "resnet":
        return conv_cost(3, channels, 7, half) + norm_cost(channels), quarter
    first = conv_cost(3, channels, 3, half) + norm_cost(channels)
    second = conv_cost(channels, channels, 3, quarter) + norm_cost(channels)
    return first + second, quarter


def block_cost(block_type: str, shape: BlockShape, incoming: Size, outgoing: Size) -> Cost:
    """The cost of one block between maps of these sizes."""
    inner, mid, outer = shape.in_channels, shape.mid_channels, shape.out_channels
    if block_type == "BB":
        cost = conv_cost(inner, mid, 3, outgoing) + conv_cost(mid, outer, 3, outgoing)
    else:
        groups = XB_GROUPS if block_type == "XB" else 1
        cost = conv_cost(inner, mid, 1, incoming) + conv_cost(mid, mid, 3, outgoing, groups=groups)
        cost += conv_cost(mid, outer, 1, outgoing) + norm_cost(mid)
    cost += norm_cost(mid) + norm_cost(outer)
    if shape.shortcut == PROJECTION:
        cost += conv_cost(inner, outer, 1, outgoing) + norm_cost(outer)
    return cost


def conv_cost(inner: int, outer: int, kernel: int, outgoing: Size, *, groups: int = 1, bias: bool = False) -> Cost:
    """The cost of a convolution whose output has this size."""
    weights = inner // groups * outer * kernel * kernel
    return Cost(macs=weights * outgoing[0] * outgoing[1], parameters=weights + (outer if bias else 0))


def norm_cost(channels: int) -> Cost:
    """The cost of a normalisation."""
    return Cost(parameters=2 * channels)


def _strided(size: Size, stride: int) -> Size:
    """The size after a stride: every strided layer here rounds up."""
    return -(-size[0] // stride), -(-size[1] // stride)
