"""Weights that a command is pointed at: what a run has come to, or a file.

Invariant: a `Source` holds a blob of `models.blob` that names the network it is of; nothing of it is unpickled.
"""

import errno
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.blob_header import read_header, take_metadata
from models.detector_card import DetectorCard
from models.detector_shape import BODY, DetectorShape
from models.families import AnySpec, spec_from_dict
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.runs import storage_of, stored_config
from orchestrator.search.protocol import SearchState
from workers.run_folder import SUFFIX, RunFolder
from workers.start_names import FILE_SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A blob, and where it is from.

    Attributes:
        address: opens it again, from any folder: that of a run, or a file's whole path.
        spec: the network; the weights may be those of its super-net.
        kind: whether the weights are a whole detector's.
        classes: a detector's, in the order of their labels; None if the blob does not say.
        card: what the detector is beside its backbone, by the blob or, where an older version wrote it, by its run;
            None if neither says.
        normalization: whether normalisations have running statistics (``batch``) or none (``group``); None if there
            are none.
        data: the blob.
        config: the run's; None of a file.
        job: the run's job whose weights they are; None of a file.
    """

    address: str
    spec: AnySpec
    kind: Literal["detector", "backbone"]
    classes: tuple[str, ...] | None
    card: DetectorCard | None
    normalization: Literal["batch", "group"] | None
    data: bytes
    config: RunConfig | None = None
    job: int | None = None


def is_file(text: str) -> bool:
    """Whether a user means a file of weights, and no run."""
    path = Path(text)
    try:
        return path.is_file() or (path.suffix in FILE_SUFFIXES and not path.is_dir())
    except OSError:  # no name of anything
        return False


def address_of(text: str) -> str:
    """The address of a run or file that a user named.

    Raises:
        UserError: if it is none.
    """
    return str(Path(text).absolute()) if is_file(text) else storage_of(text).address


def best_of_run(run: str, job: int | None = None) -> Source:
    """The weights that a run has come to; see `best_job`.

    Args:
        run: its folder or URI.
        job: one of its jobs, in place of the best.

    Raises:
        UserError: if it has none yet, they can't be read, or those of the job are gone.
    """
    storage = storage_of(run)
    folder = RunFolder(storage)
    config = stored_config(folder)
    history = History.fold(config, Journal(storage))
    index = best_job(history.state) if job is None else job
    if index is None:
        raise UserError(
            f"run {run}: has no weights, as {_why_none(config, history.state)}; name another run, or a file of weights"
        )
    if job is not None:
        _look_for(run, job, history, folder)
    try:
        holder = _holder(history, index)
        source = _source(folder.address, folder.read_weights(history.weights[holder]), config, index)
        return source if holder == index else replace(source, spec=history.state.population[index].job.spec)
    except (KeyError, OSError, ValueError) as error:
        raise UserError(
            f"run {run}: the weights of job {index}, {'its best, ' if job is None else ''}can't be read ({error}); if "
            "it is still going on, try again, else restore them from a copy"
        ) from None


def _why_none(config: RunConfig, state: SearchState) -> str:
    """Why a run has come to no weights so far."""
    if config.algorithm == "evaluate":
        return "an evaluation makes none"
    if any(member.job.role == "supernet" for member in state.population.values()):
        return "none of its super-net's samples has been completed"
    return "none of its jobs has been completed"


def _holder(history: History, index: int) -> int:
    """The job in whose weights a job's are: a sample that was only scored is a path of its super-net."""
    member = history.state.population.get(index)
    if member is None or index in history.weights or member.job.parent is None:
        return index
    return member.job.parent if member.job.kind == "score" else index


def _look_for(run: str, job: int, history: History, folder: RunFolder) -> None:
    """Raise a UserError, with the jobs that have weights, if one has none."""
    there = set(folder.storage.names("weights"))
    kept = sorted(index for index, file in history.weights.items() if file.name in there)
    if _holder(history, job) in kept:
        return
    member = history.state.population.get(job)
    if job in history.state.pending:
        why = "is still going on"
    elif member is None:
        why = "has never been"
    elif not member.outcome.completed:
        why = "has failed"
    else:
        why = "has no weights any more: a run keeps its best's and those that it may still need (see keep_weights)"
    jobs = f"jobs with weights: {', '.join(map(str, kept))}" if kept else "no job has weights"
    raise UserError(f"run {run}: job {job} {why}; {jobs}")


def best_job(state: SearchState) -> int | None:
    """The job that a run has come to so far: its full training, else its best detector, else a pretraining."""
    completed = {member.job.role: index for index, member in state.population.items() if member.outcome.completed}
    best = state.best_overall.index if state.best_overall else None
    if best is not None and state.population[best].job.role == "final":  # of several
        return best
    if "final" in completed:
        return completed["final"]
    return completed.get("pretrain") if best is None else best


def read_file(name: str) -> Source | None:
    """What is in a file of weights; None if it is no blob that says what network it is of.

    Raises:
        UserError: if it can't be read, or is a damaged blob.
    """
    path = Path(name)
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
        data = path.read_bytes()
        return _source(str(path.absolute()), data) if path.suffix == SUFFIX else None
    except OSError as error:
        raise UserError(f"weights {path}: can't be read ({error.strerror}); name a run or a file of weights") from None
    except LookupError:
        return None
    except ValueError as error:
        raise UserError(f"weights {path}: {str(error).removeprefix('weights: ')}; write or copy it again") from None


def _source(address: str, data: bytes, config: RunConfig | None = None, job: int | None = None) -> Source:
    """A blob and what it says of itself; LookupError if it does not name its network."""
    header, _ = read_header(np.frombuffer(data, dtype=np.uint8))
    metadata = take_metadata(header)
    try:
        spec = spec_from_dict(json.loads(metadata["spec"]))
        classes = tuple(map(str, json.loads(metadata["classes"]))) if "classes" in metadata else None
    except (RecursionError, TypeError) as error:
        raise ValueError(f"the blob's metadata are damaged ({type(error).__name__})") from None
    is_detector = any(name.startswith(BODY) for name in header)
    card = None
    if is_detector:
        card = DetectorCard.of_metadata(metadata) if "detector" in metadata else _card_by(config, classes)
    return Source(
        address=address,
        spec=spec,
        kind="detector" if is_detector else "backbone",
        classes=classes,
        card=card,
        normalization=_normalization(header),
        data=data,
        config=config,
        job=job,
    )


def _card_by(config: RunConfig | None, classes: tuple[str, ...] | None) -> DetectorCard | None:
    """What a run's detectors are, for weights that don't say it themselves."""
    if config is None or classes is None:
        return None
    data = config.data
    shape = DetectorShape(**config.detector.model_dump(), image_mean=data.mean, image_std=data.std)
    return DetectorCard(classes=classes, max_stages=config.serial.max_stages, shape=shape)


def _normalization(header: dict[str, Any]) -> Literal["batch", "group"] | None:
    """The kind that the tensors are of: vectors of weights are the scales of a normalisation."""
    if any(name.endswith(".running_mean") for name in header):
        return "batch"
    for name, entry in header.items():
        match entry:
            case {"shape": [_]} if name.endswith(".weight"):
                return "group"
    return None
