"""Detectors on a searched backbone: torchvision's parts, the padded pyramid (SP-NAS, section 4).

Faster R-CNN or Cascade R-CNN with FPN, either with masks (Mask R-CNN, Cascade Mask R-CNN) or without.

Invariant: apart from the backbone itself and the lateral convolutions' inputs, a detector's modules and state
keys depend only on `DetectorShape`, `max_stages` and the number of classes, never on the architecture; so
heads and pyramid are inherited over a whole search.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from models.architecture import Architecture, NetworkSpec
from models.backbone import Backbone, as_spec
from models.cascade import CascadeHeads, build_cascade
from models.detector_shape import CASCADE_RCNN, FASTER_RCNN, DetectorShape
from models.pyramid import Pyramid
from models.roi_heads import SeededSampler, build_roi_heads

HEADS: dict[str, Callable[[DetectorShape, int, int], nn.Module]] = {
    FASTER_RCNN: build_roi_heads,
    CASCADE_RCNN: build_cascade,
}
"""What builds the heads of each kind of detector from its shape, number of classes and number of levels."""


def seed_samplers(detector: FasterRCNN, seeds: Sequence[int] | None) -> None:
    """Say what the samplers of a detector draw the next batch's images from, one seed for each."""
    heads = detector.roi_heads
    for part in (detector.rpn, *(heads.stages if isinstance(heads, CascadeHeads) else (heads,))):
        part.fg_bg_sampler.seeds = seeds


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
    architecture: Architecture | NetworkSpec | str,
    num_classes: int,
    *,
    max_stages: int = 6,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str = "batch",
    bfloat16: bool = False,
    **shape: Any,
) -> FasterRCNN:
    """Build a detector with fresh weights.

    Args:
        architecture: an encoding, a name of the zoo, or a spec, which then says stem, base channels and shortcuts
            itself.
        num_classes: foreground classes; their labels are 1 to `num_classes`, 0 is the background.
        max_stages: pyramid levels, the most stages a backbone may come to have (6: P2 to P7).
        stem: ``deep`` or ``resnet``; None is a name's own, else ``deep``.
        base_channels: 64 in the paper.
        normalization: of the backbone: ``batch``, ``sync``, ``frozen`` or ``group``.
        bfloat16: compute backbone and pyramid in bfloat16; proposals, heads and boxes stay in float32.
        **shape: fields of `DetectorShape`, such as ``kind`` and ``mask``.

    Returns:
        torchvision's `FasterRCNN`; its ``backbone`` is a `Pyramid`, its ``roi_heads`` are `CascadeHeads` where the
        kind is a cascade. Images are lists of [3, H, W] in [0, 1], already resized; targets and detections are
        torchvision's, in the images' own pixels.

    Raises:
        ValueError: for a malformed encoding, too few levels, an unknown kind, or fewer than one class.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes}, a detector needs at least one foreground class")
    fields = DetectorShape(**shape)
    if fields.kind not in HEADS:
        raise ValueError(f"kind: {fields.kind!r} is none of {', '.join(HEADS)}")
    body = Backbone(as_spec(architecture, stem, base_channels), normalization)
    pyramid = Pyramid(body, fields.pyramid_channels, max_stages, bfloat16=bfloat16)
    anchors = AnchorGenerator(
        sizes=tuple((fields.anchor_size * 2**level,) for level in range(max_stages)),
        aspect_ratios=(tuple(fields.anchor_ratios),) * max_stages,
    )
    rpn_head = _rpn_head(fields.pyramid_channels, len(fields.anchor_ratios))
    heads = HEADS[fields.kind](fields, num_classes, max_stages)
    detector = FasterRCNN(
        pyramid,
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
    detector.transform = _KeepSize(1, 1, list(fields.image_mean), list(fields.image_std))
    return detector


def _rpn_head(channels: int, num_ratios: int) -> RPNHead:
    """torchvision's, but for He initialisation of the shared convolution: it is trained from scratch here."""
    head = RPNHead(channels, num_ratios)
    for module in head.conv.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return head
