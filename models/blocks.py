"""The residual blocks and stems of Table 2, built from a `BlockShape`.

Invariants: the stride of a block sits in its 3x3 convolution (the first one of ``BB``); a block's output is
the ReLU of branch + shortcut, hence never negative; no block changes its input, although ReLU and addition
work in place on what the block itself made.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d

from models.architecture import IDENTITY, NORMALIZATIONS, PROJECTION, BlockShape
from models.costs import XB_GROUPS


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all ranks; where none are joined, of the one.

    Three sums over the ranks, on any device; on CUDA, `nn.SyncBatchNorm` takes its place in training, which is faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] of this rank; another may have more or fewer, as box heads have RoIs."""
        if not self.training or not dist.is_initialized():
            alone: Tensor = super().forward(x)
            return alone
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        count = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(count)
        mean = _sum_over_ranks(x.sum((0, 2, 3))) / count
        centered = x - mean.view(1, -1, 1, 1)
        variance = _sum_over_ranks(centered.square().sum((0, 2, 3))) / count
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(variance.detach() * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalized: Tensor = centered * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalized


class _SumOverRanks(torch.autograd.Function):
    """The sum, through which gradients flow back to every rank."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_over_ranks(x: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(x)
    return total


def make_norm(normalization: str, channels: int) -> nn.Module:
    """One normalisation layer.

    Args:
        normalization: ``batch``, ``sync`` (batch statistics over all ranks), ``frozen`` (fixed statistics,
            scale and shift) or ``group`` (32 groups, or the most that divide the channels with two channels
            in each).
        channels: how many it normalises.

    Raises:
        ValueError: for another kind.
    """
    match normalization:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "sync":
            return SynchronizedBatchNorm(channels)
        case "frozen":
            frozen: nn.Module = FrozenBatchNorm2d(channels)
            return frozen
        case "group":
            fitting = (count for count in range(32, 1, -1) if channels % count == 0 and channels // count > 1)
            return nn.GroupNorm(next(fitting, 1), channels)
    raise ValueError(f"normalization: {normalization!r} is none of {', '.join(NORMALIZATIONS)}")


def conv(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size up to its stride, with He initialisation (fan out)."""
    layer = nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Projection(nn.Module):
    """The shortcut where shape changes: a (strided) 1x1 convolution and its normalisation."""

    def __init__(self, shape: BlockShape, normalization: str) -> None:
        """Build it for one block."""
        super().__init__()
        self.conv = conv(shape.in_channels, shape.out_channels, 1, shape.stride)
        self.norm = make_norm(normalization, shape.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.norm(self.conv(x))
        return out


class Subsample(nn.Module):
    """The shortcut of a block that a swap has given its stride: every second pixel, no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        return functional.max_pool2d(x, kernel_size=1, stride=2)


def _make_shortcut(shape: BlockShape, normalization: str) -> nn.Module:
    if shape.shortcut == PROJECTION:
        return Projection(shape, normalization)
    return nn.Identity() if shape.shortcut == IDENTITY else Subsample()


class BasicBlock(nn.Module):
    """``BB``: two 3x3 convolutions."""

    def __init__(self, shape: BlockShape, normalization: str = "batch") -> None:
        """Build the block that `shape` describes."""
        super().__init__()
        self.conv1 = conv(shape.in_channels, shape.mid_channels, 3, shape.stride)
        self.norm1 = make_norm(normalization, shape.mid_channels)
        self.conv2 = conv(shape.mid_channels, shape.out_channels, 3)
        self.norm2 = make_norm(normalization, shape.out_channels)
        self.shortcut = _make_shortcut(shape, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        out = functional.relu_(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu_(out)


class Bottleneck(nn.Module):
    """``BNB`` and ``XB``: 1x1, 3x3 (with the stride, and for ``XB`` in 32 groups), 1x1."""

    def __init__(self, shape: BlockShape, normalization: str = "batch", groups: int = 1) -> None:
        """Build the block that `shape` describes."""
        super().__init__()
        self.conv1 = conv(shape.in_channels, shape.mid_channels, 1)
        self.norm1 = make_norm(normalization, shape.mid_channels)
        self.conv2 = conv(shape.mid_channels, shape.mid_channels, 3, shape.stride, groups)
        self.norm2 = make_norm(normalization, shape.mid_channels)
        self.conv3 = conv(shape.mid_channels, shape.out_channels, 1)
        self.norm3 = make_norm(normalization, shape.out_channels)
        self.shortcut = _make_shortcut(shape, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        out = functional.relu_(self.norm1(self.conv1(x)))
        out = functional.relu_(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        out += self.shortcut(x)
        return functional.relu_(out)


def make_block(block_type: str, shape: BlockShape, normalization: str = "batch") -> nn.Module:
    """The block of one type (``BB``, ``BNB`` or ``XB``) and shape."""
    if block_type == "BB":
        return BasicBlock(shape, normalization)
    return Bottleneck(shape, normalization, groups=XB_GROUPS if block_type == "XB" else 1)


class DeepStem(nn.Module):
    """The paper's stem: two strided 3x3 convolutions, 3 -> n -> n."""

    def __init__(self, channels: int, normalization: str = "batch") -> None:
        """Build it for `channels` = n."""
        super().__init__()
        self.conv1 = conv(3, channels, 3, 2)
        self.norm1 = make_norm(normalization, channels)
        self.conv2 = conv(channels, channels, 3, 2)
        self.norm2 = make_norm(normalization, channels)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, n, ceil(H / 4), ceil(W / 4)]."""
        out = functional.relu_(self.norm1(self.conv1(images)))
        return functional.relu_(self.norm2(self.conv2(out)))


class ResNetStem(nn.Module):
    """ResNet's stem: a strided 7x7 convolution, 3 -> n, and a strided 3x3 max-pool."""

    def __init__(self, channels: int, normalization: str = "batch") -> None:
        """Build it for `channels` = n."""
        super().__init__()
        self.conv = conv(3, channels, 7, 2)
        self.norm = make_norm(normalization, channels)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, n, ceil(H / 4), ceil(W / 4)]."""
        out = functional.relu_(self.norm(self.conv(images)))
        return functional.max_pool2d(out, kernel_size=3, stride=2, padding=1)
