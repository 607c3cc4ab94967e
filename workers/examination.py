"""What can be told of a machine without training on it: its versions, and the room it has.

Invariant: looking changes nothing, and what is not there is an answer, never an error. Neither torch nor Ray is
imported.
"""

import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("spnas", "ray", "torch", "torchvision", "numpy")
SHARED_MEMORY = Path("/dev/shm")
MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system has, in bytes."""

    path: str
    free_bytes: int
    total_bytes: int

    @property
    def used_share(self) -> float:
        """From 0 to 1."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a machine has.

    Attributes:
        session: where Ray keeps its logs, and what memory can't hold.
        shared_memory: where processes share memory; None where the system has no such place.
        run: where the run's folder is; None where the run is in no folder.
    """

    session: Space
    shared_memory: Space | None
    run: Space | None


def versions() -> dict[str, str]:
    """Of Python, of the packages that decide what a training comes to, and of the code that trains."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    return found | {"code": code_digest()}


def code_digest() -> str:
    """Tells the code of workers and models from any other, where the version stays the same."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(path for room in ("models", "workers") for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def room(session: Path, run: Path | None) -> Room:
    """What this machine has now.

    Args:
        session: Ray's folder.
        run: the run's folder, if it is one; it need not be there yet.
    """
    return Room(
        session=space(session),
        shared_memory=space(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
        run=None if run is None else space(run),
    )


def space(path: Path) -> Space:
    """Of the file system that a path is on, or would be."""
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    usage = shutil.disk_usage(there)
    return Space(path=str(path), free_bytes=usage.free, total_bytes=usage.total)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
