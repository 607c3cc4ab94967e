"""Whether Python finds our other packages, or somebody else's that bear their names.

Invariant: where this says nothing, `models`, `workers` and `orchestrator` are those that were installed with `spnas`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("models", "workers", "orchestrator")


def refuse_shadows() -> None:
    """See that each of our packages is the one that lies beside `spnas`.

    Raises:
        ImportError: if Python finds another under its name, as in a folder that is earlier in `sys.path`; one line.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ROOMS:
        folders = _folders(name)
        if home / name not in folders:
            found = f"finds {folders[0]}" if folders else "has loaded another module"
            raise ImportError(
                f"spnas: its package {name!r} is {home / name}, but under that name Python {found}; rename that, or "
                "load spnas where it is not in sys.path (what `spnas export` writes as torch-export or onnx needs no "
                "spnas)",
                name=name,
            )


def _folders(name: str) -> list[Path]:
    """Where a package of that name is, loaded or not; none for a module that is no package."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return [Path(folder).resolve() for folder in getattr(loaded, "__path__", ())]
    spec = find_spec(name)
    if spec is None:
        return []
    places = spec.submodule_search_locations
    return [Path(place).resolve() for place in (places if places is not None else [spec.origin or ""])]
