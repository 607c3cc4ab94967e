"""The FLOPs window that MSNAS's samples stay within (section 4.1).

Invariant: a network is within it if its multiply-adds, those of encoder and RPN alone, are at most a share of the
target from it.
"""

from dataclasses import dataclass
from typing import Self

from models.detector_shape import DetectorShape
from models.msnas_costs import multi_scale_costs
from models.msnas_encoding import FEATURE_STRIDES, MultiScale, MultiScaleSpec
from orchestrator.search.settings import SearchSettings


@dataclass(frozen=True, slots=True)
class FlopsWindow:
    """What samples may cost.

    Attributes:
        target_macs: multiply-adds that they are to have.
        share: how far they may be from that, as a share of it.
        stem: of every sample.
        shape: the detector's.
        image_size: height and width that they are counted for.
    """

    target_macs: float
    share: float
    stem: str
    shape: DetectorShape
    image_size: tuple[int, int]

    @classmethod
    def of(cls, settings: SearchSettings) -> Self:
        """The window of a search; without a target it is around the start network."""
        start, evolution, coarsest = settings.start, settings.evolution, FEATURE_STRIDES[-1]
        assert isinstance(start, MultiScaleSpec), f"{start.architecture} has no super-net"
        height, width = evolution.image_size or (-(-side // coarsest) * coarsest for side in settings.image_size)
        if evolution.target_gflops is not None:
            target = evolution.target_gflops * 1e9
        else:
            target = float(multi_scale_costs(start, settings.detector, height, width).macs)
        return cls(target, evolution.flops_window, start.stem, settings.detector, (height, width))

    def macs(self, network: MultiScale) -> int:
        """Multiply-adds of its encoder and RPN."""
        return multi_scale_costs(MultiScaleSpec(network, self.stem), self.shape, *self.image_size).macs

    def holds(self, network: MultiScale) -> bool:
        """Whether a network costs what it may."""
        return abs(self.macs(network) - self.target_macs) <= self.share * self.target_macs
