"""Files that are whole or not there: written beside, synced, then renamed.

Invariant: a reader of a file written by `write_atomically` sees all of its bytes or none, whatever dies when.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULT_VERSION = 1


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file durably under its final name only when it is whole; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """Where a job's weights are, and how to know that they are whole.

    Attributes:
        name: file name within the run's ``weights`` folder.
        sha256: of its bytes, in hexadecimal.
        size_bytes: its length.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one attempt at a job came to; durable before anybody hears of it.

    Attributes:
        index: the job's.
        attempt: which try this was, from 0.
        status: ``completed``, or ``failed`` by the candidate's own fault.
        metrics: fractions by name.
        error: why it failed, else "".
        worker: the worker's name.
        started_at: seconds since 1970.
        finished_at: seconds since 1970, when training and evaluation were over and storing began.
        peak_memory_bytes: the most memory in use.
        notes: what an operator should know.
        weights: where the weights are, if there are any.
    """

    index: int
    attempt: int
    status: str
    worker: str
    started_at: float
    finished_at: float
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = ()
    weights: WeightsFile | None = None


class RunFolder:
    """The files of one run that driver and workers share.

    ``config.yaml  driver.lock  journal/  weights/  results/  trials.parquet``
    """

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is made."""
        self.path = path
        self.config = path / "config.yaml"
        self.lock = path / "driver.lock"
        self.journal = path / "journal"
        self.weights = path / "weights"
        self.results = path / "results"
        self.trials = path / "trials.parquet"
        self.stop_request = path / "stop"

    def write_weights(self, index: int, attempt: int, data: bytes) -> WeightsFile:
        """Store an attempt's weights."""
        name = f"{index:06d}-{attempt}.safetensors"
        write_atomically(self.weights / name, data)
        return WeightsFile(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    def read_weights(self, file: WeightsFile) -> bytes:
        """An attempt's weights.

        Raises:
            OSError: if the file can't be read.
            ValueError: if its bytes are not those that were written.
        """
        data = (self.weights / file.name).read_bytes()
        if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise ValueError(f"weights {self.weights / file.name}: the bytes are not those that were written")
        return data

    def sweep(self, told: Mapping[int, WeightsFile], live: set[int]) -> None:
        """Delete what earlier drivers and workers left: dead and superseded weights, half-written files.

        Args:
            told: the weights of jobs whose outcome counts.
            live: jobs whose weights are needed, those under way included.
        """
        for folder in (self.path, self.weights, self.results):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)
        for path in self.weights.glob("*.safetensors"):
            index = int(path.name.split("-")[0])
            if index not in live or (index in told and told[index].name != path.name):
                path.unlink(missing_ok=True)

    def write_result(self, result: Result) -> None:
        """Store what an attempt came to."""
        record = {"schema_version": RESULT_VERSION, **asdict(result)}
        name = f"{result.index:06d}-{result.attempt}.json"
        write_atomically(self.results / name, json.dumps(record, allow_nan=False).encode())

    def read_results(self, index: int) -> list[Result]:
        """What the finished attempts at a job came to, by attempt."""
        results = [_result(path) for path in self.results.glob(f"{index:06d}-*.json")]
        return sorted(results, key=lambda result: result.attempt)


def _result(path: Path) -> Result:
    values: dict[str, Any] = json.loads(path.read_bytes())
    version = values.pop("schema_version")
    if version != RESULT_VERSION:
        raise ValueError(f"result {path}: has format {version}, this version reads {RESULT_VERSION}")
    weights = values.pop("weights")
    notes = tuple(values.pop("notes"))
    return Result(**values, notes=notes, weights=WeightsFile(**weights) if weights else None)
