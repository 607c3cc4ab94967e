"""What is made to go wrong in a run, where, and when.

A plan is a list of faults in a file beside the run. Every process of the run reads it, says what it is about to do or
has done, and is struck where the plan says so: the fault is then real (a signal, a full disk), not an imitation of what
others would see of it.

Invariant: a fault strikes as often as it says, whichever process comes to it and however often that one is restarted;
only processes of the run are touched.
"""

import ctypes
import errno
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from experiments.chaos.beside import beside
from experiments.chaos.processes import command_of, parent_of
from workers.task import CandidateFailure

PLAN = "faults.json"
STRUCK = "struck"
DRIVER = "driver"
ANY = -1
HALF = "half"
DRIVER_EVENTS = ("decided", "dispatched", "told", "opened", "ended", "trials", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        event: what is going on: ``step`` (a rank's sign of life), ``begin``, ``weights``, ``checkpoint`` (a rank
            writes), ``result`` (an actor writes), ``decided``, ``dispatched``, ``told``, ``opened``, ``ended`` (a
            driver appends such a record), ``trials``, ``delete`` (a driver writes, or deletes weights).
        action: what happens, a key of `ACTIONS`.
        when: before or after the event, or with half of it done.
        job: whose event, or of ``opened`` the driver's epoch; `ANY` for the first to come.
        step: which sign of life of the attempt.
        times: how often; 0 for always.
        seconds: how long what takes time takes.
    """

    event: str
    action: str
    when: str = "before"
    job: int = ANY
    step: int = 0
    times: int = 1
    seconds: float = 0.0

    @property
    def ends_driver(self) -> bool:
        """Whether it ends the driver's life."""
        return self.action in ("kill driver", "terminate driver") or (
            self.event in DRIVER_EVENTS and self.action not in ("slow", "freeze")
        )

    def __str__(self) -> str:
        """In words."""
        moment = f"{self.when} {self.event}"
        moment += f" {self.step}" if self.event == "step" else ""
        return f"{self.action} {moment}" + (f" of {self.job}" if self.job != ANY else "")


class Plan:
    """The faults of one run, as one of its processes sees them."""

    def __init__(self, address: str) -> None:
        """Read the plan of the run at an address; a run without one is left alone."""
        self.address = address
        path = beside(address, PLAN)
        self.faults = [Fault(**entry) for entry in json.loads(path.read_text())] if path.is_file() else []

    @staticmethod
    def write(address: str, faults: list[Fault]) -> None:
        """Lay a plan beside a run."""
        beside(address, PLAN).write_text(json.dumps([asdict(fault) for fault in faults]))

    def has_struck(self, number: int) -> bool:
        """Whether a fault has happened at least once."""
        return beside(self.address, f"{STRUCK}-{number}-0").exists()

    def matching(self, event: str, job: int, when: str, step: int = 0) -> "tuple[int, Fault] | None":
        """The number of the fault whose moment this is, and itself, if it has not struck as often as it should."""
        for number, fault in enumerate(self.faults):
            if (fault.event, fault.when, fault.step) == (event, when, step) and fault.job in (ANY, job):
                if self._claim(number, fault):
                    return number, fault
        return None

    def strike(self, event: str, job: int, when: str, step: int = 0) -> None:
        """Let happen what is planned for this moment."""
        found = self.matching(event, job, when, step)
        if found is not None:
            ACTIONS[found[1].action](self, found[1])

    def _claim(self, number: int, fault: Fault) -> bool:
        for count in range(fault.times or 1):
            try:
                marker = beside(self.address, f"{STRUCK}-{number}-{count}")
                os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                return True
            except FileExistsError:
                continue
        return fault.times == 0


def _signal_self(number: signal.Signals) -> Callable[[Plan, Fault], None]:
    def act(plan: Plan, fault: Fault) -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait(0.2)  # it takes effect at once, but maybe not before the next line

    return act


def _exit(plan: Plan, fault: Fault) -> None:
    os._exit(3)


def _sleep(plan: Plan, fault: Fault) -> None:
    threading.Event().wait()


def _deadlock(plan: Plan, fault: Fault) -> None:
    """Wait in C with the interpreter's lock held, as a stuck library does."""
    ctypes.PyDLL(None).sleep(10_000)


def _leave_child(plan: Plan, fault: Fault) -> None:
    """Start a process that outlives its parent, as a loader of data may, then die."""
    subprocess.run(["sh", "-c", "sleep 10000 &"], check=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _slow(plan: Plan, fault: Fault) -> None:
    time.sleep(fault.seconds)


def _full_disk(plan: Plan, fault: Fault) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _nan(plan: Plan, fault: Fault) -> None:
    raise CandidateFailure("loss became nan, as the plan has it")


def _memory(plan: Plan, fault: Fault) -> None:
    raise MemoryError("as the plan has it")


def _error(plan: Plan, fault: Fault) -> None:
    raise ValueError("as the plan has it")


def _signal_actor(number: signal.Signals) -> Callable[[Plan, Fault], None]:
    def act(plan: Plan, fault: Fault) -> None:
        os.kill(_actor(), number)
        if number == signal.SIGKILL:
            _sleep(plan, fault)  # its guard ends this process

    return act


def _kill_node(plan: Plan, fault: Fault) -> None:
    raylet = parent_of(_actor())
    assert "raylet" in command_of(raylet), f"{raylet} is no raylet but {command_of(raylet)}"
    os.kill(raylet, signal.SIGKILL)
    _sleep(plan, fault)


def _signal_driver(number: signal.Signals) -> Callable[[Plan, Fault], None]:
    def act(plan: Plan, fault: Fault) -> None:
        os.kill(int(beside(plan.address, DRIVER).read_text()), number)

    return act


def _actor() -> int:
    """The node worker of this rank."""
    actor = os.getppid()
    assert command_of(actor).startswith("ray::"), f"{actor} is no node worker but {command_of(actor)}"
    return actor


def note_driver(address: str) -> None:
    """Say that this process is the run's driver."""
    beside(address, DRIVER).write_text(str(os.getpid()))


ACTIONS: dict[str, Callable[[Plan, Fault], None]] = {
    "kill": _signal_self(signal.SIGKILL),
    "crash": _signal_self(signal.SIGSEGV),
    "freeze": _signal_self(signal.SIGSTOP),
    "terminate": _signal_self(signal.SIGTERM),
    "interrupt": _signal_self(signal.SIGINT),
    "exit": _exit,
    "sleep": _sleep,
    "deadlock": _deadlock,
    "leave child": _leave_child,
    "slow": _slow,
    "full disk": _full_disk,
    "nan": _nan,
    "memory": _memory,
    "error": _error,
    "kill actor": _signal_actor(signal.SIGKILL),
    "freeze actor": _signal_actor(signal.SIGSTOP),
    "kill node": _kill_node,
    "kill driver": _signal_driver(signal.SIGKILL),
    "terminate driver": _signal_driver(signal.SIGTERM),
}
