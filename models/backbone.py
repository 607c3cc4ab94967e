"""The backbone of any encoding, and the way into it for torchvision's ResNet weights.

Invariant: the state's keys tell where a block stands, ``stem.*``, ``stages.{stage}.{block}.*`` and
``subnets.{stage}.{k}.{up,blocks.{block}}.*`` (all from 0), so that `inheritance` can morph weights by key
alone.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from models.architecture import Architecture, NetworkSpec
from models.blocks import DeepStem, ResNetStem, make_block
from models.families import as_spec
from models.subnets import Subnet
from models.wording import one_line


class Backbone(nn.Module):
    """Stem, serial stages and their parallel subnets, built from a spec."""

    def __init__(self, spec: NetworkSpec, normalization: str = "batch") -> None:
        """Build the network with fresh weights.

        Args:
            spec: what to build.
            normalization: see `models.blocks.make_norm`.
        """
        super().__init__()
        self.spec = spec
        block_type = spec.architecture.block
        num_subnets = spec.architecture.subnets or (0,) * len(spec.stages)
        stem = DeepStem if spec.stem == "deep" else ResNetStem
        self.stem = stem(spec.base_channels, normalization)
        self.stages = nn.ModuleList(
            nn.Sequential(*(make_block(block_type, shape, normalization) for shape in shapes)) for shapes in spec.stages
        )
        self.subnets = nn.ModuleList(
            nn.ModuleList(Subnet(block_type, shapes, normalization) for _ in range(count))
            for shapes, count in zip(spec.stages, num_subnets, strict=True)
        )

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Compute one feature map per stage.

        Args:
            images: [B, 3, H, W], normalised as the weights expect.

        Returns:
            ``stage1`` to ``stageL``; stage l is [B, C_l, ceil(H / 2^(l+1)), ceil(W / 2^(l+1))], C_l from
            ``spec.stage_channels``.
        """
        features: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(images)
        for index, (stage, subnets) in enumerate(zip(self.stages, self.subnets, strict=True), start=1):
            incoming, x = x, stage(x)
            for subnet in subnets.children():
                x = subnet(incoming, x)
            features[f"stage{index}"] = x
        return features


def build_backbone(
    architecture: Architecture | NetworkSpec | str,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str = "batch",
) -> Backbone:
    """Build a backbone with fresh weights.

    Args:
        architecture: an encoding, a name of the zoo, or a spec, which then says stem, base channels and shortcuts
            itself.
        stem: ``deep`` (the paper's) or ``resnet`` (for torchvision's weights); None is a name's own, else ``deep``.
        base_channels: channels of the stem's output, 64 in the paper.
        normalization: ``batch``, ``sync``, ``frozen`` or ``group``.

    Raises:
        ValueError: for a malformed encoding or unknown name, an unknown stem or normalisation, or base channels that
            XB can't use.
    """
    spec = as_spec(architecture, stem, base_channels)
    if not isinstance(spec, NetworkSpec):
        raise ValueError(f"architecture: {spec.architecture} is a multi-scale network; build a MultiScaleEncoder of it")
    return Backbone(spec, normalization)


_TORCHVISION_STEM = {"conv1": "stem.conv", "bn1": "stem.norm"}
_TORCHVISION_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")


def load_torchvision_weights(backbone: Backbone, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the weights of a torchvision ResNet or ResNeXt into a backbone of the same structure.

    The classifier (``fc.*``) is left out. With ``BNB(111,d111,d11111,d11)`` and the ``resnet`` stem the
    features are ResNet-50's.

    Args:
        backbone: the ``resnet`` stem, the same blocks, fresh shortcuts.
        state_dict: torchvision's, for example ``torchvision.models.resnet50().state_dict()``.

    Raises:
        ValueError: naming the keys, if the structures differ.
    """
    renamed = {_from_torchvision(key): tensor for key, tensor in state_dict.items() if not key.startswith("fc.")}
    own = backbone.state_dict()
    # frozen normalisation keeps no count of batches, group normalisation no statistics
    renamed = {k: v for k, v in renamed.items() if k in own or not k.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - renamed.keys())
    left_over = sorted(renamed.keys() - own.keys())
    misfits = sorted(k for k in own.keys() & renamed.keys() if own[k].shape != renamed[k].shape)
    if missing or left_over or misfits:
        raise ValueError(
            f"these torchvision weights are not of {backbone.spec.architecture} with stem "
            f"{backbone.spec.stem!r} and {backbone.spec.base_channels} base channels "
            f"(they need stem 'resnet'): missing {few(missing)}; left over {few(left_over)}; "
            f"of another shape {few(misfits)}"
        )
    backbone.load_state_dict(renamed)


def _from_torchvision(key: str) -> str:
    """Our name for torchvision's; a key of unknown form keeps its own."""
    module, _, tensor = key.partition(".")
    if module in _TORCHVISION_STEM:
        return f"{_TORCHVISION_STEM[module]}.{tensor}"
    match = _TORCHVISION_BLOCK.fullmatch(key)
    if match is None:
        return key
    layer, block, kind, number, tensor = match.groups()
    if kind == "downsample.":
        name = "shortcut.conv" if number == "0" else "shortcut.norm"
    else:
        name = f"{'norm' if kind == 'bn' else 'conv'}{number}"
    return f"stages.{int(layer) - 1}.{block}.{name}.{tensor}"


def few(keys: list[str]) -> str:
    """The first few of these keys, for a message."""
    if not keys:
        return "nothing"
    return ", ".join(one_line(key, 100) for key in keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
