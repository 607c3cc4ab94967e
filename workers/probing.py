"""Measuring a detector at some steps of its training, for who asks how it gets there.

Invariant: what is measured changes nothing of the training: weights, statistics and all that draws stay as they are.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain, islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection import FasterRCNN

from workers.batches import Pick, batches_by_size
from workers.data.interface import DetectionSet
from workers.data.loading import Loaders
from workers.examples import Example, example_of
from workers.loop import OnImages, stopping_together
from workers.metric_names import LOSS, PROBED, at_step
from workers.world import World

LossOf = Callable[[nn.Module, list[Example]], Tensor]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Whatever is evaluated within, the model goes on in training, and torch draws as if nothing had been."""
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            model.train()


def mean_loss(
    model: FasterRCNN,
    split: DetectionSet,
    loss_of: LossOf,
    *,
    masks: bool,
    batch_size: int,
    on_images: OnImages,
    world: World,
    loaders: Loaders,
) -> float | None:
    """The loss of a detector over a split, as its training has it: a mean over batches, weighted by their images.

    Normalisations use their running statistics, and an image's sampler seed is its number; so equal weights give equal
    losses at any step of any training with the same size of a batch.

    Args:
        model: its parts are left in different modes; see `undisturbed`.
        split: what to evaluate on.
        loss_of: the mean loss of a batch.
        masks: whether the detector learns masks.
        batch_size: the most images per forward pass, over all ranks.
        on_images: told how many images are done before each batch.
        world: the ranks that share the split; all but the first get None.
        loaders: read images ahead.
    """
    device = next(model.parameters()).device
    model.train()
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
    share_size = max(1, batch_size // world.size)
    mine = batches_by_size(
        split.size, range(world.rank, len(split), world.size), share_size, divisor=model.transform.size_divisible
    )

    def load(index: int) -> Example:
        return example_of(split, Pick(index=index, seed=index), device, scales=None, masks=masks)

    total, num_done = 0.0, 0
    with (
        stopping_together(world),
        torch.inference_mode(),
        closing(loaders.map(load, chain.from_iterable(mine), batch_size=share_size)) as loaded,
    ):
        for chosen in mine:
            on_images(num_done * world.size)
            total += loss_of(model, list(islice(loaded, len(chosen)))).item() * len(chosen)
            num_done += len(chosen)
    shares = world.gather(total)
    return sum(shares) / len(split) if world.is_first else None


def probed(step: int, metrics: Mapping[str, float], loss: float | None) -> dict[str, float]:
    """What is kept of a measurement before a step, by names that say which; a loss that is not finite is left out."""
    kept = {name: metrics[name] for name in PROBED if name in metrics}
    if loss is not None and math.isfinite(loss):
        kept[LOSS] = loss
    return {at_step(step, name): value for name, value in kept.items()}
