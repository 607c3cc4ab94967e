"""The networks: encodings, morphisms, and the torch modules they stand for.

Encodings, morphisms on them and costs are pure Python. What needs torch is loaded when it is first asked for,
so that the search may use this package without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.architecture import Architecture, ArchitectureError, NetworkSpec

if TYPE_CHECKING:
    from models.backbone import build_backbone, load_torchvision_weights
    from models.detectors import build_detector

__all__ = [
    "Architecture",
    "ArchitectureError",
    "NetworkSpec",
    "build_backbone",
    "build_detector",
    "load_torchvision_weights",
]

_NEEDS_TORCH = {
    "build_backbone": "models.backbone",
    "build_detector": "models.detectors",
    "load_torchvision_weights": "models.backbone",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEEDS_TORCH[name]), name)
