"""The padded feature pyramid: as many levels as stages are allowed, whatever the backbone has.

torchvision's `FeaturePyramidNetwork` is always built for `max_stages` inputs. The inputs of stages that do
not exist yet are the last stage's map, subsampled by 2 again and again.

Invariant: levels, names and state keys stay the same over a whole search; and a stage opened by `NewStage`,
which subsamples in just this way, leaves every level's output bit-equal. The outputs have the images' type,
float32, whatever they were computed in: a box coded in bfloat16 would be off by several pixels.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from models.backbone import Backbone


class Pyramid(nn.Module):
    """A backbone (``body``) and the pyramid on it (``fpn``), as torchvision's detectors want it."""

    def __init__(self, body: Backbone, channels: int, max_stages: int, *, bfloat16: bool = False) -> None:
        """Put a pyramid on a backbone.

        Args:
            body: the backbone.
            channels: of every level's output.
            max_stages: number of levels.
            bfloat16: compute in bfloat16 by autocast, which tensor cores want.

        Raises:
            ValueError: if the backbone has more stages than that.
        """
        super().__init__()
        stage_channels = body.spec.stage_channels
        if len(stage_channels) > max_stages:
            raise ValueError(
                f"max_stages: {max_stages} pyramid levels are too few for {body.spec.architecture}, "
                f"which has {len(stage_channels)} stages"
            )
        self.body = body
        self.max_stages = max_stages
        self.computes_in_bfloat16 = bfloat16
        self.out_channels = channels
        padding = (stage_channels[-1],) * (max_stages - len(stage_channels))
        self.fpn = FeaturePyramidNetwork([*stage_channels, *padding], channels)

    def padded_features(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """The pyramid's inputs: [B, 3, H, W] -> one [B, C_l, ceil(H / 2^(l+2)), ...] per level l = 0, 1, ...

        They are named ``"0"``, ``"1"``, ... up to `max_stages` - 1.
        """
        maps = list(self.body(images).values())
        while len(maps) < self.max_stages:
            maps.append(functional.max_pool2d(maps[-1], kernel_size=1, stride=2))
        return OrderedDict((str(level), features) for level, features in enumerate(maps))

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """[B, 3, H, W] -> the pyramid's outputs, with `out_channels` channels each, under the same names."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.computes_in_bfloat16):
            levels = self.fpn(self.padded_features(images))
        return OrderedDict((name, level.to(images.dtype)) for name, level in levels.items())
