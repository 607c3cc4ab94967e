"""Training that takes as long as its network costs, and does nothing in that time."""

import time

from experiments.chaos.stub import QuickStub
from models.architecture import NetworkSpec
from models.costs import backbone_costs
from workers.rank import Session
from workers.task import Task, TrainingResult

IMAGE_SIZE = (96, 96)
SECONDS_PER_MAC = 3e-9


def seconds(spec: NetworkSpec) -> float:
    """How long a network's training takes."""
    return SECONDS_PER_MAC * backbone_costs(spec, *IMAGE_SIZE).total.macs


class TimedStub(QuickStub):
    """A stub of known duration."""

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Wait, and answer."""
        assert isinstance(task.spec, NetworkSpec)
        time.sleep(seconds(task.spec))
        return super().train(task, session)
