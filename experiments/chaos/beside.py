"""Files that lie beside a run, not in it: the plan of its faults, what struck, and what its ranks really did.

Invariant: each is found from the run's address alone, by every process of the run, whatever its storage is.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

VARIABLE = "SPNAS_CHAOS_FOLDER"


def beside(address: str, suffix: str) -> Path:
    """The file for a run; of a run in an object store it lies in the folder that the environment names."""
    path = Path(urlsplit(address).path)
    folder = os.environ.get(VARIABLE)
    return (Path(folder) if folder else path.parent) / f"{path.name}.{suffix}"


def append_line(path: Path, line: str) -> None:
    """Add a line in one write, so that lines of several processes don't mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
