"""What a study has found, as one small Parquet file that says where it comes from.

Invariant: equal results and provenance are equal bytes; a file is there whole or not at all.
"""

import io
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import UserError
from workers.storage import LocalFolder

SCHEMA_VERSION = 1
KEY = b"spnas.study"
"""Of the file's metadata, beside pandas' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made a study's results.

    Attributes:
        study: its name.
        command: makes them again.
        date: when they were recorded, UTC, ISO 8601.
        seeds: of the searches.
        versions: of spnas, Python and the libraries that numbers hang on, by name.
        machine: its CPU, and its accelerator where one was used.
        num_cores: that the runs could use.
        num_runs: shared ones among them.
        training_seconds: of all jobs of all runs.
        wall_hours: from the first job decided to the last one done, without the time in which no run went on.
        configs: a digest of each run's config by the run's name.
    """

    study: str
    command: str
    date: str
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    machine: str
    num_cores: int
    num_runs: int
    training_seconds: float
    wall_hours: float
    configs: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION


_PROVENANCE = TypeAdapter(Provenance)


def versions() -> dict[str, str]:
    """Of what is installed here."""
    libraries = ("spnas", "torch", "ray", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in libraries}


def machine() -> str:
    """This machine's CPU; its architecture where the system does not tell its model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def write_record(path: Path, frame: pd.DataFrame, provenance: Provenance) -> None:
    """Store results; a file that is there is replaced.

    Args:
        path: the file's, its folders are made.
        frame: tidy rows; the index is not kept.
        provenance: what made them.

    Raises:
        UserError: if it can't be written.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, KEY: _PROVENANCE.dump_json(provenance)})
    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd")
    try:
        LocalFolder(path.parent).write(path.name, data.getvalue())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: can't be written ({reason}); name a folder that can") from None


def read_record(path: Path) -> tuple[pd.DataFrame, Provenance]:
    """What `write_record` stored.

    Raises:
        UserError: if there is no such file, or it is no study's.
    """
    try:
        table = pq.read_table(io.BytesIO(LocalFolder(path.parent).read(path.name)))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such record; spnas study makes it") from None
    except (OSError, ValueError) as error:  # pyarrow's own are among them
        raise UserError(f"{path}: can't be read ({error}); spnas study makes it again") from None
    try:
        provenance = _PROVENANCE.validate_json((table.schema.metadata or {})[KEY])
    except (KeyError, ValidationError):
        raise UserError(f"{path}: is no record of a study; spnas study makes one") from None
    if provenance.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: has form {provenance.schema_version}, this version reads {SCHEMA_VERSION}; run the study again"
        )
    return table.to_pandas(), provenance
