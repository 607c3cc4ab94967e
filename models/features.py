"""A backbone or a multi-scale encoder as a list of feature maps, in the way of timm's ``features_only`` networks.

Invariant: ``feature_info.channels()[i]`` and ``feature_info.reduction()[i]`` are those of entry i of what `forward`
returns. As in timm, what is asked of a number is asked of the stage of that number, whatever the maps are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from models.backbone import Backbone
from models.msnas import MultiScaleEncoder

Stage = dict[str, int | str]
"""What is known of a stage, under timm's names: ``num_chs``, its channels; ``reduction``, its stride; ``module``, its
name; ``index``, its number, from 0."""


class FeatureInfo:
    """What is known of the maps before any image is seen; the part of timm's class of this name that users ask.

    Everywhere ``idx`` is None for each map that is given, else the number or numbers of stages.
    """

    def __init__(self, stages: Sequence[Stage], out_indices: Sequence[int]) -> None:
        """Keep all stages, and the numbers of those whose maps are given."""
        self.info = list(stages)
        self.out_indices = tuple(out_indices)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """A value of each map, of a stage, or of each of some stages."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[index][key] for index in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """All that is known, or what some keys stand for, as `get` gives it."""
        if isinstance(idx, int):
            return self.info[idx] if keys is None else {key: self.info[idx][key] for key in keys}
        return [self.get_dicts(keys, index) for index in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """The channels."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """The stride: pixels of the image for each of a map's own."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The name of the stage."""
        return self.get("module", idx)

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> Stage:
        return self.info[index]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.info)


class FeatureList(nn.Module):
    """A backbone that returns the maps of some of its stages as a list, the finest first.

    Of a multi-scale encoder the stages are the features that heads read, each once.
    """

    def __init__(self, body: Backbone | MultiScaleEncoder, out_indices: Sequence[int] | None = None) -> None:
        """Wrap a backbone, whose weights are shared.

        Args:
            body: the backbone; a multi-scale encoder takes images whose sides are multiples of 64 only.
            out_indices: numbers of the stages, from 0, rising; None is all. Negative ones count from the last.

        Raises:
            ValueError: if there is no such stage, or the order is another.
        """
        super().__init__()
        stages = _stages(body)
        count = len(stages)
        wanted = list(range(count)) if out_indices is None else list(out_indices)
        if not wanted or any(not -count <= index < count for index in wanted):
            raise ValueError(f"out_indices: {wanted} are no numbers of the {count} stages; use 0 to {count - 1}")
        wanted = [index % count for index in wanted]
        if wanted != sorted(set(wanted)):
            raise ValueError(f"out_indices: {wanted} do not rise")
        self.body = body
        self.out_indices = tuple(wanted)
        self.feature_info = FeatureInfo(stages, wanted)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, ceil(H / reduction), ceil(W / reduction)] per map."""
        features = self.body(images)
        return [features[name] for name in self.feature_info.module_name()]


def _stages(body: Backbone | MultiScaleEncoder) -> list[Stage]:
    if isinstance(body, Backbone):
        widths, strides = body.spec.stage_channels, [4 * 2**index for index in range(len(body.spec.stage_channels))]
        names = [f"stage{number}" for number in range(1, len(widths) + 1)]
    else:
        heads = body.spec.architecture.heads
        strides = sorted(set(heads))
        widths = (body.spec.architecture.out_channels,) * len(strides)
        names = [str(heads.index(stride)) for stride in strides]
    return [
        {"num_chs": width, "reduction": stride, "module": name, "index": index}
        for index, (width, stride, name) in enumerate(zip(widths, strides, names, strict=True))
    ]
