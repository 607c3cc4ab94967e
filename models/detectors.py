"""Faster R-CNN on a searched backbone: torchvision's parts, the padded pyramid (SP-NAS, section 4).

Invariant: apart from the backbone itself and the lateral convolutions' inputs, a detector's modules and state
keys depend only on `DetectorShape`, `max_stages` and the number of classes, never on the architecture; so
heads and pyramid are inherited over a whole search.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from models.architecture import Architecture, NetworkSpec
from models.backbone import Backbone, as_spec
from models.detector_shape import DetectorShape
from models.pyramid import Pyramid

NUM_ROI_LEVELS = 4
"""RoIs are pooled from the first four levels (strides 4 to 32), as in the FPN paper."""


class SeededSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's choice of proposals for the loss, drawn for each image from a seed of its own.

    So what is drawn for an image depends neither on the images beside it nor on the rank that has it.
    """

    seeds: Sequence[int] | None = None
    """One for each image of the next batch; None draws from torch's generator."""

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the positive and of the negative ones chosen, for each image."""
        if self.seeds is None:
            chosen: tuple[list[Tensor], list[Tensor]] = super().__call__(matched_idxs)
            return chosen
        positive, negative = [], []
        device = matched_idxs[0].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for seed, matched in zip(self.seeds, matched_idxs, strict=True):
                torch.manual_seed(seed)
                ((one,), (other,)) = super().__call__([matched])
                positive.append(one)
                negative.append(other)
        return positive, negative


def seed_samplers(detector: FasterRCNN, seeds: Sequence[int] | None) -> None:
    """Say what the samplers of a detector draw the next batch's images from, one seed for each."""
    detector.rpn.fg_bg_sampler.seeds = seeds
    detector.roi_heads.fg_bg_sampler.seeds = seeds


class _KeepSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalising and batching without its resizing: images arrive as they shall be seen.

    torchvision's own `_skip_resize` skips it in training only.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return both as they are."""
        return image, target


def build_detector(
    architecture: Architecture | NetworkSpec | str,
    num_classes: int,
    *,
    max_stages: int = 6,
    stem: str = "deep",
    base_channels: int = 64,
    normalization: str = "batch",
    bfloat16: bool = False,
    **shape: Any,
) -> FasterRCNN:
    """Build a Faster R-CNN with fresh weights.

    Args:
        architecture: an encoding, or a spec, which then says stem, base channels and shortcuts itself.
        num_classes: foreground classes; their labels are 1 to `num_classes`, 0 is the background.
        max_stages: pyramid levels, the most stages a backbone may come to have (6: P2 to P7).
        stem: ``deep`` or ``resnet``.
        base_channels: 64 in the paper.
        normalization: of the backbone: ``batch``, ``sync``, ``frozen`` or ``group``.
        bfloat16: compute backbone and pyramid in bfloat16; proposals, heads and boxes stay in float32.
        **shape: fields of `DetectorShape`.

    Returns:
        torchvision's `FasterRCNN`; its ``backbone`` is a `Pyramid`. Images are lists of [3, H, W] in [0, 1],
        already resized; targets and detections are torchvision's, in the images' own pixels.

    Raises:
        ValueError: for a malformed encoding, too few levels, or fewer than one class.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes}, a detector needs at least one foreground class")
    fields = DetectorShape(**shape)
    body = Backbone(as_spec(architecture, stem, base_channels), normalization)
    pyramid = Pyramid(body, fields.pyramid_channels, max_stages, bfloat16=bfloat16)
    anchors = AnchorGenerator(
        sizes=tuple((fields.anchor_size * 2**level,) for level in range(max_stages)),
        aspect_ratios=(tuple(fields.anchor_ratios),) * max_stages,
    )
    detector = FasterRCNN(
        pyramid,
        rpn_anchor_generator=anchors,
        rpn_head=_rpn_head(fields.pyramid_channels, len(fields.anchor_ratios)),
        rpn_pre_nms_top_n_train=fields.rpn_pre_nms_train,
        rpn_pre_nms_top_n_test=fields.rpn_pre_nms_test,
        rpn_post_nms_top_n_train=fields.rpn_post_nms_train,
        rpn_post_nms_top_n_test=fields.rpn_post_nms_test,
        rpn_batch_size_per_image=fields.rpn_batch,
        box_roi_pool=MultiScaleRoIAlign(
            featmap_names=[str(level) for level in range(min(NUM_ROI_LEVELS, max_stages))],
            output_size=fields.roi_size,
            sampling_ratio=fields.roi_sampling_ratio,
            canonical_scale=fields.canonical_scale,
        ),
        box_head=_box_head(fields.pyramid_channels * fields.roi_size**2, fields.head_channels),
        box_predictor=_box_predictor(fields.head_channels, num_classes),
        box_batch_size_per_image=fields.roi_batch,
        box_detections_per_img=fields.detections_per_image,
        box_score_thresh=fields.score_threshold,
        box_nms_thresh=fields.nms_threshold,
    )
    for part in (detector.rpn, detector.roi_heads):
        sampler = part.fg_bg_sampler
        part.fg_bg_sampler = SeededSampler(sampler.batch_size_per_image, sampler.positive_fraction)
    # the sizes are not used: nothing is resized
    detector.transform = _KeepSize(1, 1, list(fields.image_mean), list(fields.image_std))
    return detector


def _rpn_head(channels: int, num_ratios: int) -> RPNHead:
    """torchvision's, but for He initialisation of the shared convolution: it is trained from scratch here."""
    head = RPNHead(channels, num_ratios)
    for module in head.conv.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return head


def _box_head(in_channels: int, channels: int) -> TwoMLPHead:
    head = TwoMLPHead(in_channels, channels)
    for layer in (head.fc6, head.fc7):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return head


def _box_predictor(channels: int, num_classes: int) -> FastRCNNPredictor:
    """The class and box layers, small at the start (standard deviations of the Fast R-CNN paper)."""
    predictor = FastRCNNPredictor(channels, num_classes + 1)
    for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    return predictor
