"""Configs as files and mappings: read, overridden, compared.

A file may build on another: `base` names that, and the file has only what differs. What a run stores is the whole.

Invariant: whatever a file holds, there comes a `RunConfig` of it or a `UserError` with one line per mistake.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.wording import brief
from orchestrator.config import RunConfig, flat
from orchestrator.errors import UserError
from orchestrator.mistakes import mistakes
from orchestrator.yaml_text import MAX_BYTES, MAX_DEPTH, read_yaml

MAX_BASES = 8
"""Files that may build on each other; more are a circle."""

# Keys that may change when a run goes on: what could repair a failure, and what the history does not depend on.
CHANGEABLE = (
    "budget.*",
    "recorders.*",
    "keep_weights",
    "fleet.num_workers",
    "reignition.num_nodes",
    "final.num_nodes",
    "supernet.num_nodes",
    "fleet.label_selector*",
    "fleet.cpus_per_worker",
    "fleet.loaders_per_rank",
    "fleet.max_attempts",
    "fleet.checkpoint_minutes",
    "fleet.stall_minutes",
    "fleet.deadline_minutes",
    "fleet.unreachable_minutes",
    "fleet.wait_minutes",
    "fleet.max_failures_in_a_row",
    "*.root",
    "*.cache_bytes",
    "*.cache_dir",
    "*.batch_size",
)


def load_config(path: Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a config file and change it.

    Args:
        path: the file.
        overrides: ``key.path=value``, the values being YAML; these come last.
        changes: values by ``key.path``, of the command.

    Raises:
        UserError: one line per mistake, each with the key, the value and what would be right.
    """
    return _changed(_read_file(path, str(path)), str(path), overrides, changes)


def read_config(
    text: str, source: str, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> RunConfig:
    """Read a config's text, which `source` names in messages; see `load_config`."""
    return _changed(_read_text(text, source), source, overrides, changes)


def parse_config(values: dict[str, Any], source: str) -> RunConfig:
    """Check a config that has been read; see `load_config`."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(f"config {source}: {line}" for line in mistakes(error, values, RunConfig))) from None


def differences(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, as ``{"fleet.num_workers": (old, new)}``."""
    before, after = (dict(flat(config.model_dump(mode="json"))) for config in (old, new))
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def may_change(key: str) -> bool:
    """Whether a run may go on with another value of this key."""
    return any(fnmatchcase(key, pattern) for pattern in CHANGEABLE)


def _read_file(path: Path, source: str, depth: int = 0) -> dict[str, Any]:
    """The values of a file, those of its base among them; `source` names it in messages."""
    try:
        is_file = path.is_file() or not path.exists()
        with path.open("rb") if is_file else BytesIO() as file:  # a pipe would never end, nor would a device
            text = file.read(MAX_BYTES + 1).decode()
    except UnicodeDecodeError:
        raise UserError(f"config {source}: is not text; give the path of a YAML file") from None
    except (OSError, ValueError) as error:  # a path may be none
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"config {source}: can't be read ({reason}); give the path of a YAML file") from None
    if not is_file:
        raise UserError(f"config {source}: is no file; give the path of a YAML file")
    values = _read_text(text, source)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UserError(f"config {source}: base: {brief(base)} is no path; give that of a YAML file, seen from here")
    if depth == MAX_BASES:
        raise UserError(f"config {source}: base: {brief(base)}; {MAX_BASES} files build on this one, is it a circle?")
    under = path.parent / base
    return _merged(_read_file(under, f"{under} (the base of {path.name!r})", depth + 1), values)


def _read_text(text: str, source: str) -> dict[str, Any]:
    try:
        values = read_yaml(text)
    except ValueError as error:
        raise UserError(f"config {source}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"config {source}: holds {type(values).__name__}; a mapping of keys to values is needed")
    return values


def _merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The base's values with these in their place; groups are merged key by key, all else is replaced."""
    merged = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def _changed(
    values: dict[str, Any], source: str, overrides: Sequence[str], changes: Mapping[str, Any] | None
) -> RunConfig:
    """The config of these values, changed by the command and then by the overrides."""
    for path, value in (changes or {}).items():
        _set(values, path, value, "the command")
    for override in overrides:
        _override(values, override)
    return parse_config(values, source)


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not all(path.split(".")) or path.count(".") >= MAX_DEPTH:
        raise UserError(f"override {brief(override)}: is not of the form key.path=value")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UserError(f"override {brief(override)}: {brief(text)} is no YAML value ({error})") from None
    _set(values, path, value, f"override {brief(override)}")


def _set(values: dict[str, Any], path: str, value: Any, who: str) -> None:
    """Put a value at a path; `who` names what asks for it."""
    *parents, last = path.split(".")
    for key in parents:
        inner = values.get(key)
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise UserError(f"{who}: {key} holds {brief(inner)}, which has no keys below it")
        values = inner
    values[last] = value
