"""What a study has found, as one small Parquet file that says where it comes from.

Invariant: equal results and provenance are equal bytes; a file is there whole or not at all.
"""

import hashlib
import io
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from experiments.studying.study import Finished
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
        machine: the CPU of the one that has recorded them.
        num_cores: its cores.
        num_runs: those that other studies need, too, among them.
        training_seconds: of all jobs of all runs.
        wall_hours: in which at least one of the jobs was under way.
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


def provenance(study: str, command: str, seeds: Sequence[int], runs: Iterable[Finished], now: datetime) -> Provenance:
    """Where results come from that are recorded now, here.

    Args:
        study: its name.
        command: as it was given.
        seeds: of the searches.
        runs: all that the study asked for.
        now: with its zone.
    """
    found = list(runs)
    jobs = pd.concat([each.trials[["seconds", "finished_at"]] for each in found]).dropna()
    return Provenance(
        study=study,
        command=command,
        date=now.astimezone(UTC).isoformat(timespec="seconds"),
        seeds=tuple(seeds),
        versions=versions(),
        machine=machine(),
        num_cores=len(os.sched_getaffinity(0)),
        num_runs=len(found),
        training_seconds=float(jobs["seconds"].sum()),
        wall_hours=busy_hours(jobs),
        configs={each.run.name: hashlib.sha256(each.config.to_yaml().encode()).hexdigest()[:16] for each in found},
    )


def busy_hours(jobs: pd.DataFrame) -> float:
    """Hours in which at least one of the jobs was under way; of each `seconds`, and when it was `finished_at`."""
    ends = jobs["finished_at"].map(datetime.timestamp)
    total, last = 0.0, float("-inf")
    for start, end in sorted(zip(ends - jobs["seconds"], ends, strict=True)):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total / 3600


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
