"""A trainer for the tests of gangs: what one rank does wrong, the others only lose."""

import threading
from pathlib import Path

from workers.rank import Blob, Checkpoints
from workers.task import CandidateFailure, NodeSettings, OnProgress, Place, ShouldStop, Task, TrainingResult


class LastRankFails:
    """The first rank loses the last one, which says only then that its loss is not finite."""

    def __init__(self, settings: NodeSettings) -> None:
        self._lost = Path(settings.folder) / "lost"

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
        assert place is not None
        if place.rank == 0:
            self._lost.touch()
            raise RuntimeError("gloo: connection closed by peer")
        while not self._lost.exists():
            threading.Event().wait(0.01)
        raise CandidateFailure("loss became nan at epoch 1, step 1")
