"""Trainers without torch for the doctor's tests: one that answers at once, one whose network is too large."""

from workers.rank import Session
from workers.task import ALL_REDUCE, NodeSettings, Task, TrainingResult


class CheapTrainer:
    def __init__(self, settings: NodeSettings) -> None:
        pass

    def train(self, task: Task, session: Session) -> TrainingResult:
        metrics = {"num_devices": 0.0, "bytes_per_second": 1e9}
        return TrainingResult(metrics=metrics, weights=b"", peak_memory_bytes=2**30)


class LargeTrainer(CheapTrainer):
    def train(self, task: Task, session: Session) -> TrainingResult:
        if task.kind != ALL_REDUCE:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().train(task, session)
