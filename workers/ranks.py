"""The process that trains, as its node worker sees it: started, given tasks, watched, killed.

Every fault of a training ends here: an exception, a crash, a signal, a hang. The node worker lives on and says what it
was; a fresh rank takes the next task.

Invariant: when a rank is killed, or its node worker dies, everything that the rank has started dies with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import Pipe
from multiprocessing.reduction import send_handle
from typing import IO

from workers import guard
from workers.failures import fault_of_exit
from workers.rank import STOP, Blob, Failed, Stopped, Trained
from workers.task import AttemptLost, CandidateFailure, NodeSettings, OnProgress, Progress, Task, TrainingStopped

TICK_S = 1.0
START_S = 900.0
END_S = 60.0


class Rank:
    """One training process and the guard beside it."""

    def __init__(self, settings: NodeSettings) -> None:
        """Start it; it gets ready in the background."""
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from workers.rank import main; main()", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        theirs.close()
        self._guard = subprocess.Popen(
            [sys.executable, "-S", guard.__file__, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._guard.wait()  # the guard itself is a grandchild
        self._sending = threading.Lock()
        self._is_ready = False
        with contextlib.suppress(ConnectionError):
            self._connection.send(settings)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Return once it can take a task.

        Raises:
            AttemptLost: if it ends before, or takes a quarter of an hour; no task can be blamed for that.
        """
        if not self._is_ready:
            try:
                self._receive(START_S, None)
            except AttemptLost as lost:
                raise AttemptLost("infrastructure", f"no rank can be started: {lost.reason}") from None
            self._is_ready = True

    def train(self, task: Task, parent: Blob | None, backbone: Blob | None, on_progress: OnProgress) -> Trained:
        """Have a task trained.

        Raises:
            CandidateFailure: if the training failed by its own fault.
            AttemptLost: if it died, hung, or failed by another's.
            TrainingStopped: after `request_stop`.
        """
        self.wait_until_ready()
        with self._sending, contextlib.suppress(ConnectionError):  # that it is gone, is seen when it should answer
            self._connection.send((task, parent is not None, backbone is not None))
            for blob in (parent, backbone):
                if blob is not None:
                    self._share(blob)
        overdue_at = None if task.deadline_s is None else time.monotonic() + task.deadline_s
        while True:
            match self._receive(task.stall_s, overdue_at):
                case Progress() as progress:
                    on_progress(progress)
                case Trained() as trained:
                    return trained
                case Failed(fault="candidate", reason=reason):
                    raise CandidateFailure(reason)
                case Failed(fault=fault, reason=reason):
                    raise AttemptLost(fault, reason)
                case Stopped():
                    raise TrainingStopped("asked to stop")

    def request_stop(self) -> None:
        """End the training under way at its next step; may be called from another thread."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(STOP)

    def kill(self) -> None:
        """End it, with all that it has started; nothing happens the second time."""
        if self._connection.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._guard.communicate(guard.RELEASE)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead device can't be ended
            self._process.wait(timeout=END_S)
        self._connection.close()

    def _receive(self, stall_s: float | None, overdue_at: float | None) -> object:
        """The next message."""
        silent_since = time.monotonic()
        while True:
            if overdue_at is not None and time.monotonic() >= overdue_at:
                self._say_where()
                raise AttemptLost("unclear", "did not end before its deadline; fleet.deadline_minutes sets another")
            if self._connection.poll(TICK_S):
                try:
                    return self._connection.recv()
                except (EOFError, ConnectionError):
                    break
            if self._process.poll() is not None and not self._connection.poll():
                break  # a child of its may hold its end of the pipe open
            if stall_s is not None and time.monotonic() - silent_since >= stall_s:
                self._say_where()
                raise AttemptLost("unclear", f"gave no sign of life for {stall_s:g} s")
        try:
            fault, reason = fault_of_exit(self._process.wait(timeout=END_S))
        except subprocess.TimeoutExpired:  # a thread, or a device's library, keeps it from its end
            self._say_where()
            fault, reason = "unclear", f"its process hung up, but did not end within {END_S:g} s"
        raise AttemptLost(fault, reason)

    def _say_where(self) -> None:
        """Have it write its stack to the worker's log."""
        self._process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=TICK_S)

    def _share(self, blob: Blob) -> None:
        """Hand over bytes in memory that has no name, so that none is left behind whoever dies."""
        with _nameless_file() as file:
            file.write(blob.data)
            file.flush()
            send_handle(self._connection, file.fileno(), self._process.pid)


def _nameless_file() -> IO[bytes]:
    """An empty file in memory, where the system has such; /dev/shm is too small for weights in many containers."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("weights"), "wb")
    return tempfile.TemporaryFile()
