"""A backbone as a list of feature maps, in the way of timm's ``features_only`` networks.

Invariant: entry i of ``feature_info`` says the channels and the stride of entry i of what `forward` returns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from models.backbone import Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """One map, under timm's names.

    Attributes:
        num_chs: its channels.
        reduction: its stride: pixels of the image for each of its own.
        module: the name of the stage that gives it.
        index: the stage's number, from 0.
    """

    num_chs: int
    reduction: int
    module: str
    index: int


class FeatureInfo(Sequence[FeatureMap]):
    """What is known of the maps before any image is seen; the part of timm's class of this name that users ask."""

    def __init__(self, maps: Sequence[FeatureMap]) -> None:
        """Keep the maps in order."""
        self._maps = tuple(maps)

    def channels(self) -> list[int]:
        """The channels of each map."""
        return [item.num_chs for item in self._maps]

    def reduction(self) -> list[int]:
        """The stride of each map."""
        return [item.reduction for item in self._maps]

    def module_name(self) -> list[str]:
        """The stage of each map."""
        return [item.module for item in self._maps]

    def get_dicts(self) -> list[dict[str, int | str]]:
        """All of it, as timm has it."""
        return [asdict(item) for item in self._maps]

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._maps[index]

    def __iter__(self) -> Iterator[FeatureMap]:
        return iter(self._maps)


class FeatureList(nn.Module):
    """A backbone that returns the maps of some of its stages as a list, the finest first."""

    def __init__(self, body: Backbone, out_indices: Sequence[int] | None = None) -> None:
        """Wrap a backbone, whose weights are shared.

        Args:
            body: the backbone.
            out_indices: numbers of the stages, from 0, rising; None is all. Negative ones count from the last.

        Raises:
            ValueError: if there is no such stage, or the order is another.
        """
        super().__init__()
        channels = body.spec.stage_channels
        count = len(channels)
        wanted = list(range(count)) if out_indices is None else list(out_indices)
        if not wanted or any(not -count <= index < count for index in wanted):
            raise ValueError(f"out_indices: {wanted} are no numbers of the {count} stages; use 0 to {count - 1}")
        wanted = [index % count for index in wanted]
        if wanted != sorted(set(wanted)):
            raise ValueError(f"out_indices: {wanted} do not rise")
        self.body = body
        self.out_indices = tuple(wanted)
        self.feature_info = FeatureInfo(
            [
                FeatureMap(num_chs=channels[index], reduction=4 * 2**index, module=f"stage{index + 1}", index=index)
                for index in wanted
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, ceil(H / reduction), ceil(W / reduction)] per map."""
        features = self.body(images)
        return [features[item.module] for item in self.feature_info]
