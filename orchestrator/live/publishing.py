"""A run's snapshots in its folder, ``progress.json``, for who looks from elsewhere.

Invariants:
- Storage that fails, or takes for ever, keeps neither the driver nor its end: a thread writes, one snapshot at a time,
  and the ones that come meanwhile are left out.
- It costs little: a snapshot every few seconds at most, and writing takes at most a twentieth of the time.
- The file is there while a driver works; who finds it must see by the run's lock whether one does.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from orchestrator.live.snapshot import Snapshot
from workers.failures import describe
from workers.run_folder import RunFolder

LOCAL_EVERY_S = 2.0
REMOTE_EVERY_S = 10.0
SHARE_OF_TIME = 20
CLOSE_S = 5.0


class ProgressFile:
    """A view that is a file."""

    def __init__(self, folder: RunFolder, complain: Callable[[str], None], every_s: float | None = None) -> None:
        """Write into a run's folder.

        Args:
            folder: the run's.
            complain: told once if it can't be written.
            every_s: least time between two writes; None: by the kind of storage.
        """
        self._folder = folder
        self._complain = complain
        self._every_s = every_s or (LOCAL_EVERY_S if folder.storage.is_local else REMOTE_EVERY_S)
        self._due = 0.0
        self._has_complained = False
        self._complaint = ""
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._next: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def say(self, text: str) -> None:
        """See `View`; snapshots hold the last lines."""

    def show(self, snapshot: Snapshot) -> None:
        """See `View`."""
        if self._complaint and not self._has_complained:
            self._has_complained = True
            self._complain(f"{self._complaint}; the search goes on, `spnas status --watch` sees less of it")
        if time.monotonic() < self._due or not self._is_idle.is_set():
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="progress", daemon=True)
            self._thread.start()
        self._due = time.monotonic() + self._every_s
        self._is_idle.clear()
        self._next.put(snapshot)

    def close(self) -> None:
        """Remove the file, unless storage takes too long for that."""
        if self._thread is not None:
            self._next.put(None)
            self._thread.join(CLOSE_S)
            self._thread = None

    def _write_all(self) -> None:
        while (snapshot := self._next.get()) is not None:
            begun = time.monotonic()
            try:
                self._folder.write_progress(snapshot.to_json())
            except Exception as error:  # whatever it is, a search is worth more than being watched
                self._complaint = f"{self._folder.storage.where('progress.json')}: {describe(error)}"
            took = time.monotonic() - begun
            self._due = max(self._due, time.monotonic() + SHARE_OF_TIME * took)
            self._is_idle.set()
        with suppress(Exception):
            self._folder.delete_progress()
