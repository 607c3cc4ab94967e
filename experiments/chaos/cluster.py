"""A Ray cluster of fake nodes with fake GPUs on this machine, whose nodes may be killed.

Invariant: after `restore` there are as many nodes as at first. This process looks at the cluster, but is no driver of
it: a process may be that of one only.
"""

import re
from typing import Any

from ray._private.internal_api import get_state_from_address, memory_summary
from ray.cluster_utils import Cluster

# A dead node refuses the question at once; one that is only slow has all the time that a busy machine may need.
FAST_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 3,
}
NUM_NODES = 3
STORE_BYTES = 80 * 2**20


class Nodes:
    """A head without workers and some nodes with a GPU each."""

    def __init__(self, num_nodes: int = NUM_NODES) -> None:
        """Start them."""
        head = {
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": FAST_HEALTH_CHECKS,
        }
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._add() for _ in range(num_nodes)]
        self._state: Any = get_state_from_address(self.address)  # type: ignore[no-untyped-call]

    @property
    def address(self) -> str:
        """What to set ``RAY_ADDRESS`` to."""
        address: str = self._cluster.address
        return address

    def restore(self) -> bool:
        """Put another node in the place of each that is dead; whether there was one."""
        dead = [node for node in self._nodes if not _is_alive(node)]
        for node in dead:
            self._nodes.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)
            self._nodes.append(self._add())
        return bool(dead)

    def actors(self) -> list[str]:
        """The names of all actors that are not dead."""
        actors = self._state.actor_table(None).values()
        return sorted(actor["Name"] for actor in actors if actor["State"] != "DEAD")

    def num_objects(self) -> int:
        """Objects in the stores of all nodes."""
        summary = memory_summary(self.address, stats_only=True)  # type: ignore[no-untyped-call]
        return sum(int(count) for count in re.findall(r"Plasma memory usage .* MiB, (\d+) objects", summary))

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)


def _is_alive(node: Any) -> bool:
    return all(info.process.poll() is None for info in node.all_processes["raylet"])
