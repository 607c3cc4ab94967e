"""The worker of one node: a Ray actor that trains what it is asked to.

The only module of `workers` that imports ray. One rank runs inside the actor.

Invariant: weights and result are in storage before `run` returns, so an attempt whose answer is lost is not.
"""

import math
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.data.interface import ClassificationData, DetectionData
from workers.detection import train_detector
from workers.settings import ClassificationDataSettings, DetectionDataSettings, DetectorSettings
from workers.storage import Result, RunFolder
from workers.task import CandidateFailure, Progress, Task, TrainingResult, TrainingStopped

Blob = NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a worker needs to know of the config.

    Attributes:
        folder: the run's.
        data: the detection data set.
        reignition_data: the classification data set, if there is one.
        detector: everything but the backbone.
        max_stages: levels of the pyramid.
    """

    folder: Path
    data: DetectionDataSettings
    reignition_data: ClassificationDataSettings | None
    detector: DetectorSettings
    max_stages: int


class NodeWorker:
    """Trains one task at a time; `status` and `request_stop` answer meanwhile."""

    def __init__(self, name: str, settings: NodeSettings) -> None:
        """Keep the settings; data sets are opened by the first task that needs them, and stay open."""
        self._name = name
        self._settings = settings
        self._folder = RunFolder(settings.folder)
        self._detection_data: DetectionData | None = None
        self._classification_data: ClassificationData | None = None
        self._progress: Progress | None = None
        self._stop_requested = False

    def __repr__(self) -> str:
        """The name that Ray's dashboard and logs show."""
        return self._name

    def ready(self) -> str:
        """Answers once the actor is up, with its name."""
        return self._name

    def run(self, task: Task, parent: Blob, backbone: Blob) -> Result:
        """Train one task, store its weights, then its result, then answer.

        Args:
            task: what to train.
            parent: the blob of the detector it grows from, if any.
            backbone: the blob of a pretrained backbone, if any.

        Raises:
            OSError: if data or storage fail; that is not the candidate's fault.
            TrainingStopped: after `request_stop`.
        """
        started_at = time.time()
        self._progress = None
        trained: TrainingResult | None = None
        error, is_poisoned = "", False
        try:
            trained = self._train(task, parent, backbone)
        except (OSError, TrainingStopped):
            raise
        except CandidateFailure as failure:
            error = failure.reason
        except Exception as failure:  # whatever a candidate's own training raises is told as its failure
            error = f"{type(failure).__name__}: {failure}".splitlines()[0]
            traceback.print_exc()  # the whole story goes to the actor's log
            is_poisoned = torch.cuda.is_available()
        finished_at = time.time()
        weights = None
        if trained is not None:
            weights = self._folder.write_weights(task.index, task.attempt, trained.weights)
        result = Result(
            index=task.index,
            attempt=task.attempt,
            status="failed" if trained is None else "completed",
            worker=self._name,
            started_at=started_at,
            finished_at=finished_at,
            metrics={name: value for name, value in trained.metrics.items() if math.isfinite(value)} if trained else {},
            error=error,
            peak_memory_bytes=trained.peak_memory_bytes if trained else 0,
            notes=trained.notes if trained else (),
            weights=weights,
        )
        self._folder.write_result(result)
        self._progress = None
        if is_poisoned:  # a CUDA error outlives what raised it; Ray starts the actor anew, the driver finds the result
            os._exit(1)
        return result

    @ray.method(concurrency_group="control")
    def status(self) -> Progress | None:
        """How far the task under way has come; None before its first report."""
        return self._progress

    @ray.method(concurrency_group="control")
    def request_stop(self) -> None:
        """End the task under way at its next step, without a result."""
        self._stop_requested = True

    def _train(self, task: Task, parent: Blob, backbone: Blob) -> TrainingResult:
        settings = self._settings
        if task.kind == "pretrain":
            if self._classification_data is None:
                assert settings.reignition_data is not None
                self._classification_data = open_classification_data(settings.reignition_data)
            return pretrain(task, data=self._classification_data, on_progress=self._note, should_stop=self._should_stop)
        if self._detection_data is None:
            self._detection_data = open_detection_data(settings.data)
        return train_detector(
            task,
            data=self._detection_data,
            detector=settings.detector,
            max_stages=settings.max_stages,
            parent=parent,
            backbone=backbone,
            on_progress=self._note,
            should_stop=self._should_stop,
        )

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    def _should_stop(self) -> bool:
        return self._stop_requested


# Restarted by Ray whenever it dies, but never re-run by Ray: what was lost is the driver's to decide.
NodeActor: Any = ray.remote(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})(NodeWorker)  # type: ignore[call-overload]
