"""Objects' pixels between the stored image, where data and metrics have them, and the resized one of a detector.

Invariant: a mask that is drawn at the size it was stored in is that mask to the last pixel.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from torch import Tensor
from torch.nn import functional

from workers.data.interface import Mask, Target

THRESHOLD = 0.5
"""Pixels of at least this probability are the object's (Mask R-CNN, section 3.1)."""

MIN_SIDE = 1e-6
"""Boxes of less, in pixels, hold no pixel's centre but by chance."""


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
    stored = (boxes.cpu() / torch.tensor([width, height, width, height])).tolist()
    return tuple(encoded(_pasted(mask, box, size)) for mask, box in zip(masks.float().cpu(), stored, strict=True))


def _pasted(mask: Tensor, box: Sequence[float], size: Sequence[int]) -> NDArray[np.bool_]:
    """The pixels of an image where a mask, [1, M, M] over a box, is above the threshold.

    Each pixel asks for the mask at its centre, as in detectron2 and mmdetection; torchvision's own pasting rounds the
    box's corners down. Outside of the box a mask is zero, so that it falls to one half at the box's edges.
    """
    pixels = np.zeros(size, dtype=np.bool_)
    left, top, right, bottom = box
    first_row, rows = _centres(top, bottom, size[0])
    first_column, columns = _centres(left, right, size[1])
    if len(rows) and len(columns):
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        found = functional.grid_sample(mask[None], grid[None], padding_mode="zeros", align_corners=False)[0, 0]
        region = np.s_[first_row : first_row + len(rows), first_column : first_column + len(columns)]
        pixels[region] = found.numpy() >= THRESHOLD
    return pixels


def _centres(start: float, end: float, length: int) -> tuple[int, Tensor]:
    """The first pixel whose centre lies in a span, and where such centres are in it, from -1 to 1."""
    first, last = max(0, math.ceil(start - 0.5)), min(length - 1, math.floor(end - 0.5))
    return first, (torch.arange(first, max(first, last + 1)) + (0.5 - start)) * (2 / max(end - start, MIN_SIDE)) - 1


def _nearest(length: int, scale: float, most: int) -> NDArray[np.int64]:
    """The stored row (or column) nearest to each resized one, whose centres lie at halves."""
    number = min(round(length * scale), most)
    nearest: NDArray[np.int64] = np.minimum((np.arange(number) + 0.5) / scale, length - 1).astype(np.int64)
    return nearest
