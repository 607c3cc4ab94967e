"""Weights that a run is given at its beginning: copied into its folder, so that it needs nothing outside later.

Invariant: the config names them by their checksum; other bytes are never used.
"""

import hashlib
from dataclasses import asdict
from typing import Any

from models.architecture import NetworkSpec
from models.detector_card import DetectorCard
from models.families import BASE_CHANNELS, AnySpec
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.node_settings import start_weights
from orchestrator.runs import has_begun, stored_config
from orchestrator.search.protocol import Job
from orchestrator.search.trials import is_afresh
from orchestrator.sources import Source, address_of, best_of_run, is_file, read_file
from workers.run_folder import GIVEN, GIVEN_INDEX, SUFFIX, RunFolder, WeightsFile

OF_DETECTORS = (
    "kind",
    "mask",
    "pyramid_channels",
    "anchor_size",
    "anchor_ratios",
    "head_channels",
    "head_convolutions",
    "head_convolution_channels",
    "roi_size",
    "roi_sampling_ratio",
    "canonical_scale",
)
OF_MASKS = ("mask_channels", "mask_roi_size")
"""Fields of `DetectorShape` that weights can't do without, and those of masks."""


def changes_from(source: str, folder: RunFolder, job: int | None = None) -> dict[str, Any]:
    """What a config has to say, for a run to start from the best of another or from a file.

    A run that is there already and began from the same source keeps what it began with, whatever has become of that.

    Args:
        source: a run or a file, as a user names it.
        folder: of the run that is to start, or go on.
        job: one of the source's jobs, in place of its best.

    Returns:
        Values by ``key.path``.

    Raises:
        UserError: if there is nothing to start from.
    """
    if has_begun(folder):
        start = stored_config(folder).start
        if start.given is not None and (start.given.source, start.given.job) == (address_of(source), job):
            return {f"start.{key}": value for key, value in start.model_dump(mode="json", exclude={"training"}).items()}
    found = _read(source, job)
    if found is None:  # of another program, which names no network: the config does
        return {"start.weights": address_of(source), "start.given": None}
    return changes_of(found, job)


def _read(source: str, job: int | None) -> Source | None:
    """What a user has named; None if it is a file of another program.

    Raises:
        UserError: if there is nothing to start from.
    """
    if not is_file(source):
        return best_of_run(source, job)
    if job is not None:
        raise UserError(f"--job {job}: {source} is a file, which has no jobs; leave it out, or name a run")
    return read_file(source)


def changes_of(source: Source, job: int | None = None) -> dict[str, Any]:
    """What a config has to say, for a run to start from this; `job` is what was asked for in place of a best."""
    given = {
        "source": source.address,
        "job": job,
        "kind": source.kind,
        "classes": None if source.classes is None else list(source.classes),
        "normalization": source.normalization,
        "built_with": None if source.card is None else _built_with(source.spec, source.card),
        "sha256": hashlib.sha256(source.data).hexdigest(),
        "size_bytes": len(source.data),
    }
    return {**spec_changes(source.spec), "start.weights": None, "start.given": given}


def spec_changes(spec: AnySpec) -> dict[str, Any]:
    """What a config has to say, for a run to start from this network; what is another family's is as by default."""
    own = {"shortcuts": None, "base_channels": BASE_CHANNELS} | spec.to_dict()
    return {f"start.{key}": value for key, value in own.items()}


def _built_with(spec: AnySpec, card: DetectorCard) -> dict[str, Any]:
    """What makes the weights the function that they are, by key of a config.

    What counts in training alone, and what only says how many of the detections are kept, is left out.
    """
    shape = asdict(card.shape)
    keys = OF_DETECTORS + (OF_MASKS if card.shape.mask else ())
    levels = {"serial.max_stages": card.max_stages} if isinstance(spec, NetworkSpec) else {}
    return {
        **levels,
        "data.mean": shape["image_mean"],
        "data.std": shape["image_std"],
        **{f"detector.{key}": shape[key] for key in keys},
    }


def given_file(config: RunConfig) -> WeightsFile | None:
    """Where a run has what it was given; None if it was given nothing."""
    given = config.start.given
    if given is None:
        return None
    return WeightsFile(name=GIVEN + SUFFIX, sha256=given.sha256, size_bytes=given.size_bytes)


def origins(config: RunConfig, job: Job) -> tuple[int | None, int | None]:
    """Whose weights a job's detector and its backbone start from: jobs', or what the run was given (`GIVEN_INDEX`)."""
    given = config.start.given
    has_own = job.kind == "pretrain" or job.parent is not None or job.backbone is not None
    if given is None or has_own or _is_afresh(config, job):
        return job.parent, job.backbone
    return (GIVEN_INDEX, None) if given.kind == "detector" else (None, GIVEN_INDEX)


def start_weights_of(config: RunConfig, job: Job) -> str | None:
    """What a job without origins starts from; None where it is fresh."""
    return None if _is_afresh(config, job) else start_weights(config)


def _is_afresh(config: RunConfig, job: Job) -> bool:
    return config.algorithm == "trials" and is_afresh(config.trials, job.index)


def put_given(config: RunConfig, folder: RunFolder) -> None:
    """Copy what a run is given into its folder, unless it is there.

    Raises:
        UserError: if its source has become another.
    """
    given, file = config.start.given, given_file(config)
    if given is None or file is None or file.name in folder.storage.names("weights"):
        return
    source = _read(given.source, given.job)
    if source is None or hashlib.sha256(source.data).hexdigest() != given.sha256:
        raise UserError(
            f"start.given.source: {given.source} holds other weights by now; begin with them in another folder"
        )
    folder.write_weights(GIVEN, source.data)
