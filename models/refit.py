"""The lateral refit: a changed backbone under an unchanged pyramid (what SP-NAS's swap needs, section 3.1).

When a stride moves past a doubling, a stage's map gets other channels, and the pyramid's lateral 1x1
convolution of that level no longer fits; after reignition every map means something else. The convolution
that reproduces the old lateral's output best, in the sense of least squares on some training images, keeps
most of the detector's accuracy.

Invariant: the same detectors and images give the same laterals; nothing but these laterals changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

RIDGE = 1e-4
"""Regularisation, relative to the mean of the features' variances."""

_MAX_POSITIONS = 4096
"""Positions used per image and level: neighbours on large maps tell the same."""


def refit_laterals(
    old_detector: FasterRCNN,
    new_detector: FasterRCNN,
    images: Sequence[Tensor],
    levels: Iterable[int] | None = None,
    *,
    batch_size: int = 8,
) -> dict[int, float]:
    """Fit the new detector's lateral convolutions to what the old one's give.

    This is ridge regression in double precision. Both networks run in evaluation mode on the same images, and
    memory does not grow with the number of images.

    Args:
        old_detector: before the change, with its weights.
        new_detector: after it, with inherited weights; its laterals are overwritten.
        images: [3, H, W] in [0, 1], as the detectors take them; 64 training images are enough.
        levels: which pyramid levels, from 0; by default those whose channels changed. After reignition, all.
        batch_size: images per forward pass.

    Returns:
        For each refitted level the share of the old output's variance that the new one explains (R2, at
        most 1).

    Raises:
        ValueError: if the pyramids have different levels or channels, or there are no images.
    """
    old_laterals, new_laterals = _laterals(old_detector), _laterals(new_detector)
    if [old.out_channels for old in old_laterals] != [new.out_channels for new in new_laterals]:
        raise ValueError("refit_laterals: the two detectors' pyramids differ in levels or channels")
    if levels is None:
        pairs = enumerate(zip(old_laterals, new_laterals, strict=True))
        levels = [level for level, (old, new) in pairs if old.in_channels != new.in_channels]
    fits = {
        level: _LeastSquares(new_laterals[level].in_channels, new_laterals[level].out_channels, _device(new_detector))
        for level in levels
    }
    if not fits:
        return {}
    if not images:
        raise ValueError("refit_laterals: no images to fit to")

    with torch.no_grad(), _evaluating(old_detector), _evaluating(new_detector):
        for start in range(0, len(images), batch_size):
            batch = [image.to(_device(new_detector)) for image in images[start : start + batch_size]]
            tensors = new_detector.transform(batch)[0].tensors
            old_maps = old_detector.backbone.padded_features(tensors)
            new_maps = new_detector.backbone.padded_features(tensors)
            for level, fit in fits.items():
                fit.add(new_maps[str(level)], old_laterals[level](old_maps[str(level)]))
        return {level: fit.solve_into(new_laterals[level]) for level, fit in fits.items()}


class _LeastSquares:
    """Sums from which a 1x1 convolution y = W x + b can be fitted."""

    def __init__(self, num_inputs: int, num_outputs: int, device: torch.device) -> None:
        size = num_inputs + num_outputs
        self.num_inputs = num_inputs
        self.count = 0
        self.sums = torch.zeros(size, dtype=torch.float64, device=device)
        self.products = torch.zeros(size, size, dtype=torch.float64, device=device)

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Take in maps [B, inputs, H, W] and [B, outputs, H, W]."""
        step = -(-inputs.shape[-2] * inputs.shape[-1] // _MAX_POSITIONS)
        joined = torch.cat((inputs.flatten(2), outputs.flatten(2)), dim=1)[:, :, ::step]
        rows = joined.transpose(1, 2).flatten(0, 1).double()
        self.count += len(rows)
        self.sums += rows.sum(dim=0)
        self.products.addmm_(rows.T, rows)

    def solve_into(self, lateral: nn.Conv2d) -> float:
        """Write the solution into a convolution; the share of the outputs' variance it explains."""
        cut = self.num_inputs
        mean = self.sums / self.count
        covariance = self.products / self.count - mean.outer(mean)
        inputs, cross = covariance[:cut, :cut], covariance[:cut, cut:]
        # the last term lets features that never vary have weight zero
        ridge = RIDGE * inputs.diagonal().mean() + torch.finfo(torch.float64).tiny ** 0.5
        solution = torch.linalg.solve(inputs + ridge * torch.eye(cut, dtype=torch.float64, device=mean.device), cross)
        lateral.weight.copy_(solution.T[:, :, None, None])
        assert lateral.bias is not None
        lateral.bias.copy_(mean[cut:] - mean[:cut] @ solution)

        total = covariance.diagonal()[cut:].sum()
        residual = total - 2 * (solution * cross).sum() + (solution * (inputs @ solution)).sum()
        return float(1 - residual / total) if total > 0 else 1.0


def _laterals(detector: FasterRCNN) -> list[nn.Conv2d]:
    return [block[0] for block in detector.backbone.fpn.inner_blocks]


def _device(detector: FasterRCNN) -> torch.device:
    parameter: Tensor = next(detector.parameters())
    return parameter.device


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module then returns to its own mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
