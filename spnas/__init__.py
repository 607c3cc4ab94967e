"""What other programs need of spnas: networks by name or encoding, and those of a run or a file with their weights.

    backbone = spnas.backbone_from("runs/shapes")        # the best of a run, or of s3://bucket/run
    backbone = spnas.backbone_from("best.safetensors")   # what `spnas export` has written
    backbone = spnas.backbone_from("spnet-coco-bnb")     # a name or an encoding, with fresh weights
    encoder = spnas.backbone_from("msnas-r18-5")         # a multi-scale network: its encoder stands for its backbone

Invariant: a text that is a name or an encoding stands for it; a folder of that name is reached as ``./resnet18``.
torch is loaded when it is first asked for. As torchvision's builders do, these return modules in training mode, all of
whose parameters learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spnas.shadows import refuse_shadows

refuse_shadows()

from models.architecture import Architecture, ArchitectureError, NetworkSpec  # noqa: E402
from models.families import AnyArchitecture, AnySpec, as_spec, read_architecture  # noqa: E402
from models.msnas_encoding import MultiScale, MultiScaleSpec  # noqa: E402
from models.msnas_zoo import MULTI_SCALE_ZOO  # noqa: E402
from models.zoo import ZOO  # noqa: E402

if TYPE_CHECKING:
    from torchvision.models.detection import FasterRCNN

    from models.backbone import Backbone
    from models.features import FeatureList
    from models.msnas import MultiScaleEncoder, MultiScaleFeatures
    from models.portable import Portable
    from models.pyramid import Pyramid

__all__ = [
    "MULTI_SCALE_ZOO",
    "ZOO",
    "Architecture",
    "ArchitectureError",
    "MultiScale",
    "MultiScaleSpec",
    "NetworkSpec",
    "backbone_from",
    "detector_from",
    "features_from",
    "network_from",
    "pyramid_from",
]


def backbone_from(
    source: str | AnyArchitecture | AnySpec,
    *,
    job: int | None = None,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str | None = None,
) -> Backbone | MultiScaleEncoder:
    """A backbone: normalised images [B, 3, H, W] -> ``{"stage1": ..., "stage2": ..., ...}``, strides 4, 8, ...

    Of a multi-scale network its encoder: H and W are multiples of 64, and it gives ``{"0": ..., ..., "4": ...}``, for
    each group of objects, small ones first, the feature that its head reads.

    Args:
        source: a name, an encoding, a run's folder or URI, or a safetensors file.
        job: of a run, in place of its best.
        stem: of a name or encoding: ``deep`` or ``resnet``; None is a name's own, else ``deep``, of a multi-scale
            network ``resnet``.
        base_channels: of a name or encoding; a multi-scale network says its channels itself.
        normalization: ``batch``, ``sync``, ``frozen`` or ``group``; None is ``batch``, or what the weights need.

    Raises:
        ValueError: for what is no network, or a normalisation that the weights don't fit.
    """
    from models.inheritance import load_weights
    from models.portable import backbone_of

    if not _has_weights(source):
        return backbone_of(as_spec(source, stem, base_channels), normalization or "batch")
    network = network_from(str(source), job=job).backbone()
    backbone = backbone_of(network.spec, normalization or network.normalization)
    load_weights(backbone, network.state)
    return backbone


def features_from(
    source: str | AnyArchitecture | AnySpec,
    *,
    out_indices: Sequence[int] | None = None,
    job: int | None = None,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str | None = None,
) -> FeatureList:
    """A backbone that returns a list of maps, with timm's ``feature_info``; see `backbone_from` and `FeatureList`."""
    from models.features import FeatureList

    backbone = backbone_from(source, job=job, stem=stem, base_channels=base_channels, normalization=normalization)
    return FeatureList(backbone, out_indices)


def pyramid_from(
    source: str | AnyArchitecture | AnySpec,
    *,
    channels: int | None = None,
    num_levels: int | None = None,
    job: int | None = None,
    stem: str | None = None,
    base_channels: int = 64,
    normalization: str | None = None,
) -> Pyramid | MultiScaleFeatures:
    """A backbone with a fresh feature pyramid, as torchvision's detectors want it: it has ``out_channels``.

    A multi-scale encoder needs no pyramid: it is given as it is, with its ``out_channels``.

    Args:
        source: see `backbone_from`, as the other arguments.
        channels: of each level; None is 256. A multi-scale network says them itself.
        num_levels: at least the backbone's stages; None is just them. Level i has stride 4 * 2^i. A multi-scale
            network has a level for each of its five groups of objects.
        job: see `backbone_from`.
        stem: see `backbone_from`.
        base_channels: see `backbone_from`.
        normalization: see `backbone_from`.

    Raises:
        ValueError: as `backbone_from`, or for too few levels, or for what a multi-scale network says itself.
    """
    from models.msnas import MultiScaleEncoder, MultiScaleFeatures
    from models.pyramid import Pyramid

    body = backbone_from(source, job=job, stem=stem, base_channels=base_channels, normalization=normalization)
    if not isinstance(body, MultiScaleEncoder):
        return Pyramid(body, 256 if channels is None else channels, num_levels or len(body.spec.stage_channels))
    if channels is not None or num_levels is not None:
        raise ValueError(f"channels, num_levels: {body.spec.architecture} says itself how many it has; leave them out")
    return MultiScaleFeatures(body)


def detector_from(source: str, *, job: int | None = None) -> FasterRCNN:
    """A whole detector with its weights: torchvision's, whose images are lists of [3, H, W] in [0, 1].

    Args:
        source: a run's folder or URI, or a safetensors file.
        job: of a run, in place of its best.

    Raises:
        ValueError: for what is no detector.
    """
    return network_from(source, job=job).build_detector().train()


def network_from(source: str, *, job: int | None = None) -> Portable:
    """What a run or a file holds: ``.spec``, ``.state``, and of a detector ``.card`` with ``.card.classes``.

    Raises:
        ValueError: if it holds no network.
    """
    from orchestrator.exports import network_of

    return network_of(source, job)


def _has_weights(source: str | AnyArchitecture | AnySpec) -> bool:
    """Whether a run or a file is meant: what is no encoding and no known name, and looks like a place, or is one."""
    if not isinstance(source, str):
        return False
    try:
        read_architecture(source)
    except ValueError:
        return "/" in source or source.endswith(".safetensors") or Path(source).exists()
    return False
