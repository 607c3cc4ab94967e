"""What the commands that make a run turn a user's config into.

Invariant: the same command gives the same config again once its run has begun, whatever has become of the run or file
that it started from.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.architecture import NetworkSpec
from models.families import BASE_CHANNELS, is_name, named_network, read_architecture
from models.msnas_encoding import MultiScale, MultiScaleSpec
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config, read_config
from orchestrator.errors import UserError
from orchestrator.given import changes_from, spec_changes
from orchestrator.runs import has_begun, storage_of, stored_config
from orchestrator.search.algorithms import SEARCHES, AlgorithmName
from orchestrator.sources import is_file
from workers.run_folder import RunFolder


def run_config(
    algorithm: AlgorithmName | None,
    folder: RunFolder,
    path: Path,
    overrides: Sequence[str],
    *,
    architecture: str | None = None,
    source: str | None = None,
    job: int | None = None,
) -> RunConfig:
    """The config of a run that trains.

    Args:
        algorithm: what the run is for; None is a search, by the config's own algorithm.
        folder: of the run.
        path: the user's config.
        overrides: ``key.path=value``.
        architecture: the start's encoding or name, in place of the config's.
        source: a run or file whose network and weights it starts from.
        job: one of the source's jobs, in place of its best.

    Raises:
        UserError: for what the user got wrong.
    """
    changes: dict[str, Any] = {} if algorithm is None else {"algorithm": algorithm}
    named = {} if architecture is None else _network(architecture)
    changes |= named
    if source is None and job is not None:
        raise UserError(f"--job {job}: is a job of the run that --from names; name that, too")
    if source is not None:
        found = changes_from(source, folder, job)
        encoding = found.get("start.architecture", named.get("start.architecture"))
        if named and encoding != named["start.architecture"]:
            raise UserError(
                f"--architecture {architecture}: {source} holds {encoding}; leave --architecture out, or --from"
            )
        changes |= found
    config = load_config(path, overrides, changes)
    asked = SEARCHES if algorithm is None else (algorithm,)
    if config.algorithm not in asked:
        command = "search" if config.algorithm in SEARCHES else config.algorithm
        raise UserError(
            f"config {path}: algorithm: {config.algorithm!r} is none of this command's, {', '.join(asked)}; use spnas "
            f"{command}, or leave it out"
        )
    return config


def evaluation_config(folder: RunFolder, source: str, path: Path | None, overrides: Sequence[str]) -> RunConfig:
    """The config of an evaluation.

    Args:
        folder: of the run that evaluates.
        source: the run or file whose detector is evaluated.
        path: a config in place of the one that the source, if it is a run, was made with.
        overrides: ``key.path=value``.

    Raises:
        UserError: for what the user got wrong.
    """
    given = changes_from(source, folder)
    if given["start.given"] is None or given["start.given"]["kind"] != "detector":
        raise UserError(f"weights {source}: are not those of a whole detector of spnas; name a run, or a file of one")
    # It is one job of one worker; a search's budget and records are not its own.
    changes = {"algorithm": "evaluate", "fleet.num_workers": 1, "budget": {}, "recorders": {}, **given}
    if path is not None:
        return load_config(path, overrides, changes)
    if has_begun(folder):
        owner = folder
    elif is_file(source):
        raise UserError(f"weights {source}: a file has no config; give one: spnas evaluate {source} CONFIG --run ...")
    else:
        owner = RunFolder(storage_of(source))
    return read_config(stored_config(owner).to_yaml(), owner.storage.where("config.yaml"), overrides, changes)


def _network(text: str) -> dict[str, Any]:
    """What a config has to say for a network of this encoding or name."""
    try:
        network = named_network(text).spec if is_name(text) else read_architecture(text)
    except ValueError as error:
        raise UserError(f"--architecture: {error}") from None
    if isinstance(network, NetworkSpec | MultiScaleSpec):
        return spec_changes(network) | {"start.shortcuts": None}
    changes: dict[str, Any] = {"start.architecture": str(network), "start.shortcuts": None}
    if isinstance(network, MultiScale):  # whose encoding says its channels
        changes["start.base_channels"] = BASE_CHANNELS
    return changes
