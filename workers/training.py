"""What a rank does with its tasks: trains and evaluates detectors, pretrains backbones.

Invariant: data sets are opened by the first task that needs them and stay open, as does what they cache, and who reads
ahead in them.
"""

from typing import TypeVar

from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.data.interface import ClassificationData, DetectionData
from workers.data.loading import Loaders
from workers.detection import train_detector
from workers.evaluation import evaluate
from workers.rank import Blob, Checkpoints
from workers.settings import CachedData
from workers.task import NodeSettings, OnProgress, Place, ShouldStop, Task, TrainingResult
from workers.world import World, joined

AnyData = TypeVar("AnyData", bound=CachedData)


class NetworkTrainer:
    """Trains networks of torch on the data sets of the settings."""

    def __init__(self, settings: NodeSettings) -> None:
        """Keep the settings."""
        self._settings = settings
        self._loaders = Loaders(settings.num_loaders)
        self._detection_data: DetectionData | None = None
        self._classification_data: ClassificationData | None = None

    def train(
        self,
        task: Task,
        place: Place | None,
        parent: Blob | None,
        backbone: Blob | None,
        checkpoints: Checkpoints,
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> TrainingResult:
        """Train one task.

        Args:
            task: what to train.
            place: this rank's among those that train it together; None if it is alone.
            parent: the blob of the detector it grows from, if any.
            backbone: the blob of a pretrained backbone, if any.
            checkpoints: where half-finished training is kept, and found again.
            on_progress: told every few steps.
            should_stop: asked before each step.
        """
        with joined(place, task.stall_s) as world:
            return self._train(world, task, parent, backbone, checkpoints, on_progress, should_stop)

    def _train(
        self,
        world: World,
        task: Task,
        parent: Blob | None,
        backbone: Blob | None,
        checkpoints: Checkpoints,
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> TrainingResult:
        settings = self._settings
        if task.kind == "pretrain":
            if self._classification_data is None:
                assert settings.reignition_data is not None
                self._classification_data = open_classification_data(_shared(settings.reignition_data, settings))
            return pretrain(
                task,
                data=self._classification_data,
                checkpoints=checkpoints,
                on_progress=on_progress,
                should_stop=should_stop,
                world=world,
                loaders=self._loaders,
            )
        if self._detection_data is None:
            self._detection_data = open_detection_data(_shared(settings.data, settings))
        if task.kind == "evaluate":
            return evaluate(
                task,
                data=self._detection_data,
                detector=settings.detector,
                max_stages=settings.max_stages,
                parent=parent,
                on_progress=on_progress,
                should_stop=should_stop,
                world=world,
                loaders=self._loaders,
            )
        return train_detector(
            task,
            data=self._detection_data,
            detector=settings.detector,
            max_stages=settings.max_stages,
            parent=parent,
            backbone=backbone,
            checkpoints=checkpoints,
            on_progress=on_progress,
            should_stop=should_stop,
            world=world,
            loaders=self._loaders,
        )


def _shared(data: AnyData, settings: NodeSettings) -> AnyData:
    """The settings of a data set with a rank's share of the worker's cache."""
    return data.model_copy(update={"cache_bytes": data.cache_bytes // settings.num_ranks})
