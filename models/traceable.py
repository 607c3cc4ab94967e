"""Detectors as programs: one image in, its detections out, in operations that an exporter can follow.

torchvision's parts are used as they are, but for what a tracer would fix at the size of one example, or can't follow
at all: the padding of images, the choice of the best proposals, non-maximum suppression, and the pooling of RoIs.

Invariant: a `TraceableDetector` gives what its detector gives for the image alone. The order of detections with equal
scores may differ, and suppression compares boxes that were moved apart, which rounds them in float32: with 80 classes
and images of 1100 pixels to 1/128 pixel. An overlap that near to the threshold may be judged otherwise, and what it
suppresses with it. (torchvision moves them, too, up to 1000 boxes; ONNX suppresses no doubles, and a suppression for
each class would make programs of a size that grows with the classes.)
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection import _utils as detection_utils
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, nms, roi_align
from torchvision.ops import boxes as box_ops

from models.detector_shape import MAX_SIDE
from models.msnas import MultiScaleEncoder
from models.msnas_encoding import FEATURE_STRIDES


class TraceableDetector(nn.Module):
    """A copy of a detector for one image at a time, of any size."""

    mean: Tensor
    std: Tensor

    def __init__(self, detector: FasterRCNN) -> None:
        """Copy a detector; the copy is in evaluation mode and needs no gradients."""
        super().__init__()
        detector = copy.deepcopy(detector).eval().requires_grad_(False)
        for module in list(detector.modules()):
            for name, child in module.named_children():
                if isinstance(child, MultiScaleRoIAlign):
                    setattr(module, name, _TraceableRoIAlign(child))
        self.backbone, self.rpn, self.roi_heads = detector.backbone, detector.rpn, detector.roi_heads
        self.divisor: int = detector.transform.size_divisible
        self.register_buffer("mean", torch.tensor(detector.transform.image_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(detector.transform.image_std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Detect.

        Args:
            image: float32 [3, H, W] in [0, 1], resized as for training.

        Returns:
            ``boxes`` [D, 4] in the image's pixels, ``labels`` int64 [D] from 1 and ``scores`` [D], the best first; and
            of a detector with masks ``masks`` [D, 1, M, M], probabilities within each box.
        """
        height, width = image.shape[-2:]
        padded = _padded(((image - self.mean) / self.std)[None], self.divisor)
        sizes = [(height, width)]
        features = self.backbone(padded)
        proposals, _ = self.rpn(ImageList(padded, sizes), features)
        (detected,), _ = self.roi_heads(features, proposals, sizes)
        found: dict[str, Tensor] = detected
        return found


class PaddedEncoder(nn.Module):
    """A multi-scale encoder for images of any size: zeros fill them up, at the right and below, to multiples of 64."""

    def __init__(self, encoder: MultiScaleEncoder) -> None:
        """Wrap an encoder, whose weights are shared."""
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W], normalised -> what the encoder gives for the images filled up."""
        features: dict[str, Tensor] = self.encoder(_padded(images, FEATURE_STRIDES[-1]))
        return features


def _padded(images: Tensor, divisor: int) -> Tensor:
    """Images with zeros at the right and below, so that their sides are multiples of a number."""
    height, width = images.shape[-2:]
    rows, columns = _tiles(height, divisor), _tiles(width, divisor)
    return functional.pad(images, (0, columns * divisor - width, 0, rows * divisor - height))


def _tiles(side: int, divisor: int) -> int:
    """How many times the divisor a side is padded to; of a side that a tracer does not know, as a size of its own.

    Every later size follows from this one. As a formula of the image's side it would grow from level to level, and a
    tracer would have to prove, slowly, of each formula that it is positive, or not 1.
    """
    count = (side + divisor - 1) // divisor
    if isinstance(side, torch.SymInt):
        count = torch.scalar_tensor(count, dtype=torch.int64).item()  # a SymInt again
        torch._check(count >= 1)
        torch._check(count <= MAX_SIDE // divisor)
    return count


class _TraceableRoIAlign(nn.Module):
    """torchvision's `MultiScaleRoIAlign` for one image, whose RoIs' number is unknown."""

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.names = list(pool.featmap_names)
        self.output_size = pool.output_size
        self.sampling_ratio = pool.sampling_ratio
        self.scales, self.level_of = pool.scales, pool.map_levels

    def forward(self, features: Mapping[str, Tensor], boxes: list[Tensor], _: list[tuple[int, int]]) -> Tensor:
        """[R, 4] -> [R, C, size, size]."""
        (rois,) = boxes
        maps = [features[name] for name in self.names]
        levels = self.level_of(boxes)
        indexed = torch.cat([torch.zeros_like(rois[:, :1]), rois], dim=1)
        pooled = rois.new_zeros((rois.shape[0], maps[0].shape[1], *self.output_size))
        for number, (level, scale) in enumerate(zip(maps, self.scales, strict=True)):
            chosen = torch.where(levels == number)[0]
            pooled = pooled.index_copy(
                0, chosen, roi_align(level, indexed[chosen], self.output_size, scale, self.sampling_ratio)
            )
        return pooled


@contextmanager
def traceable_torchvision() -> Iterator[None]:
    """Within this, torchvision's detectors choose, suppress and decode in a way that a tracer can follow."""
    coder = detection_utils.BoxCoder
    replaced = box_ops.batched_nms, detection_utils._topk_min, coder.decode
    box_ops.batched_nms, detection_utils._topk_min, coder.decode = _batched_nms, _at_most, _decode
    try:
        yield
    finally:
        box_ops.batched_nms, detection_utils._topk_min, coder.decode = replaced


def _batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Torchvision's `batched_nms`, always by moving the groups apart: [N, 4], [N], [N] -> indices, the best first.

    Two boxes of no group stand apart from all, with scores below all, so that a tracer, which takes it that two boxes
    are kept at least, is right also where nothing is detected; they come last and are cut off.
    """
    apart = boxes.new_tensor([[-3.0, -3.0, -2.0, -2.0], [-6.0, -6.0, -5.0, -5.0]])
    beyond = torch.cat([boxes, apart]).max() + 1
    moved = boxes + (groups.to(boxes.dtype) * beyond)[:, None]
    ranks = torch.cat([scores, scores.new_tensor([-1.0, -2.0])])
    kept: Tensor = nms(torch.cat([moved, apart]), ranks, iou_threshold)
    return kept[:-2]


def _at_most(values: Tensor, wanted: int, axis: int) -> int:
    """Torchvision's `_topk_min`: `wanted`, or all if they are fewer."""
    return torch.sym_min(wanted, values.shape[axis])  # type: ignore[return-value]  # a size, known or not


def _decode(coder: detection_utils.BoxCoder, codes: Tensor, boxes: list[Tensor]) -> Tensor:
    """Torchvision's `BoxCoder.decode`, without asking whether there are any boxes: [R, 4 K] -> [R, K, 4]."""
    decoded: Tensor = coder.decode_single(codes, torch.cat(boxes))
    return decoded.reshape(codes.shape[0], codes.shape[1] // 4, 4)
