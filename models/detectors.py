"""Detectors on a searched backbone: torchvision's parts, the padded pyramid (SP-NAS, section 4).

Faster R-CNN or Cascade R-CNN with FPN, either with masks (Mask R-CNN, Cascade Mask R-CNN) or without.

Invariant: apart from the backbone itself and the lateral convolutions' inputs, a detector's modules and state
keys depend only on `DetectorShape`, `max_stages` and the number of classes, never on the architecture; so
heads and pyramid are inherited over a whole search.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from models.backbone import Backbone
from models.cascade import CascadeHeads, build_cascade
from models.detector_shape import CASCADE_RCNN, FASTER_RCNN, DetectorShape
from models.families import AnyArchitecture, AnySpec, as_spec
from models.msnas import GroupRPNHead, MultiScaleEncoder, MultiScaleFeatures
from models.msnas_encoding import FEATURE_STRIDES, NUM_GROUPS, MultiScale, MultiScaleSpec
from models.pyramid import Pyramid
from models.roi_heads import SeededSampler, build_roi_heads, pool_from_groups

SIZE_DIVISOR = 32
"""Images are padded to multiples of this for a pyramid, as by torchvision; else to those of the coarsest stride."""

HEADS: dict[str, Callable[..., nn.Module]] = {
    FASTER_RCNN: build_roi_heads,
    CASCADE_RCNN: build_cascade,
}
"""What builds the heads of each kind of detector from its shape, number of classes, number of levels, normalisation."""


def seed_samplers(detector: FasterRCNN, seeds: Sequence[int] | None) -> None:
    """Say what the samplers of a detector draw the next batch's images from, one seed for each."""
    for part in (detector.rpn, *_stages(detector.roi_heads)):
        part.fg_bg_sampler.seeds = seeds


def choose_path(detector: FasterRCNN, architecture: MultiScale) -> None:
    """Let a super-net's detector be that of one of its paths: encoder and features of the heads; no weights change.

    Raises:
        ValueError: if the path is none of the super-net's.
    """
    detector.backbone.body.choose(architecture)
    for stage in _stages(detector.roi_heads):
        pool_from_groups(stage, architecture.heads)


def _stages(heads: nn.Module) -> tuple[Any, ...]:
    return tuple(heads.stages) if isinstance(heads, CascadeHeads) else (heads,)


class _KeepSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalising and batching without its resizing: images arrive as they shall be seen.

    torchvision's own `_skip_resize` skips it in training only.
    """

    pastes_masks = True
    """Whether a detection's mask is put in its place in the image, or stays that of its box."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return both as they are."""
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Paste the masks, [D, 1, H, W], if they shall be; boxes are where they belong."""
        if self.training or not self.pastes_masks:
            return result
        pasted: list[dict[str, Tensor]] = super().postprocess(result, image_shapes, original_image_sizes)
        return pasted


@contextmanager
def masks_of_boxes(detector: FasterRCNN) -> Iterator[None]:
    """Within this, detected masks are [D, 1, M, M] within their boxes, to be pasted at another size."""
    transform = detector.transform
    assert isinstance(transform, _KeepSize)
    transform.pastes_masks = False
    try:
        yield
    finally:
        transform.pastes_masks = True


def build_detector(
    architecture: AnyArchitecture | AnySpec | str,
    num_classes: int,
    *,
    max_stages: int = 6,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str = "batch",
    bfloat16: bool = False,
    supernet: bool = False,
    **shape: Any,
) -> FasterRCNN:
    """Build a detector with fresh weights.

    Args:
        architecture: an encoding, a name of the zoo, or a spec, which then says stem, base channels and shortcuts
            itself.
        num_classes: foreground classes; their labels are 1 to `num_classes`, 0 is the background.
        max_stages: pyramid levels, the most stages a backbone may come to have (6: P2 to P7).
        stem: ``deep`` or ``resnet``; None is a name's own, else ``deep``, of a multi-scale network ``resnet``.
        base_channels: 64 in the paper; a multi-scale network says its channels itself.
        normalization: of the backbone and of the box head's convolutions: ``batch``, ``sync``, ``frozen`` or ``group``.
        bfloat16: compute backbone and pyramid in bfloat16; proposals, heads and boxes stay in float32.
        supernet: of a multi-scale network, whether to build the super-net of all paths; `choose_path` says which one
            it computes.
        **shape: fields of `DetectorShape`, such as ``kind`` and ``mask``.

    Returns:
        torchvision's `FasterRCNN`; its ``backbone`` is a `Pyramid`, or `MultiScaleFeatures` of a multi-scale network;
        its ``roi_heads`` are `CascadeHeads` where the kind is a cascade. Images are lists of [3, H, W] in [0, 1],
        already resized; targets and detections are torchvision's, in the images' own pixels.

    Raises:
        ValueError: for a malformed encoding, too few levels, an unknown kind, or fewer than one class.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes}, a detector needs at least one foreground class")
    fields = DetectorShape(**shape)
    if fields.kind not in HEADS:
        raise ValueError(f"kind: {fields.kind!r} is none of {', '.join(HEADS)}")
    num_ratios = len(fields.anchor_ratios)
    spec = as_spec(architecture, stem, base_channels)
    backbone: nn.Module
    rpn_head: nn.Module
    if isinstance(spec, MultiScaleSpec):
        encoder = MultiScaleEncoder(spec, normalization, supernet=supernet)
        backbone = MultiScaleFeatures(encoder, bfloat16=bfloat16)
        num_levels, divisor = NUM_GROUPS, FEATURE_STRIDES[-1]
        rpn_head = GroupRPNHead(backbone.out_channels, fields.pyramid_channels, num_ratios)
        inputs = replace(fields, pyramid_channels=backbone.out_channels)
    else:
        backbone = Pyramid(Backbone(spec, normalization), fields.pyramid_channels, max_stages, bfloat16=bfloat16)
        num_levels, divisor, inputs = max_stages, SIZE_DIVISOR, fields
        rpn_head = _rpn_head(fields.pyramid_channels, num_ratios)
    anchors = AnchorGenerator(
        sizes=tuple((fields.anchor_size * 2**level,) for level in range(num_levels)),
        aspect_ratios=(tuple(fields.anchor_ratios),) * num_levels,
    )
    heads = HEADS[fields.kind](inputs, num_classes, num_levels, normalization=normalization)
    detector = FasterRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_head=rpn_head,
        rpn_pre_nms_top_n_train=fields.rpn_pre_nms_train,
        rpn_pre_nms_top_n_test=fields.rpn_pre_nms_test,
        rpn_post_nms_top_n_train=fields.rpn_post_nms_train,
        rpn_post_nms_top_n_test=fields.rpn_post_nms_test,
        rpn_batch_size_per_image=fields.rpn_batch,
        # torchvision's heads are replaced below: it has no cascade
        box_head=nn.Identity(),
        box_predictor=nn.Identity(),
    )
    detector.roi_heads = heads
    sampler = detector.rpn.fg_bg_sampler
    detector.rpn.fg_bg_sampler = SeededSampler(sampler.batch_size_per_image, sampler.positive_fraction)
    # the sizes are not used: nothing is resized
    detector.transform = _KeepSize(1, 1, list(fields.image_mean), list(fields.image_std), size_divisible=divisor)
    if isinstance(spec, MultiScaleSpec):
        choose_path(detector, spec.architecture)
    return detector


def _rpn_head(channels: int, num_ratios: int) -> RPNHead:
    """torchvision's, but for He initialisation of the shared convolution: it is trained from scratch here."""
    head = RPNHead(channels, num_ratios)
    for module in head.conv.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return head
