"""Trainers without torch for the doctor's tests: one that answers at once, one whose network is too large."""

from typing import Any

from workers.rank import Blob, Checkpoints
from workers.task import ALL_REDUCE, NodeSettings, OnProgress, Place, ShouldStop, Task, TrainingResult


class CheapTrainer:
    def __init__(self, settings: NodeSettings) -> None:
        pass

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
        metrics = {"num_devices": 0.0, "bytes_per_second": 1e9}
        return TrainingResult(metrics=metrics, weights=b"", peak_memory_bytes=2**30)


class LargeTrainer(CheapTrainer):
    def train(self, task: Task, *others: Any, **more: Any) -> TrainingResult:
        if task.kind != ALL_REDUCE:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().train(task, *others, **more)
