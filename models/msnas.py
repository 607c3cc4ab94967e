"""Multi-scale encoders: the super-net and the networks that are its paths (MSNAS, sections 3.2 to 3.4).

Invariants: a feature is block output plus lateral connection exactly as equations 4 to 6 say. The state's keys tell
where a tensor stands, ``stem.*``, ``blocks.{index}.{up,same,down}.*`` and ``laterals.{index}.*`` (from 0), in a
super-net and in the network of one path alike: a path's weights are the super-net's of the same names, and with them
it computes what the super-net computes along this path, to the last bit.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architecture import BlockShape
from models.backbone import few
from models.blocks import DeepStem, ResNetStem, conv, make_block, make_norm
from models.detector_shape import BODY
from models.msnas_encoding import (
    FEATURE_STRIDES,
    NUM_GROUPS,
    STRIDES,
    MultiScale,
    MultiScaleSpec,
    mixed_block_shape,
)

STRIDE_NAMES = {0.5: "up", 1: "same", 2: "down"}
"""What a mixed block's operators are called."""


class _UpsampledConv(nn.Conv2d):
    """A convolution after a nearest-neighbour interpolation that doubles height and width."""

    def __init__(self, like: nn.Conv2d) -> None:
        kernel = like.kernel_size[0]
        super().__init__(like.in_channels, like.out_channels, kernel, padding=kernel // 2, bias=False)
        self.weight = like.weight

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, 2 H, 2 W]."""
        height, width = x.shape[-2:]
        return super().forward(functional.interpolate(x, size=(2 * height, 2 * width), mode="nearest"))


def make_operator(block: str, shape: BlockShape, stride: float, normalization: str) -> nn.Module:
    """A mixed block's operator for one stride: a residual block, [B, in, H, W] -> [B, out, H / stride, W / stride].

    Where the stride is 0.5, the 3x3 convolution that else has the stride, and the shortcut's, follow an interpolation.
    """
    operator = make_block(block, shape, normalization)
    if stride == 0.5:
        name = "conv1" if block == "BB" else "conv2"
        for owner, child in ((operator, name), (operator.shortcut, "conv")):
            assert isinstance(owner, nn.Module)
            like = getattr(owner, child)
            assert isinstance(like, nn.Conv2d)
            setattr(owner, child, _UpsampledConv(like))
    return operator


class Lateral(nn.Module):
    """The 1x1 convolution behind a block, and its normalisation."""

    def __init__(self, channels: int, normalization: str) -> None:
        """Build it for so many channels."""
        super().__init__()
        self.conv = conv(channels, channels, 1)
        self.norm = make_norm(normalization, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        out: Tensor = self.norm(self.conv(x))
        return out


class MultiScaleEncoder(nn.Module):
    """The encoder of one path, or a super-net, which has the operators of all paths and computes one at a time."""

    def __init__(self, spec: MultiScaleSpec, normalization: str = "batch", *, supernet: bool = False) -> None:
        """Build it with fresh weights.

        Args:
            spec: the network; of a super-net, the path it computes until `choose` says another.
            normalization: see `models.blocks.make_norm`; the paper's is ``sync``.
            supernet: whether to have every operator that some valid path takes, and every lateral convolution.
        """
        super().__init__()
        path = spec.architecture
        self.spec, self.supernet = spec, supernet
        self.architecture = path
        stem = DeepStem if spec.stem == "deep" else ResNetStem
        self.stem = stem(path.channels, normalization)
        self.blocks = nn.ModuleList()
        for index, stride in enumerate(path.strides):
            strides: tuple[float, ...] = (stride,)
            if supernet:
                # nothing is finer than the stem's output, so the first block never upsamples
                strides = STRIDES if index else STRIDES[1:]
            self.blocks.append(
                nn.ModuleDict(
                    {
                        STRIDE_NAMES[each]: make_operator(
                            path.block,
                            mixed_block_shape(path.block, path.channels, index, each),
                            each,
                            normalization,
                        )
                        for each in strides
                    }
                )
            )
        # the last block ends the last stage: no later one takes its lateral convolution
        sources = range(path.num_blocks - 1) if supernet else [each for each in path.laterals if each is not None]
        self.laterals = nn.ModuleDict({str(index): Lateral(path.out_channels, normalization) for index in sources})

    def choose(self, architecture: MultiScale) -> None:
        """Compute this path from now on.

        Raises:
            ValueError: if it is none of this network's.
        """
        own, other = self.architecture, architecture
        same = (own.block, own.channels, own.num_blocks) == (other.block, other.channels, other.num_blocks)
        if not same or not (self.supernet or own.strides == other.strides):
            raise ValueError(f"architecture: {other} is no path of {'the super-net of ' if self.supernet else ''}{own}")
        self.architecture = other

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Compute the feature of each group of objects.

        Args:
            images: [B, 3, H, W]; H and W are multiples of 64.

        Returns:
            ``"0"`` to ``"4"``, small objects first: [B, C, H / s, W / s] with the stride s of the group's head. Groups
            that read one feature have one tensor.

        Raises:
            ValueError: if a side is not a multiple of 64.
        """
        height, width = images.shape[-2:]
        coarsest = FEATURE_STRIDES[-1]
        if height % coarsest or width % coarsest:
            raise ValueError(f"images: {height} x {width} pixels are not multiples of {coarsest}; pad them")
        path = self.architecture
        x = self.stem(images)
        features: list[Tensor] = []
        for block, stride, source in zip(self.blocks, path.strides, path.laterals, strict=True):
            assert isinstance(block, nn.ModuleDict)
            x = block[STRIDE_NAMES[stride]](x)
            if source is not None:
                x = x + self.laterals[str(source)](features[source])
            features.append(x)
        return OrderedDict((str(group), features[index]) for group, index in enumerate(path.head_blocks))


class MultiScaleFeatures(nn.Module):
    """An encoder (``body``) as torchvision's detectors want it, in the place of a pyramid."""

    def __init__(self, body: MultiScaleEncoder, *, bfloat16: bool = False) -> None:
        """Wrap an encoder.

        Args:
            body: the encoder.
            bfloat16: compute in bfloat16 by autocast; the features are of the images' type all the same.
        """
        super().__init__()
        self.body = body
        self.computes_in_bfloat16 = bfloat16
        self.out_channels = body.architecture.out_channels

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """[B, 3, H, W] -> the feature of each group; groups that read one have one tensor."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.computes_in_bfloat16):
            features = self.body(images)
        converted = {id(feature): feature.to(images.dtype) for feature in features.values()}
        return OrderedDict((name, converted[id(feature)]) for name, feature in features.items())


class GroupRPNHead(nn.Module):
    """The region proposal head of several groups of objects that may read one feature.

    As in FPN, the 3x3 convolution is all groups' own; on a feature it runs once. Each group has its own predictors, for
    the anchors of two groups on one feature differ in size alone, which shared predictors could not tell apart.
    """

    def __init__(self, in_channels: int, channels: int, num_anchors: int) -> None:
        """Build it with fresh weights.

        Args:
            in_channels: of the features.
            channels: of the shared convolution.
            num_anchors: of one group at one place.
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.cls_logits = nn.ModuleList(nn.Conv2d(channels, num_anchors, 1) for _ in range(NUM_GROUPS))
        self.bbox_pred = nn.ModuleList(nn.Conv2d(channels, 4 * num_anchors, 1) for _ in range(NUM_GROUPS))
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        for predictor in (*self.cls_logits, *self.bbox_pred):
            assert isinstance(predictor, nn.Conv2d) and predictor.bias is not None
            nn.init.normal_(predictor.weight, std=0.01)
            nn.init.zeros_(predictor.bias)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each group [B, anchors, H, W], objectness, and [B, 4 anchors, H, W], box codes."""
        hidden = {id(feature): feature for feature in features}
        hidden = {key: functional.relu(self.conv(feature)) for key, feature in hidden.items()}
        shared = [hidden[id(feature)] for feature in features]
        logits = [predict(x) for predict, x in zip(self.cls_logits, shared, strict=True)]
        codes = [predict(x) for predict, x in zip(self.bbox_pred, shared, strict=True)]
        return logits, codes


_CHOICE_KEY = re.compile(r"(?:blocks\.(\d+)\.(\w+)|laterals\.(\d+))\..+")


def inherit_path(state: Mapping[str, Tensor], architecture: MultiScale) -> dict[str, Tensor]:
    """The weights of one path from those of a super-net, with the statistics of its normalisations (section 3.4).

    Args:
        state: a super-net's, of an encoder or a whole detector, or of this path's own network; it is left as it is.
        architecture: the path.

    Returns:
        The state dict of the path's network. Its tensors are those of `state`, so nobody may write to them.

    Raises:
        ValueError: if the super-net lacks an operator or lateral convolution of the path.
    """
    wanted = {(str(index), STRIDE_NAMES[stride]) for index, stride in enumerate(architecture.strides)}
    laterals = {str(source) for source in architecture.laterals if source is not None}
    prefix = BODY if any(key.startswith(BODY) for key in state) else ""
    chosen, found = {}, set()
    for key, tensor in state.items():
        match = _CHOICE_KEY.fullmatch(key.removeprefix(prefix)) if key.startswith(prefix) else None
        if match is None:
            chosen[key] = tensor
            continue
        index, name, lateral = match.groups()
        place = f"laterals.{lateral}" if lateral else f"blocks.{index}.{name}"
        if lateral in laterals or (index, name) in wanted:
            chosen[key] = tensor
            found.add(place)
    needed = {f"blocks.{index}.{name}" for index, name in wanted} | {f"laterals.{index}" for index in laterals}
    if needed != found:
        raise ValueError(f"weights: they have nothing of {few(sorted(needed - found))}, which {architecture} needs")
    return chosen
