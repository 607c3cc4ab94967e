"""What the families of networks have in common, and the only place that tells them apart.

Pure Python: nothing here imports torch.

Two families: SP-NAS's backbones (`Architecture`, `NetworkSpec`) and MSNAS's multi-scale encoders (`MultiScale`,
`MultiScaleSpec`). Everything that has to do with jobs, journals and tables takes either.

Invariant: `spec_from_dict` is the inverse of every family's `to_dict`.
"""

from collections.abc import Mapping
from typing import Any

from models.architecture import Architecture, NetworkSpec
from models.msnas_encoding import PREFIX, MultiScale, MultiScaleSpec

AnyArchitecture = Architecture | MultiScale
AnySpec = NetworkSpec | MultiScaleSpec


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
