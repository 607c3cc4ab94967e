"""Runs of one job that are finished, without anything having been trained."""

import json
from pathlib import Path

import torch

from models.architecture import Architecture, NetworkSpec
from models.blob import pack
from models.detector_card import DetectorCard
from models.detector_shape import DetectorShape
from orchestrator.config import RunConfig
from orchestrator.history import decided_record, told_record
from orchestrator.journal import Journal
from orchestrator.search.protocol import Job, Outcome
from workers.run_folder import Result, RunFolder
from workers.storage import open_storage

CLASSES = ("disc", "square", "triangle", "cross")  # of shapes


def blob(
    encoding: str = "BB(1,1,1)",
    *,
    detector: bool = True,
    classes: tuple[str, ...] = CLASSES,
    value: float = 0.0,
    shape: DetectorShape | None = None,
    vector: str = "stem",
) -> bytes:
    """What looks like a network's weights, as long as nobody loads them.

    With a shape, the weights say what their detector is; `vector` names the one tensor, of two numbers.
    """
    metadata = {"spec": json.dumps(NetworkSpec.fresh(Architecture.parse(encoding), "deep", 4).to_dict())}
    if detector:
        metadata["classes"] = json.dumps(classes)
    if shape is not None:
        metadata |= DetectorCard(classes=classes, max_stages=4, shape=shape).metadata
    return pack({("backbone.body." if detector else "") + vector: torch.full((2,), value)}, metadata)


def finished_run(path: Path, config: RunConfig, weights: bytes) -> RunFolder:
    """A run whose first job has ended with these weights."""
    folder = RunFolder(open_storage(path))
    folder.write_config(config.to_yaml())
    algorithm = config.build_algorithm()
    state = algorithm.initial()
    job = algorithm.decide(state)
    assert isinstance(job, Job)
    decided = decided_record(job, 0.0)
    outcome = Outcome(index=0, status="completed", score=0.5, metrics={"AP50": 0.5, "AP/disc": 0.25})
    result = Result(
        index=0,
        attempt=0,
        epoch=1,
        name="000000-0-1",
        status="completed",
        worker="worker-0",
        started_at=0.0,
        finished_at=1.0,
        seconds=1.0,
        weights=folder.write_weights("000000-0-1", weights) if weights else None,
    )
    algorithm.tell(state, outcome)
    journal = Journal(folder.storage)
    journal.open_epoch()
    journal.append([decided, told_record(outcome, result, state, 0.0)])
    journal.close()
    return folder
