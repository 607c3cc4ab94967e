"""spnas for `torch.hub`: ``torch.hub.load(folder_or_repository, "backbone", "runs/shapes")``; see docs/export.md.

Invariant: each function here is the one of `spnas` that it is named for.
"""

dependencies = [
    "PIL",
    "defusedxml",
    "numpy",
    "pandas",
    "pyarrow",
    "pycocotools",
    "pydantic",
    "safetensors",
    "torch",
    "torchvision",
    "yaml",
]

from spnas import backbone_from as backbone  # noqa: E402, F401
from spnas import detector_from as detector  # noqa: E402, F401
from spnas import features_from as features  # noqa: E402, F401
from spnas import pyramid_from as pyramid  # noqa: E402, F401
