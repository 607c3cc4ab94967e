"""The files of one run that driver and workers share.

``config.yaml  driver.lock  stop  progress.json  trials.parquet  journal/  weights/  results/  checkpoints/``

Beside them lies what recorders need (`orchestrator.recorders`): ``tensorboard/  mlflow.json``.

Invariant: everything an attempt writes bears the attempt's name, in which its driver's epoch is; so nothing that a
superseded driver has started can take the place of anything else.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from models.wording import brief, one_line
from workers.storage import Storage, open_storage

RESULT_VERSION = 2
SUFFIX = ".safetensors"
GIVEN = "given"
"""The name, in the place of an attempt's, of weights that no job has made but the run was given at its beginning."""

GIVEN_INDEX = -1
"""Stands for them among the indices of jobs."""

ATTEMPT = re.compile(r"[0-9]{6,}-[0-9]+(?:-([0-9]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """Where a job's weights are, and how to know that they are whole.

    Attributes:
        name: file name within the run's ``weights`` folder.
        sha256: of its bytes, in hexadecimal.
        size_bytes: its length.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True)

    name: str
    sha256: str
    size_bytes: int

    @property
    def attempt(self) -> str:
        """The name of the attempt that wrote it."""
        return self.name.removesuffix(SUFFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one attempt at a job came to; durable before anybody hears of it.

    Attributes:
        index: the job's.
        attempt: which try this was, from 0.
        epoch: the journal's epoch of the driver that sent it; 0 in the first format, which had none.
        name: the attempt's.
        status: ``completed``, or ``failed`` by the candidate's own fault.
        metrics: fractions by name.
        error: why it failed, else "".
        worker: the worker's name.
        started_at: seconds since 1970, by the worker's clock, which may be wrong or jump.
        finished_at: the same, when training and evaluation were over and storing began.
        seconds: how long that took, by a clock that does not jump.
        peak_memory_bytes: the most memory in use.
        notes: what an operator should know.
        weights: where the weights are, if there are any.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False)

    index: int
    attempt: int
    epoch: int
    name: str
    status: str
    worker: str
    started_at: float
    finished_at: float
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = ()
    weights: WeightsFile | None = None


_RESULT = TypeAdapter(Result)


class RunFolder:
    """A run's files by what they are."""

    def __init__(self, address: str | Path | Storage) -> None:
        """Name the place; nothing is made.

        Raises:
            ValueError: if the address is none; see `open_storage`.
        """
        self.storage = open_storage(address) if isinstance(address, str | Path) else address

    @property
    def address(self) -> str:
        """What opens the run again, from any folder."""
        return self.storage.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.storage.name

    def read_config(self) -> str:
        """The run's config, YAML.

        Raises:
            FileNotFoundError: if nothing has begun here.
            ValueError: if it is no text.
        """
        return self.storage.read("config.yaml").decode()

    def write_config(self, text: str) -> None:
        """Store the run's config."""
        self.storage.write("config.yaml", text.encode())

    def has_config(self) -> bool:
        """Whether this is a run."""
        return "config.yaml" in self.storage.names()

    def write_weights(self, name: str, data: bytes) -> WeightsFile:
        """Store an attempt's weights."""
        self.storage.write(f"weights/{name}{SUFFIX}", data)
        return WeightsFile(name=name + SUFFIX, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    def read_weights(self, file: WeightsFile) -> bytes:
        """An attempt's weights.

        Raises:
            OSError: if the file can't be read.
            ValueError: if its bytes are not those that were written.
        """
        name = f"weights/{file.name}"
        data = self.storage.read(name)
        if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise ValueError(f"weights {self.storage.where(name)}: the bytes are not those that were written")
        return data

    def weights_path(self, file: WeightsFile) -> str:
        """Where an attempt's weights are, for messages."""
        return self.storage.where(f"weights/{file.name}")

    def delete_weights(self, name: str) -> None:
        """Delete an attempt's weights, if there are any."""
        self.storage.delete(f"weights/{name}{SUFFIX}")

    def write_result(self, result: Result) -> None:
        """Store what an attempt came to."""
        record = {"schema_version": RESULT_VERSION, **asdict(result)}
        self.storage.write(f"results/{result.name}.json", json.dumps(record, allow_nan=False).encode())

    def read_result(self, name: str) -> Result | None:
        """What an attempt came to, None if nothing was stored.

        Raises:
            OSError: if the file can't be read.
            ValueError: if it is damaged, or of newer code.
        """
        file = f"results/{name}.json"
        try:
            data = self.storage.read(file)
        except FileNotFoundError:
            return None
        return _result(data, name, self.storage.where(file))

    def write_checkpoint(self, name: str, data: bytes) -> None:
        """Replace an attempt's checkpoint."""
        self.storage.write(f"checkpoints/{name}{SUFFIX}", data)

    def read_checkpoint(self, name: str) -> bytes | None:
        """An attempt's checkpoint, None if there is none; it knows by itself whether it is whole."""
        try:
            return self.storage.read(f"checkpoints/{name}{SUFFIX}")
        except FileNotFoundError:
            return None

    def delete_checkpoint(self, name: str) -> None:
        """Delete an attempt's checkpoint, if there is one."""
        self.storage.delete(f"checkpoints/{name}{SUFFIX}")

    def write_trials(self, data: bytes) -> None:
        """Replace the trials table, Parquet."""
        self.storage.write("trials.parquet", data)

    def read_trials(self) -> bytes:
        """The trials table, Parquet.

        Raises:
            FileNotFoundError: if there is none yet.
        """
        return self.storage.read("trials.parquet")

    def write_progress(self, data: bytes) -> None:
        """Replace what tells how the run stands while a driver works on it."""
        self.storage.write("progress.json", data)

    def read_progress(self) -> bytes | None:
        """What a driver last told of how the run stands, None if none works or has told."""
        try:
            return self.storage.read("progress.json")
        except FileNotFoundError:
            return None

    def delete_progress(self) -> None:
        """Forget it."""
        self.storage.delete("progress.json")

    def request_stop(self) -> None:
        """Ask the run's driver to end the run."""
        self.storage.write("stop", b"")

    def stop_requested(self) -> bool:
        """Whether that has been asked for."""
        try:
            self.storage.read("stop")
        except FileNotFoundError:
            return False
        return True

    def clear_stop(self) -> None:
        """Forget that it has been."""
        self.storage.delete("stop")

    def sweep(self, keep_weights: set[str], keep_checkpoints: set[str], up_to_epoch: int) -> None:
        """Delete what earlier drivers and workers left: files of attempts that nobody needs, half-written ones.

        Args:
            keep_weights: names of the attempts whose weights are kept.
            keep_checkpoints: names of the attempts whose checkpoints are kept.
            up_to_epoch: attempts of later ones are left alone: they are another driver's, which has taken the run.
        """
        self.storage.sweep()
        for folder, kept in (("weights", keep_weights), ("checkpoints", keep_checkpoints)):
            for file in self.storage.names(folder):
                name = file.removesuffix(SUFFIX)
                match = ATTEMPT.fullmatch(name)
                if match and int(match[1] or 0) <= up_to_epoch and name not in kept:
                    self.storage.delete(f"{folder}/{file}")


def _result(data: bytes, name: str, where: str) -> Result:
    try:
        values: dict[str, Any] = json.loads(data)
        version = values.pop("schema_version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"result {where}: is damaged") from None
    if not isinstance(version, int) or version not in range(1, RESULT_VERSION + 1):
        raise ValueError(
            f"result {where}: has format {brief(version)}, this version reads up to {RESULT_VERSION}; use a newer spnas"
        )
    try:
        if version == 1:
            values["epoch"], values["name"] = 0, f"{values['index']:06d}-{values['attempt']}"
            values["seconds"] = max(0.0, values["finished_at"] - values["started_at"])
        weights = values.pop("weights")
        notes = tuple(values.pop("notes"))
        result = Result(**values, notes=notes, weights=WeightsFile(**weights) if weights else None)
        result = _RESULT.validate_json(json.dumps(asdict(result), allow_nan=False))  # types, all the way down
    except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"result {where}: is damaged ({one_line(str(error))})") from None
    if result.name != name:
        raise ValueError(f"result {where}: is damaged (it is that of {brief(result.name)})")
    return result
