"""The heads of Cascade R-CNN (Cai and Vasconcelos, CVPR 2018): each stage refines the boxes of the one before.

Three box heads, trained with objects' IoU from 0.5, 0.6 and 0.7 on. As in mmdetection's configuration of it: one
box for all classes, codes that grow finer from stage to stage, losses weighted 1, 0.5 and 0.25; a stage's
proposals are the sampled ones of the stage before as it has refined them, but for those that were an object's own
box, with the objects' boxes added, and each stage samples anew. At test the classes' probabilities are the mean of the
three heads', each asked about its own stage's boxes, and the boxes are the last stage's.

Each stage has a mask head of its own, trained on its positives, as mmdetection's Cascade Mask R-CNN has, on which
the papers' figures rest (the authors' own code has one on the last stage); at test the three are asked about the
final boxes, and the masks are the mean of their probabilities. The cost is at training and in memory; one image
has few final boxes.

Invariant: the state's keys are ``stages.{stage}.*`` with torchvision's names for heads and predictors, whatever the
backbone; and no gradient flows through the boxes from a stage to the one before.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import boxes as box_ops

from models.detector_shape import DetectorShape
from models.roi_heads import (
    Features,
    Sizes,
    Targets,
    build_roi_heads,
    image_shares,
    mask_loss,
    predict_masks,
)

IOUS = (0.5, 0.6, 0.7)
"""With an object, from which on a proposal is a stage's positive example (the paper, section 4.2)."""

BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
"""What each stage's box codes are multiplied by: its boxes are nearer to their objects than the last one's."""

LOSS_WEIGHTS = (1.0, 0.5, 0.25)
"""Of each stage's losses."""

MIN_SIDE = 1e-2
"""Refined boxes of less, in pixels, are no proposals in training: nothing could be coded against them."""

SMOOTH_L1_BETA = 1 / 9
"""Where the box loss turns from square to linear; torchvision's."""


class CascadeHeads(nn.Module):
    """The stages one after the other, in place of torchvision's `RoIHeads`."""

    def __init__(self, stages: Sequence[RoIHeads]) -> None:
        """Put stages together; each but for its order is as `build_roi_heads` makes it."""
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(
        self, features: Features, proposals: list[Tensor], image_shapes: Sizes, targets: Targets | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detect, or tell the losses.

        Args:
            features: the pyramid's levels.
            proposals: [P, 4] of each image.
            image_shapes: height and width of each image.
            targets: torchvision's, with masks where there are mask heads; only asked for in training.

        Returns:
            In evaluation torchvision's detections (masks as [D, 1, M, M] within their boxes) and no loss; in
            training no detection and the losses ``loss_classifier_K``, ``loss_box_reg_K`` and perhaps
            ``loss_mask_K`` of each stage K = 1, 2, 3.
        """
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets or [])
        return self._detections(features, proposals, image_shapes), {}

    def _losses(
        self, features: Features, proposals: list[Tensor], image_shapes: Sizes, targets: Targets
    ) -> dict[str, Tensor]:
        stages: list[RoIHeads] = list(self.stages)
        losses = {}
        objects = [target["boxes"] for target in targets]
        for number, (stage, weight) in enumerate(zip(stages, LOSS_WEIGHTS, strict=True), start=1):
            proposals, matched, labels, box_targets = stage.select_training_samples(proposals, targets)
            logits, codes = _predictions(stage, features, proposals, image_shapes)
            shares = image_shares(proposals, logits)
            classes = torch.cat(labels)
            positive = torch.where(classes > 0)[0]
            classifier = functional.cross_entropy(logits, classes, reduction="none")
            box = functional.smooth_l1_loss(
                codes[positive], torch.cat(box_targets)[positive], beta=SMOOTH_L1_BETA, reduction="none"
            )
            losses[f"loss_classifier_{number}"] = weight * (classifier * shares).sum()
            losses[f"loss_box_reg_{number}"] = weight * (box.sum(1) * shares[positive]).sum()
            if stage.has_mask():
                loss = mask_loss(stage, features, proposals, image_shapes, matched, labels, targets)
                losses[f"loss_mask_{number}"] = weight * loss
            if number < len(stages):
                refined = _refined(stage, codes.detach(), proposals, image_shapes)
                proposals = [
                    moved[_is_box(moved) & ~_is_among(boxes, own)]
                    for moved, boxes, own in zip(refined, proposals, objects, strict=True)
                ]
        return losses

    def _detections(self, features: Features, proposals: list[Tensor], image_shapes: Sizes) -> list[dict[str, Tensor]]:
        stages: list[RoIHeads] = list(self.stages)
        *before, last = stages
        probabilities = []
        for stage in before:
            logits, codes = _predictions(stage, features, proposals, image_shapes)
            probabilities.append(functional.softmax(logits, dim=-1))
            proposals = _refined(stage, codes, proposals, image_shapes)
        logits, codes = _predictions(last, features, proposals, image_shapes)
        probabilities.append(functional.softmax(logits, dim=-1))
        # torchvision takes logits, and a box for each class: the softmax of a probability's logarithm is that again
        mean = torch.stack(probabilities).mean(0)
        boxes, scores, labels = last.postprocess_detections(
            mean.log(), codes.repeat(1, mean.shape[1]), proposals, image_shapes
        )
        detections = [
            {"boxes": box, "labels": label, "scores": score}
            for box, label, score in zip(boxes, labels, scores, strict=True)
        ]
        if last.has_mask():
            masks = predict_masks(stages, features, image_shapes, detections)
            for detected, own in zip(detections, masks, strict=True):
                detected["masks"] = own
        return detections


def build_cascade(
    shape: DetectorShape, num_classes: int, max_stages: int, *, normalization: str = "batch"
) -> CascadeHeads:
    """Build the stages with fresh weights; the arguments are those of `build_roi_heads`."""
    return CascadeHeads(
        [
            build_roi_heads(
                shape,
                num_classes,
                max_stages,
                iou=iou,
                box_weights=weights,
                class_agnostic=True,
                normalization=normalization,
            )
            for iou, weights in zip(IOUS, BOX_WEIGHTS, strict=True)
        ]
    )


def _predictions(
    stage: RoIHeads, features: Features, proposals: list[Tensor], image_shapes: Sizes
) -> tuple[Tensor, Tensor]:
    """A stage's class logits, [all RoIs, classes], and box codes, [all RoIs, 4]."""
    logits, codes = stage.box_predictor(stage.box_head(stage.box_roi_pool(features, proposals, image_shapes)))
    return logits, codes


def _refined(stage: RoIHeads, codes: Tensor, proposals: list[Tensor], image_shapes: Sizes) -> list[Tensor]:
    """The proposals moved by their codes and cut at the image's borders."""
    moved = stage.box_coder.decode(codes, proposals).reshape(-1, 4)
    return [
        box_ops.clip_boxes_to_image(boxes, size)
        for boxes, size in zip(moved.split([own.shape[0] for own in proposals]), image_shapes, strict=True)
    ]


def _is_box(boxes: Tensor) -> Tensor:
    """Whether each has an area: bool [P]."""
    return (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(-1)


def _is_among(boxes: Tensor, others: Tensor) -> Tensor:
    """Whether each is one of the others, to the last bit: bool [P]."""
    return (boxes[:, None] == others.to(boxes)[None]).all(-1).any(-1)
