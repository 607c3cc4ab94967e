"""The processes that train on a node, one for each GPU, as their node worker sees them: started, watched, killed.

Every fault of a training ends here: an exception, a crash, a signal, a hang. The node worker lives on and says what it
was; fresh ranks take the next task.

Invariant: when ranks are killed, or their node worker dies, everything that they have started dies with them.
"""

import contextlib
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.reduction import send_handle
from typing import IO, NoReturn

from workers import guard
from workers.failures import CAUSES, fault_of_exit
from workers.rank import STOP, Blob, Failed, Stopped, Trained
from workers.task import AttemptLost, CandidateFailure, NodeSettings, OnProgress, Place, Progress, Task, TrainingStopped

TICK_S = 1.0
START_S = 900.0
END_S = 60.0
CAUSE_S = 5.0
"""How long ranks that lose one another have to say why: the first to speak may be the last to know."""


class Rank:
    """One training process and the guard beside it."""

    def __init__(self, settings: NodeSettings) -> None:
        """Start it; it gets ready in the background."""
        self.connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from workers.rank import main; main()", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=os.environ | _environment(settings),
        )
        theirs.close()
        self._guard = subprocess.Popen(
            [sys.executable, "-S", guard.__file__, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._guard.wait()  # the guard itself is a grandchild
        self._sending = threading.Lock()
        self.send(settings)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def send(self, message: object, files: Sequence[IO[bytes]] = ()) -> None:
        """Send a message, and open files after it; that the rank is gone, is seen when it should answer."""
        with self._sending, contextlib.suppress(ConnectionError):
            self.connection.send(message)
            for file in files:
                send_handle(self.connection, file.fileno(), self._process.pid)

    def has_news(self) -> bool:
        """Whether it has sent something, or has ended."""
        return self.connection.poll() or not self.is_alive  # a child of its may hold its end of the pipe open

    def receive(self, *, is_alone: bool = True) -> object:
        """What it has sent.

        Args:
            is_alone: whether it trains without others, which it could lose.

        Raises:
            AttemptLost: if it has ended instead.
        """
        if self.connection.poll():
            with contextlib.suppress(EOFError, ConnectionError):
                return self.connection.recv()
        try:
            code = self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.say_where()  # a thread, or a device's library, keeps it from its end
            raise AttemptLost("unclear", f"its process hung up, but did not end within {END_S:g} s") from None
        fault, reason = fault_of_exit(code, is_alone=is_alone)
        raise AttemptLost(fault, reason)

    def say_where(self) -> None:
        """Have it write its stack to the worker's log."""
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it, with all that it has started; `wait` has to follow."""
        if not self.connection.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Return once it has ended, and let go of it; nothing happens the second time."""
        if self.connection.closed:
            return
        with contextlib.suppress(OSError):
            self._guard.communicate(guard.RELEASE)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead device can't be ended
            self._process.wait(timeout=END_S)
        self.connection.close()


def _environment(settings: NodeSettings) -> dict[str, str]:
    """What a rank's environment has otherwise than its node worker's."""
    values = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    if not settings.has_gpus:
        values["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides only from those that have some the others'
    if "OMP_NUM_THREADS" in os.environ:  # Ray sets it to the CPUs of all ranks together
        values["OMP_NUM_THREADS"] = str(max(1, int(os.environ["OMP_NUM_THREADS"]) // settings.num_ranks))
    return values


class Ranks:
    """The ranks of one node."""

    def __init__(self, settings: NodeSettings) -> None:
        """Start them; they get ready in the background."""
        self._ranks = [Rank(settings) for _ in range(settings.num_ranks)]
        self._are_ready = False
        self._shared: list[_Shared] = []
        self._sharing = threading.Lock()

    @property
    def are_alive(self) -> bool:
        """Whether all their processes run."""
        return all(rank.is_alive for rank in self._ranks)

    def wait_until_ready(self) -> None:
        """Return once they can take a task.

        Raises:
            AttemptLost: if one ends before, or takes a quarter of an hour; no task can be blamed for that.
        """
        if self._are_ready:
            return
        try:
            for rank in self._ranks:
                if not multiprocessing.connection.wait([rank.connection], START_S):
                    raise AttemptLost("unclear", f"it is not ready after {START_S:g} s")
                rank.receive()
        except AttemptLost as lost:
            raise AttemptLost("infrastructure", f"no rank can be started: {lost.reason}") from None
        self._are_ready = True

    def train(self, task: Task, parent: Blob | None, backbone: Blob | None, on_progress: OnProgress) -> Trained | None:
        """Have a task trained.

        Returns:
            What it came to; None on all nodes of a gang but the first.

        Raises:
            CandidateFailure: if the training failed by its own fault.
            AttemptLost: if a rank died or hung, or it failed by another's fault.
            TrainingStopped: after `request_stop`.
        """
        self.wait_until_ready()
        blobs = [blob for blob in (parent, backbone) if blob is not None]
        with self._sharing:
            files = self._files(blobs)
            for rank, place in zip(self._ranks, self._places(task), strict=True):
                rank.send((task, place, parent is not None, backbone is not None), files)
        return self._watch(task, on_progress)

    def request_stop(self) -> None:
        """End the training under way at its next step; may be called from another thread."""
        for rank in self._ranks:  # in an evaluation each has to know by itself
            with contextlib.suppress(OSError):  # it may be gone already
                rank.send(STOP)

    def kill(self) -> None:
        """End them, with all that they have started; nothing happens the second time."""
        for rank in self._ranks:
            rank.kill()
        for rank in self._ranks:
            rank.wait()
        with self._sharing:
            self._files([])

    def _files(self, blobs: Sequence[Blob]) -> list[IO[bytes]]:
        """Blobs as open files; those of the task before are used again, as siblings grow from one parent."""
        shared = [
            next((earlier for earlier in self._shared if earlier.is_of(blob)), None) or _Shared.copied(blob)
            for blob in blobs
        ]
        for earlier in self._shared:
            if earlier not in shared:
                earlier.file.close()
        self._shared = shared
        return [each.file for each in shared]

    def _places(self, task: Task) -> list[Place | None]:
        """Where each rank stands among all; None for one that is alone."""
        gang, count = task.gang, len(self._ranks)
        if gang is None and count == 1:
            return [None]
        node_rank, num_nodes = (gang.node_rank, gang.num_nodes) if gang else (0, 1)
        address = gang.address if gang else f"127.0.0.1:{free_port()}"
        return [
            Place(rank=node_rank * count + number, size=num_nodes * count, local_rank=number, address=address)
            for number in range(count)
        ]

    def _watch(self, task: Task, on_progress: OnProgress) -> Trained | None:
        """Take messages until every rank has ended the task."""
        trained: Trained | None = None
        training = list(self._ranks)
        begun = alive_at = time.monotonic()
        while training:
            multiprocessing.connection.wait([rank.connection for rank in training], TICK_S)
            for rank in [rank for rank in training if rank.has_news()]:
                alive_at = time.monotonic()
                match self._message(rank, task):
                    case Progress() as progress:
                        on_progress(progress)
                        continue
                    case Trained() as trained:
                        pass
                    case Failed() | Stopped() as end:
                        self._raise(task, end, [other for other in training if other is not rank])
                training.remove(rank)
            now = time.monotonic()
            if task.stall_s is not None and now - alive_at >= task.stall_s:
                self._give_up(f"gave no sign of life for {task.stall_s:g} s")
            if task.deadline_s is not None and now - begun >= task.deadline_s:
                self._give_up("did not end before its deadline; fleet.deadline_minutes sets another")
        return trained

    def _message(self, rank: Rank, task: Task) -> object:
        try:
            return rank.receive(is_alone=task.gang is None and len(self._ranks) == 1)
        except AttemptLost as lost:
            return Failed(fault=lost.fault, reason=lost.reason)

    def _raise(self, task: Task, end: Failed | Stopped, others: list[Rank]) -> NoReturn:
        """Raise what ended the task: where one rank fails the others lose it, so it is the cause that counts."""
        ends = [end]
        until = time.monotonic() + CAUSE_S
        while others and not isinstance(ends[-1], Stopped) and time.monotonic() < until:
            multiprocessing.connection.wait([rank.connection for rank in others], TICK_S)
            for rank in [rank for rank in others if rank.has_news()]:
                if not isinstance(message := self._message(rank, task), Progress):
                    others.remove(rank)
                    if isinstance(message, Failed | Stopped):
                        ends.append(message)
        if any(isinstance(end, Stopped) for end in ends):
            raise TrainingStopped("asked to stop")
        cause = min((end for end in ends if isinstance(end, Failed)), key=lambda end: CAUSES.index(end.fault))
        if cause.fault == "candidate":
            raise CandidateFailure(cause.reason)
        raise AttemptLost(cause.fault, cause.reason)

    def _give_up(self, reason: str) -> NoReturn:
        """Say where all ranks are, in the worker's log, and that they hang."""
        for rank in self._ranks:
            rank.say_where()
        multiprocessing.connection.wait([rank.connection for rank in self._ranks], TICK_S)
        raise AttemptLost("unclear", reason)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """A blob, and its bytes in memory that has no name, so that none is left behind whoever dies.

    While the blob is held, no other has its place in memory: what is there, as long, and nobody may write to, is the
    same.
    """

    blob: Blob
    file: IO[bytes]

    @classmethod
    def copied(cls, blob: Blob) -> "_Shared":
        file = _nameless_file()
        try:
            file.write(blob.data)
            file.flush()
        except BaseException:
            file.close()
            raise
        return cls(blob, file)

    def is_of(self, blob: Blob) -> bool:
        alike = self.blob.ctypes.data == blob.ctypes.data and self.blob.nbytes == blob.nbytes
        return alike and not blob.flags.writeable


def _nameless_file() -> IO[bytes]:
    """An empty file in memory, where the system has such; /dev/shm is too small for weights in many containers."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("weights"), "wb")
    return tempfile.TemporaryFile()
