"""A trainer for the tests of gangs: what one rank does wrong, the others only lose."""

import threading
from pathlib import Path

from workers.rank import Session
from workers.task import CandidateFailure, NodeSettings, Task, TrainingResult


class LastRankFails:
    """The first rank loses the last one, which says only then that its loss is not finite."""

    def __init__(self, settings: NodeSettings) -> None:
        self._lost = Path(settings.folder) / "lost"

    def train(self, task: Task, session: Session) -> TrainingResult:
        assert session.place is not None
        if session.place.rank == 0:
            self._lost.touch()
            raise RuntimeError("gloo: connection closed by peer")
        while not self._lost.exists():
            threading.Event().wait(0.01)
        raise CandidateFailure("loss became nan at epoch 1, step 1")
