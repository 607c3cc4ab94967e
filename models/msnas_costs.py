"""What a multi-scale network costs, counted from its spec: multiply-adds and parameters of encoder and RPN.

Pure Python: nothing here imports torch.

MSNAS compares networks by these two parts alone, on images of 832 x 1280 pixels (section 4.1). What its tables call
FLOPs are multiply-adds.

Invariant: the multiply-adds equal half of what torch's `FlopCounterMode` counts for the built encoder and RPN
head, and the parameters are the modules' own. Where groups read one feature, the RPN's shared convolution runs once.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from models.costs import Cost, Size, block_cost, conv_cost, heads_cost, norm_cost, stem_cost
from models.detector_shape import DetectorShape
from models.msnas_encoding import FEATURE_STRIDES, STRIDES, MultiScaleSpec, mixed_block_shape

COUNTED_SIZE = (832, 1280)
"""Height and width at which the paper counts (section 4.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiScaleCosts:
    """The parts of a network on one image.

    Attributes:
        stem: the stem.
        blocks: one mixed block each.
        laterals: all lateral convolutions.
        rpn: the RPN's convolution and the predictors of all groups.
    """

    stem: Cost
    blocks: tuple[Cost, ...]
    laterals: Cost
    rpn: Cost

    @property
    def encoder(self) -> Cost:
        """Stem, blocks and lateral convolutions."""
        return sum(self.blocks, self.stem + self.laterals)

    @property
    def macs(self) -> int:
        """Multiply-adds of encoder and RPN, by which a search bounds its candidates."""
        return self.encoder.macs + self.rpn.macs


@lru_cache(maxsize=4096)  # an evolution asks of the same networks again and again
def multi_scale_costs(
    spec: MultiScaleSpec,
    shape: DetectorShape,
    height: int = COUNTED_SIZE[0],
    width: int = COUNTED_SIZE[1],
) -> MultiScaleCosts:
    """Count encoder and RPN.

    Args:
        spec: the network.
        shape: of the detector; `pyramid_channels` are those of the RPN's convolution.
        height: of the image, in pixels, a multiple of 64.
        width: likewise.

    Raises:
        ValueError: if a side is not a multiple of 64, to which images are padded.
    """
    coarsest = FEATURE_STRIDES[-1]
    if height % coarsest or width % coarsest:
        raise ValueError(f"image size: {height} x {width} pixels are not multiples of {coarsest}")
    network = spec.architecture

    def size(stride: int) -> Size:
        return height // stride, width // stride

    stem, _ = stem_cost(spec.stem, network.channels, (height, width))
    outer = network.out_channels
    blocks, laterals, rpn = [], Cost(), Cost()
    incoming = FEATURE_STRIDES[0]
    places = zip(network.strides, network.feature_strides, network.laterals, strict=True)
    for index, (stride, outgoing, source) in enumerate(places):
        block = mixed_block_shape(network.block, network.channels, index, stride)
        blocks.append(block_cost(network.block, block, size(incoming), size(outgoing)))
        if source is not None:
            laterals += conv_cost(outer, outer, 1, size(outgoing)) + norm_cost(outer)
        incoming = outgoing

    hidden = shape.pyramid_channels
    for number, stride in enumerate(sorted(set(network.heads))):
        shared = conv_cost(outer, hidden, 3, size(stride), bias=True)
        rpn += Cost(macs=shared.macs, parameters=0 if number else shared.parameters)
    for stride in network.heads:
        rpn += conv_cost(hidden, 5 * len(shape.anchor_ratios), 1, size(stride), bias=True)
    return MultiScaleCosts(stem=stem, blocks=tuple(blocks), laterals=laterals, rpn=rpn)


def multi_scale_detector_parameters(
    spec: MultiScaleSpec, shape: DetectorShape, num_classes: int, *, supernet: bool = False
) -> int:
    """Trainable parameters of a whole detector: encoder, RPN and heads.

    Args:
        spec: the network.
        shape: of the detector.
        num_classes: foreground classes.
        supernet: whether to count the super-net that the network is a path of.
    """
    network, coarsest = spec.architecture, FEATURE_STRIDES[-1]
    costs = multi_scale_costs(spec, shape, coarsest, coarsest)
    encoder = costs.encoder
    if supernet:
        blocks = (
            block_cost(network.block, mixed_block_shape(network.block, network.channels, index, stride), (0, 0), (0, 0))
            for index in range(network.num_blocks)
            for stride in (STRIDES if index else STRIDES[1:])
        )
        lateral = conv_cost(network.out_channels, network.out_channels, 1, (0, 0)) + norm_cost(network.out_channels)
        encoder = sum(blocks, costs.stem + lateral * (network.num_blocks - 1))
    heads = heads_cost(replace(shape, pyramid_channels=network.out_channels), num_classes)
    return (encoder + costs.rpn + heads).parameters
