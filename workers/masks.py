"""Objects' pixels between the stored image, where data and metrics have them, and the resized one of a detector.

Invariant: a mask that is drawn at the size it was stored in is that mask to the last pixel.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from workers.data.interface import Mask, Target

THRESHOLD = 0.5
"""Pixels of at least this probability are the object's (Mask R-CNN, section 3.1)."""


def encoded(pixels: NDArray[np.bool_]) -> Mask:
    """One object's pixels, [height, width], as runs."""
    mask: Mask = run_lengths.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return mask


def resized_masks(target: Target, height: int, width: int) -> NDArray[np.uint8]:
    """The masks of a target's objects that are not ignored, [N, height, width], 1 where an object is.

    Each pixel takes the nearest one of the stored image; where the image has been padded, nothing is.

    Raises:
        ValueError: if the data set has no masks.
    """
    if target.masks is None:
        raise ValueError(
            f"detector.mask: image {target.image_id} of the data set has no masks; set detector.mask to false, or take "
            "data with masks, such as COCO's"
        )
    kept = [mask for mask, ignored in zip(target.masks, target.ignore, strict=True) if not ignored]
    pixels = np.zeros((len(kept), height, width), dtype=np.uint8)
    if kept:
        stored = run_lengths.decode(kept).transpose(2, 0, 1)
        rows, columns = (
            _nearest(stored.shape[axis], scale, most)
            for axis, scale, most in zip((1, 2), target.scale, (height, width), strict=True)
        )
        pixels[:, : len(rows), : len(columns)] = stored[:, rows][:, :, columns]
    return pixels


def stored_masks(target: Target, image_size: tuple[int, int], boxes: Tensor, masks: Tensor) -> tuple[Mask, ...]:
    """Detected masks in the stored image.

    Args:
        target: of the image, which says how it was resized.
        image_size: height and width of the resized image.
        boxes: [D, 4] in pixels of it.
        masks: [D, 1, M, M], probabilities within the boxes.
    """
    height, width = target.scale
    if target.masks:
        size = target.masks[0]["size"]
    else:
        size = [round(image_size[0] / height), round(image_size[1] / width)]
    boxes, masks = boxes.cpu() / torch.tensor([width, height, width, height]), masks.cpu()
    # one at a time: the masks of a hundred objects in a large image would fill hundreds of megabytes
    pasted = (paste_masks_in_image(masks[[d]], boxes[[d]], tuple(size))[0, 0] for d in range(len(boxes)))
    return tuple(encoded(mask.numpy() >= THRESHOLD) for mask in pasted)


def _nearest(length: int, scale: float, most: int) -> NDArray[np.int64]:
    """The stored row (or column) nearest to each resized one, whose centres lie at halves."""
    number = min(round(length * scale), most)
    nearest: NDArray[np.int64] = np.minimum((np.arange(number) + 0.5) / scale, length - 1).astype(np.int64)
    return nearest
