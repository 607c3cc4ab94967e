"""One life of a driver.

Invariant: it does what ``spnas search`` does, but for the training that its ranks do and the faults that strike it.
"""

import os
import signal
import sys
from pathlib import Path

from experiments.chaos.actors import FaultyNodeActor
from experiments.chaos.faults import Plan, note_driver
from experiments.chaos.hooks import install
from orchestrator import fleet
from orchestrator.config import RunConfig
from orchestrator.driver import Driver
from orchestrator.errors import RunStopped
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.lease import Lease
from orchestrator.runs import RunLock, open_run
from orchestrator.search.protocol import Job
from workers.storage import open_storage
from workers.task import Progress

COMPLETE, STOPPED, REFUSED = 0, 1, 2


class Teller:
    """An observer that prints what an operator is told."""

    def opened(self, history: History, resumed: bool) -> None:
        """The run begins or goes on."""
        print("goes on" if resumed else "begins", flush=True)

    def told(self, history: History, record: Record) -> None:
        """A job's outcome counts from now on."""
        print("told", record["outcome"]["index"], flush=True)

    def note(self, text: str) -> None:
        """Something an operator should know."""
        print(text, flush=True)

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Not told."""


def drive(config: RunConfig, address: str, trainer: str, cluster: str, output: Path) -> None:
    """Search until the end or until something stops it; the process's exit code says which.

    Args:
        config: what to search.
        address: the run's address.
        trainer: what its ranks train with.
        cluster: where Ray is.
        output: the file for all that is printed.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["RAY_ADDRESS"] = cluster
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below what a shell has put in the background
    note_driver(address)
    install(Plan(address))
    setattr(fleet, "NodeActor", FaultyNodeActor)  # noqa: B010 - it is only imported there
    storage = open_storage(address)
    # A frozen driver's lease runs out soon, so that nothing waits long.
    lease = None if storage.is_local else Lease(storage, beat_s=0.3, settle_s=0.3, watch_s=4.0)
    lock = RunLock(storage, lease)
    if not lock.acquire():
        print("another driver works on it", flush=True)
        sys.exit(REFUSED)
    try:
        folder, changed = open_run(config, storage)
        print(Driver(config, folder, Teller(), still_ours=lock.verify, trainer=trainer).run(changed), flush=True)
    except (RunStopped, OSError) as error:
        print(f"stopped: {error!r}", flush=True)
        sys.exit(STOPPED)
    finally:
        lock.release()
