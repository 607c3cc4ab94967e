"""What the families of networks have in common, and the only place that tells them apart.

Pure Python: nothing here imports torch.

Two families: SP-NAS's backbones (`Architecture`, `NetworkSpec`) and MSNAS's multi-scale encoders (`MultiScale`,
`MultiScaleSpec`). Everything that has to do with jobs, journals and tables takes either.

Invariant: `spec_from_dict` is the inverse of every family's `to_dict`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import zoo
from models.architecture import Architecture, NetworkSpec
from models.costs import Cost, backbone_costs
from models.detector_shape import DetectorShape
from models.msnas_costs import multi_scale_costs
from models.msnas_encoding import FEATURE_STRIDES, PREFIX, MultiScale, MultiScaleSpec
from models.msnas_zoo import MULTI_SCALE_ZOO

AnyArchitecture = Architecture | MultiScale
AnySpec = NetworkSpec | MultiScaleSpec

_PLAIN = DetectorShape()


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """What a part of a network costs on one image.

    Attributes:
        name: ``stem``, ``stage 1``; of a multi-scale network ``1/8`` for all blocks of that resolution, ``laterals``,
            ``RPN``.
        stride: image pixels for each of its output's own, None for what is at several.
        serial: without the subnets beside it.
        parallel: of these.
    """

    name: str
    stride: int | None
    serial: Cost
    parallel: Cost = Cost()


def is_multi_scale(text: str) -> bool:
    """Whether a text is written as a `MultiScale`."""
    return text.startswith(f"{PREFIX}(")


def parse_architecture(text: str) -> AnyArchitecture:
    """The architecture of an encoding of any family; raises `ArchitectureError` for a malformed one."""
    return MultiScale.parse(text) if is_multi_scale(text) else Architecture.parse(text)


def spec_from_dict(values: Mapping[str, Any]) -> AnySpec:
    """The spec of any family from its `to_dict`; raises ValueError for anything else."""
    encoding = values.get("architecture")
    if isinstance(encoding, str) and is_multi_scale(encoding):
        return MultiScaleSpec.from_dict(values)
    return NetworkSpec.from_dict(values)


def network_cost(spec: AnySpec, height: int, width: int, shape: DetectorShape = _PLAIN) -> Cost:
    """What a search counts of a network on one image: a backbone, or a multi-scale encoder and its RPN.

    Args:
        spec: the network.
        height: of the image, in pixels; of a multi-scale network's, padded to a multiple of 64.
        width: likewise.
        shape: of the detector.
    """
    if isinstance(spec, NetworkSpec):
        return backbone_costs(spec, height, width).total
    costs = multi_scale_costs(spec, shape, *_padded(height, width))
    return costs.encoder + costs.rpn


def network_parts(spec: AnySpec, height: int, width: int, shape: DetectorShape = _PLAIN) -> tuple[CostPart, ...]:
    """What `network_cost` counts, part by part, the stem first."""
    if isinstance(spec, NetworkSpec):
        backbone = backbone_costs(spec, height, width)
        beside = [cost * count for cost, count in zip(backbone.subnets, backbone.num_subnets, strict=True)]
        stages = zip(backbone.stages, beside, strict=True)
        return (
            CostPart(name="stem", stride=4, serial=backbone.stem),
            *(
                CostPart(name=f"stage {number + 1}", stride=4 << number, serial=serial, parallel=parallel)
                for number, (serial, parallel) in enumerate(stages)
            ),
        )
    costs = multi_scale_costs(spec, shape, *_padded(height, width))
    blocks = list(zip(spec.architecture.feature_strides, costs.blocks, strict=True))
    return (
        CostPart(name="stem", stride=FEATURE_STRIDES[0], serial=costs.stem),
        *(
            CostPart(name=f"1/{stride}", stride=stride, serial=sum((c for s, c in blocks if s == stride), Cost()))
            for stride in sorted(set(spec.architecture.feature_strides))
        ),
        CostPart(name="laterals", stride=None, serial=costs.laterals),
        CostPart(name="RPN", stride=None, serial=costs.rpn),
    )


def _padded(height: int, width: int) -> tuple[int, int]:
    coarsest = FEATURE_STRIDES[-1]
    return -(-height // coarsest) * coarsest, -(-width // coarsest) * coarsest


def read_architecture(text: str) -> AnyArchitecture:
    """The architecture of a text, an encoding or a name of any family.

    Raises:
        ValueError: `ArchitectureError` for a malformed encoding, or one line that names the nearest name.
    """
    if is_multi_scale(text):
        return MultiScale.parse(text)
    named = MULTI_SCALE_ZOO.get(text.lower().replace("_", "-"))
    return named.architecture if named else zoo.read_architecture(text)


def as_multi_scale(architecture: AnyArchitecture | AnySpec | str, stem: str | None = None) -> MultiScaleSpec | None:
    """The spec of a multi-scale network, its encoding or its name, or None if it is of the other family."""
    if isinstance(architecture, str):
        architecture = read_architecture(architecture)
    if isinstance(architecture, MultiScale):
        return MultiScaleSpec(architecture) if stem is None else MultiScaleSpec(architecture, stem)
    return architecture if isinstance(architecture, MultiScaleSpec) else None
