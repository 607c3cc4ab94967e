"""What a rank does with its tasks: trains and evaluates detectors, trains super-nets, pretrains backbones.

Invariant: data sets are opened by the first task that needs them and stay open, as does what they cache, and who reads
ahead in them.
"""

from typing import TypeVar

from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.data.interface import ClassificationData, DetectionData
from workers.data.loading import Loaders
from workers.detection import train_detector
from workers.evaluation import EVALUATE, SCORE, evaluate
from workers.rank import Session
from workers.settings import CachedData
from workers.supernet import Paths
from workers.task import NodeSettings, Task, TrainingResult
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

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Train one task."""
        with joined(session.place, task.stall_s) as world:
            return self._train(world, task, session)

    def _train(self, world: World, task: Task, session: Session) -> TrainingResult:
        settings = self._settings
        if task.kind == "pretrain":
            if self._classification_data is None:
                assert settings.reignition_data is not None
                self._classification_data = open_classification_data(_shared(settings.reignition_data, settings))
            return pretrain(
                task,
                data=self._classification_data,
                checkpoints=session.checkpoints,
                on_progress=session.on_progress,
                should_stop=session.should_stop,
                world=world,
                loaders=self._loaders,
            )
        if self._detection_data is None:
            self._detection_data = open_detection_data(_shared(settings.data, settings))
        if task.kind in (EVALUATE, SCORE):
            return evaluate(
                task,
                data=self._detection_data,
                detector=settings.detector,
                max_stages=settings.max_stages,
                parent=session.parent,
                on_progress=session.on_progress,
                should_stop=session.should_stop,
                world=world,
                loaders=self._loaders,
            )
        return train_detector(
            task,
            data=self._detection_data,
            detector=settings.detector,
            max_stages=settings.max_stages,
            parent=session.parent,
            backbone=session.backbone,
            paths=Paths.of(task, settings.utilization),
            checkpoints=session.checkpoints,
            on_progress=session.on_progress,
            should_stop=session.should_stop,
            world=world,
            loaders=self._loaders,
        )


def _shared(data: AnyData, settings: NodeSettings) -> AnyData:
    """The settings of a data set with a rank's share of the worker's cache."""
    return data.model_copy(update={"cache_bytes": data.cache_bytes // settings.num_ranks})
