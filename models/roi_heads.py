"""What is done with the proposals of a detector: torchvision's RoI heads, for boxes and masks.

Invariant: what is drawn for an image and what its loss is depend on nothing but the image and its own seed, so
that ranks that share a batch train what one would. Where a loss is a mean over RoIs whose number differs from
image to image (masks, the later stages of a cascade), it is the mean over images of each image's own mean.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import (
    RoIHeads,
    fastrcnn_loss,
    maskrcnn_inference,
)
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from models.blocks import make_norm
from models.detector_shape import NUM_MASK_LAYERS, DetectorShape

NUM_ROI_LEVELS = 4
"""RoIs are pooled from the first four levels (strides 4 to 32), as in the FPN paper."""

FIRST_LEVEL = 2
"""The finest level of the pyramid has stride 2^2."""

POSITIVE_SHARE = 0.25
"""The most positive ones among an image's RoIs for the loss (Fast R-CNN, section 2.3)."""

Features = Mapping[str, Tensor]
Targets = list[dict[str, Tensor]]
Sizes = list[tuple[int, int]]


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


class MaskedRoIHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's box and mask heads, with the losses of masks as this module has them."""

    def forward(
        self, features: Features, proposals: list[Tensor], image_shapes: Sizes, targets: Targets | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections, in evaluation, and losses, in training."""
        if not self.training:
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes
            )
            return found
        proposals, matched, labels, box_targets = self.select_training_samples(proposals, targets)
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        classifier, boxes = fastrcnn_loss(logits, deltas, labels, box_targets)
        masks = mask_loss(self, features, proposals, image_shapes, matched, labels, targets or [])
        return [], {"loss_classifier": classifier, "loss_box_reg": boxes, "loss_mask": masks}


def mask_loss(
    heads: RoIHeads,
    features: Features,
    proposals: Sequence[Tensor],
    image_shapes: Sizes,
    matched: Sequence[Tensor],
    labels: Sequence[Tensor],
    targets: Targets,
) -> Tensor:
    """The loss of the masks of positive RoIs: binary cross-entropy of the mask of an RoI's class (Mask R-CNN, 3).

    Args:
        heads: its mask parts are asked.
        features: the pyramid's levels.
        proposals: [R, 4], an image's RoIs.
        image_shapes: height and width of each image.
        matched: [R], the object each RoI has been given.
        labels: [R], its class; 0 is the background.
        targets: with ``masks``, uint8 [N, H, W], and ``labels``.
    """
    positive = [torch.where(label > 0)[0] for label in labels]
    boxes = [proposal[kept] for proposal, kept in zip(proposals, positive, strict=True)]
    logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, boxes, image_shapes)))
    truth = torch.cat(
        [
            mask_targets(target["masks"], box, objects[kept], logits.shape[-1])
            for target, box, objects, kept in zip(targets, boxes, matched, positive, strict=True)
        ]
    )
    classes = torch.cat([label[kept] for label, kept in zip(labels, positive, strict=True)])
    own = logits[torch.arange(len(logits), device=logits.device), classes]
    losses = functional.binary_cross_entropy_with_logits(own, truth, reduction="none").mean(dim=(1, 2))
    return (losses * image_shares(boxes, losses)).sum()


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor, side: int) -> Tensor:
    """What the masks of RoIs should be: those of their objects within them, [R, side, side].

    Sampled at the boxes' true places, as by detectron2; torchvision's `project_masks_on_boxes` is half a pixel off.

    Args:
        masks: [N, H, W] of the objects.
        boxes: [R, 4].
        matched: [R], whose object's mask each takes.
        side: of the masks.
    """
    rois = torch.cat((matched[:, None].to(boxes), boxes), dim=1)
    sampled: Tensor = roi_align(masks[:, None].to(boxes), rois, side, aligned=True)
    return sampled[:, 0]


def predict_masks(
    stages: Sequence[RoIHeads], features: Features, image_shapes: Sizes, detections: list[dict[str, Tensor]]
) -> list[Tensor]:
    """The masks of detections: [D, 1, M, M] for each image, the mean of the stages' probabilities within the box."""
    boxes = [detected["boxes"] for detected in detections]
    labels = [detected["labels"] for detected in detections]
    predicted = (
        maskrcnn_inference(
            stage.mask_predictor(stage.mask_head(stage.mask_roi_pool(features, boxes, image_shapes))), labels
        )
        for stage in stages
    )
    return [torch.stack(masks).mean(0) for masks in zip(*predicted, strict=True)]


def image_shares(rois: Sequence[Tensor], like: Tensor) -> Tensor:
    """What each RoI counts for in a mean over images of the means over an image's own RoIs, [all RoIs]."""
    return torch.cat([like.new_full((len(own),), 1 / (len(rois) * max(len(own), 1))) for own in rois])


def build_roi_heads(
    shape: DetectorShape,
    num_classes: int,
    max_stages: int,
    *,
    iou: float = 0.5,
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
    class_agnostic: bool = False,
    normalization: str = "batch",
) -> RoIHeads:
    """Build the heads of a detector, or of one stage of a cascade, with fresh weights.

    Args:
        shape: of the detector.
        num_classes: foreground classes.
        max_stages: pyramid levels.
        iou: with an object, from which on a proposal is a positive example.
        box_weights: what the codes of x, y, width and height are multiplied by.
        class_agnostic: whether one box is predicted for all classes.
        normalization: of the box head's convolutions, if it has any; see `models.blocks.make_norm`.
    """
    num_levels = min(NUM_ROI_LEVELS, max_stages)

    def pool(output_size: int) -> MultiScaleRoIAlign:
        return _roi_pool(num_levels, output_size, shape.roi_sampling_ratio, shape.canonical_scale)

    heads_type = MaskedRoIHeads if shape.mask else RoIHeads
    heads = heads_type(
        pool(shape.roi_size),
        _box_head(shape, normalization),
        _box_predictor(shape.head_channels, num_classes, class_agnostic),
        iou,
        iou,
        shape.roi_batch,
        POSITIVE_SHARE,
        box_weights,
        shape.score_threshold,
        shape.nms_threshold,
        shape.detections_per_image,
    )
    heads.fg_bg_sampler = SeededSampler(shape.roi_batch, POSITIVE_SHARE)
    if shape.mask:
        heads.mask_roi_pool = pool(shape.mask_roi_size)
        heads.mask_head = MaskRCNNHeads(shape.pyramid_channels, (shape.mask_channels,) * NUM_MASK_LAYERS, 1)
        heads.mask_predictor = MaskRCNNPredictor(shape.mask_channels, shape.mask_channels, num_classes + 1)
    return heads


def pool_from_groups(heads: RoIHeads, strides: Sequence[int]) -> None:
    """Let an RoI be pooled from the feature that the head of its group reads (MSNAS, section 3.3).

    The groups divide RoIs by FPN's equation 1, as levels do, but go on to the last one.

    Args:
        heads: of one stage; their pools change in place.
        strides: of each group's feature.
    """
    for pool in (heads.box_roi_pool, heads.mask_roi_pool):
        if pool is None:
            continue
        pool.featmap_names = [str(group) for group in range(len(strides))]
        pool.scales = [1 / stride for stride in strides]
        pool.map_levels = LevelMapper(FIRST_LEVEL, FIRST_LEVEL + len(strides) - 1, pool.canonical_scale)


def _roi_pool(num_levels: int, output_size: int, sampling_ratio: int, canonical_scale: int) -> MultiScaleRoIAlign:
    """torchvision's, told its levels' scales.

    Left to itself it infers them, for good, from the first image it sees and that image's padded maps: a side of 33
    pixels, padded to 64, would halve them.
    """
    names = [str(level) for level in range(num_levels)]
    pool = MultiScaleRoIAlign(names, output_size, sampling_ratio, canonical_scale=canonical_scale)
    pool.scales = [0.5 ** (FIRST_LEVEL + level) for level in range(num_levels)]
    pool.map_levels = LevelMapper(FIRST_LEVEL, FIRST_LEVEL + num_levels - 1, canonical_scale)
    return pool


def _box_head(shape: DetectorShape, normalization: str) -> TwoMLPHead | FastRCNNConvFCHead:
    """The layers between pooled RoIs and their predictors, with He initialisation."""
    if shape.head_convolutions:
        head = FastRCNNConvFCHead(
            (shape.pyramid_channels, shape.roi_size, shape.roi_size),
            [shape.head_convolution_channels] * shape.head_convolutions,
            [shape.head_channels],
            norm_layer=partial(make_norm, normalization),
        )
    else:
        head = TwoMLPHead(shape.pyramid_channels * shape.roi_size**2, shape.head_channels)
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return head


def _box_predictor(channels: int, num_classes: int, class_agnostic: bool) -> FastRCNNPredictor:
    """The class and box layers, small at the start (standard deviations of the Fast R-CNN paper)."""
    predictor = FastRCNNPredictor(channels, num_classes + 1)
    if class_agnostic:
        predictor.bbox_pred = nn.Linear(channels, 4)
    for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    return predictor
