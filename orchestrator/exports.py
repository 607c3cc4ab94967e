"""What can be taken out of a run, or read again from a file: networks with their weights.

Invariant: whatever a user points at, a run, a file or a name, comes to a network or to one line that says why not.
"""

import json
from pathlib import Path
from typing import Any

from models.export import SUFFIXES, ExportError, Format, Part, export
from models.portable import Portable
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.sources import best_of_run, is_file, read_file
from workers.run_folder import SUFFIX
from workers.settings import AnnotatedData
from workers.storage import LocalFolder


def network_of(source: str, job: int | None = None) -> Portable:
    """The network that a user points at, with its weights.

    Args:
        source: a run's folder or URI, of which the best is taken, or a safetensors file of ours.
        job: of the run, in place of its best.

    Raises:
        UserError: if there is none.
    """
    if is_file(source):
        if job is not None:
            raise UserError(f"--job {job}: {source} is a file, which holds one network; leave it out")
        return _of_file(source)
    found = best_of_run(source, job)
    assert found.config is not None, "a run has a config"
    try:
        network = Portable.of_blob(found.data, found.card, found.spec)
    except ValueError as error:
        raise UserError(f"run {source}: {error}") from None
    return network.with_notes({"job": str(found.job), **(_resizing(found.config) if network.card else {})})


def export_network(
    source: str,
    to: Format,
    *,
    out: Path | None = None,
    part: Part | None = None,
    job: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> tuple[Path, Portable]:
    """Write a network's file; see `models.export.export`.

    Returns:
        Where it is, and what is in it.

    Raises:
        UserError: for what the user got wrong.
        OSError: if the file can't be written; what was there before stands.
    """
    network = network_of(source, job)
    name = Path(source.rstrip("/").partition("?")[0]).name.removesuffix(SUFFIX) or "network"
    path = (out or Path(f"{name}-{part or network.part}{SUFFIXES[to]}")).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {out}: {'is a folder' if path.is_dir() else 'lies in no folder'}; name a file")
    try:
        data = export(network, to, part, height=height, width=width)
        LocalFolder(path.parent).write(path.name, data)
    except ExportError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    return path, network.backbone() if part == "backbone" else network


def _of_file(name: str) -> Portable:
    found = read_file(name)
    if found is None:
        raise UserError(f"weights {name}: only {SUFFIX} files of ours say what network they hold; name one, or a run")
    try:
        return Portable.of_blob(found.data)
    except ValueError as error:
        raise UserError(f"weights {name}: {str(error).removeprefix('weights: ')}") from None


def _resizing(config: RunConfig) -> dict[str, str]:
    """How images are resized before a run's detectors see them."""
    data = config.data
    sides: dict[str, Any] = (
        {"short_side": data.short_side, "long_side": data.long_side}
        if isinstance(data, AnnotatedData)
        else {"height": data.image_size, "width": data.image_size}
    )
    return {"resize": json.dumps(sides)}
