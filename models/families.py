"""What the families of networks have in common, and the only place that tells them apart.

Pure Python: nothing here imports torch.

Two families: SP-NAS's backbones (`Architecture`, `NetworkSpec`) and MSNAS's multi-scale encoders (`MultiScale`,
`MultiScaleSpec`). Everything that has to do with jobs, journals and tables takes either.

Invariant: `spec_from_dict` is the inverse of every family's `to_dict`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import costs, zoo
from models.architecture import Architecture, NetworkSpec
from models.costs import Cost, backbone_costs
from models.detector_shape import DetectorShape
from models.msnas_costs import multi_scale_costs, multi_scale_detector_parameters
from models.msnas_encoding import FEATURE_STRIDES, PREFIX, MultiScale, MultiScaleSpec
from models.msnas_zoo import MULTI_SCALE_ZOO, MultiScaleNetwork
from models.zoo import ZOO, ZooNetwork

AnyArchitecture = Architecture | MultiScale
AnySpec = NetworkSpec | MultiScaleSpec

BASE_CHANNELS = 64
"""Of an SP-NAS backbone's stem, as in the paper."""

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
    return text == PREFIX or text.startswith(f"{PREFIX}(")


def parse_architecture(text: str) -> AnyArchitecture:
    """The architecture of an encoding of any family; raises `ArchitectureError` for a malformed one."""
    return MultiScale.parse(text) if is_multi_scale(text) else Architecture.parse(text)


def spec_from_dict(values: Mapping[str, Any]) -> AnySpec:
    """The spec of any family from its `to_dict`; raises ValueError for anything else."""
    encoding = values.get("architecture") if isinstance(values, Mapping) else None
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


def detector_parameters(spec: AnySpec, shape: DetectorShape, num_classes: int, max_stages: int) -> int:
    """Trainable parameters of a whole detector; of a multi-scale network's, whatever `max_stages` says."""
    if isinstance(spec, NetworkSpec):
        return costs.detector_parameters(spec, shape, num_classes, max_stages)
    return multi_scale_detector_parameters(spec, shape, num_classes)


def is_name(text: str) -> bool:
    """Whether a text is written as a name."""
    return zoo.is_name(text) and not is_multi_scale(text)


def named_network(name: str) -> ZooNetwork | MultiScaleNetwork:
    """The network of a name; raises ValueError with the nearest one, if there is none of this name."""
    known: dict[str, ZooNetwork | MultiScaleNetwork] = {**ZOO, **MULTI_SCALE_ZOO}
    network = known.get(zoo.plain(name))
    if network is None:
        raise zoo.unknown_name(name, known)
    return network


def read_architecture(text: str) -> AnyArchitecture:
    """The architecture of a text, an encoding or a name of any family.

    Raises:
        ValueError: `ArchitectureError` for a malformed encoding, or one line that names the nearest name.
    """
    return named_network(text).architecture if is_name(text) else parse_architecture(text)


def read_spec(text: str, stem: str | None = None, base_channels: int = BASE_CHANNELS) -> AnySpec:
    """What a text stands for, an encoding or a name of any family.

    Args:
        text: the encoding or name.
        stem: None is the name's own, else the family's.
        base_channels: of an SP-NAS backbone; a multi-scale network's encoding says its own channels.

    Raises:
        ValueError: see `read_architecture`; or for a stem or channels that the network can't have.
    """
    architecture = read_architecture(text)
    if isinstance(architecture, Architecture):
        return NetworkSpec.fresh(architecture, stem or zoo.stem_of(text), base_channels)
    if base_channels != BASE_CHANNELS:
        raise ValueError(f"base channels: {base_channels}, but {architecture} says its channels itself; leave them out")
    return MultiScaleSpec(architecture) if stem is None else MultiScaleSpec(architecture, stem)


def as_spec(
    network: AnyArchitecture | AnySpec | str, stem: str | None = None, base_channels: int = BASE_CHANNELS
) -> AnySpec:
    """The spec itself, or that of a fresh build of an architecture or a text; see `read_spec`."""
    if isinstance(network, NetworkSpec | MultiScaleSpec):
        return network
    return read_spec(str(network), stem, base_channels)
