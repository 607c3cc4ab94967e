"""What the families of networks have in common, and the only place that tells them apart.

Pure Python: nothing here imports torch.

Two families: SP-NAS's backbones (`Architecture`, `NetworkSpec`) and MSNAS's multi-scale encoders (`MultiScale`,
`MultiScaleSpec`). Everything that has to do with jobs, journals and tables takes either.

Invariant: `spec_from_dict` is the inverse of every family's `to_dict`.
"""

from collections.abc import Mapping
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
    coarsest = FEATURE_STRIDES[-1]
    padded = (-(-side // coarsest) * coarsest for side in (height, width))
    costs = multi_scale_costs(spec, shape, *padded)
    return costs.encoder + costs.rpn


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
