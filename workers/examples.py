"""One image of a detector's batch: read, resized once more where the recipe says so, flipped, with its target.

Invariant: an example depends on its image, its pick and the recipe alone; not on the images beside it, nor on the rank
and thread that makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from workers.batches import Pick
from workers.data.interface import DetectionSet, Image, Target
from workers.masks import resized_masks

_SCALE = 1  # tells what is drawn for the scale from what others draw with the same seed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """What a detector is trained on.

    Attributes:
        image: uint8 [3, height, width], not on the device yet.
        target: torchvision's, beside it.
        seed: of what is drawn for it later.
    """

    image: Tensor
    target: dict[str, Tensor]
    seed: int


def example_of(
    split: DetectionSet, pick: Pick, device: torch.device, *, scales: tuple[float, float] | None, masks: bool
) -> Example:
    """Read one.

    Args:
        split: what it is taken from.
        pick: which one, and what was drawn for it.
        device: where it is going to be used.
        scales: between which a factor of its size is drawn, if it is.
        masks: whether it has those of its objects.

    Raises:
        ValueError: if the image is broken.
        OSError: if it can't be read.
    """
    image, target = split.image(pick.index), split.target(pick.index)
    if scales is not None:
        image, target = rescaled(image, target, np.random.default_rng([pick.seed, _SCALE]).uniform(*scales))
    pixels = torch.from_numpy(image)
    boxes = target.boxes[~target.ignore]
    if pick.flip:
        boxes = boxes[:, [2, 1, 0, 3]]
        boxes[:, [0, 2]] = image.shape[2] - boxes[:, [0, 2]]
    found = {
        "boxes": torch.from_numpy(np.ascontiguousarray(boxes)),
        "labels": torch.from_numpy(target.labels[~target.ignore]),
    }
    if masks:
        found["masks"] = torch.from_numpy(resized_masks(target, *image.shape[1:]))
    if pick.flip:
        pixels = pixels.flip(2)
        found |= {"masks": found["masks"].flip(2)} if masks else {}
    return Example(
        image=staged(pixels, device),
        target={name: staged(tensor, device) for name, tensor in found.items()},
        seed=pick.seed,
    )


def rescaled(image: Image, target: Target, factor: float) -> tuple[Image, Target]:
    """An image and its boxes at another size; each side is rounded to a pixel."""
    height, width = (max(1, round(factor * side)) for side in image.shape[1:])
    if (height, width) == image.shape[1:]:
        return image, target
    resized = np.empty((3, height, width), dtype=np.uint8)
    for channel, pixels in zip(resized, image, strict=True):
        channel[:] = PillowImage.fromarray(pixels).resize((width, height), PillowImage.Resampling.BILINEAR)
    by_height, by_width = height / image.shape[1], width / image.shape[2]
    return resized, replace(
        target,
        boxes=target.boxes * np.array([by_width, by_height, by_width, by_height], dtype=np.float32),
        scale=(target.scale[0] * by_height, target.scale[1] * by_width),
    )


def batch_of(examples: Sequence[Example], device: torch.device) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images in [0, 1] and targets on the device."""
    return (
        [scaled(example.image, device) for example in examples],
        [
            {name: tensor.to(device, non_blocking=True) for name, tensor in example.target.items()}
            for example in examples
        ],
    )


def staged(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor from where it can be copied to the device while others compute: for CUDA, memory that is locked."""
    if device.type != "cuda":
        return tensor
    with torch.cuda.device(device):  # a loader's thread has none of its own
        return tensor.pin_memory()


def scaled(pixels: Tensor, device: torch.device) -> Tensor:
    """Bytes to float32 in [0, 1] on the device."""
    return pixels.to(device, non_blocking=True).float().div_(255)
