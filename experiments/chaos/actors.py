"""The node worker in whose process the planned faults strike."""

from typing import Any

import ray

from experiments.chaos.faults import Plan
from experiments.chaos.hooks import install
from workers.node import NodeWorker
from workers.task import NodeSettings


class FaultyNodeWorker(NodeWorker):
    """A node worker whose writes are struck."""

    def __init__(self, name: str, settings: NodeSettings) -> None:
        """Read the plan and be as the other is."""
        install(Plan(settings.folder))
        super().__init__(name, settings)


FaultyNodeActor: Any = ray.remote(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})(  # type: ignore[call-overload]
    FaultyNodeWorker
)
