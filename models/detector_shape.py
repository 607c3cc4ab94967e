"""What a detector is beside its backbone: sizes and limits, as plain values.

Pure Python: nothing here imports torch, so that settings can refer to these defaults.

Invariant: every default of a detector stands here and nowhere else; they are torchvision's.
"""

from dataclasses import dataclass

FASTER_RCNN = "faster_rcnn"
CASCADE_RCNN = "cascade_rcnn"
"""The kinds of detectors."""

NUM_CASCADE_STAGES = 3
"""Stages of a cascade's heads."""

NUM_MASK_LAYERS = 4
"""3x3 convolutions of a mask head before its resolution is doubled (Mask R-CNN, figure 4)."""

BODY = "backbone.body."
"""What the names of a detector's tensors begin with, where they are those of its backbone."""

MAX_SIDE = 16384
"""The largest side of an image, in pixels."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel, pixels counted from 0 to 1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorShape:
    """What a detector is beside its backbone and its classes.

    Attributes:
        kind: ``faster_rcnn`` or ``cascade_rcnn``.
        mask: whether it tells masks beside boxes.
        pyramid_channels: channels of every pyramid level.
        anchor_size: side of the anchors on the first level, in pixels; each further level doubles it.
        anchor_ratios: heights over widths.
        head_channels: width of the hidden linear layers of the box head.
        head_convolutions: 3x3 convolutions of the box head, normalised as the backbone is, with one hidden linear layer
            behind them (He et al., Rethinking ImageNet Pre-training, section 4.2: 4); 0 is two hidden linear layers.
        head_convolution_channels: width of these convolutions.
        roi_size: side of the pooled RoI features.
        roi_sampling_ratio: samples per RoIAlign bin and axis.
        mask_channels: width of the mask head's convolutions.
        mask_roi_size: side of the pooled RoI features of the mask head; its masks are twice as large.
        canonical_scale: side of the box that is pooled from stride 16, in pixels (FPN, equation 1).
        rpn_pre_nms_train: proposals per level kept before NMS, in training.
        rpn_pre_nms_test: the same in evaluation.
        rpn_post_nms_train: proposals per image kept after NMS, in training.
        rpn_post_nms_test: the same in evaluation.
        rpn_batch: anchors per image in the RPN's loss.
        roi_batch: RoIs per image in the head's loss.
        detections_per_image: the most detections per image.
        score_threshold: detections below it are left out.
        nms_threshold: IoU above which the lesser of two detections of a class is left out.
        image_mean: subtracted from images in [0, 1], per channel.
        image_std: what they are then divided by.
    """

    kind: str = FASTER_RCNN
    mask: bool = False
    pyramid_channels: int = 256
    anchor_size: int = 32
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    head_channels: int = 1024
    head_convolutions: int = 0
    head_convolution_channels: int = 256
    roi_size: int = 7
    roi_sampling_ratio: int = 2
    mask_channels: int = 256
    mask_roi_size: int = 14
    canonical_scale: int = 224
    rpn_pre_nms_train: int = 2000
    rpn_pre_nms_test: int = 1000
    rpn_post_nms_train: int = 2000
    rpn_post_nms_test: int = 1000
    rpn_batch: int = 256
    roi_batch: int = 512
    detections_per_image: int = 100
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD
