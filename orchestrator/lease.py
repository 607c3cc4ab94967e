"""A run's lock in an object store, which knows no locks: an object that its holder keeps changing.

The lease ``driver.lock`` names its holder and a *beat*; a thread of the holder puts it anew with the next beat every
few seconds. Whoever wants the run and finds a lease watches it: a beat that goes on is a driver that lives; one that
stands still for the watch is a driver that is dead, or so slow that it will find its lease taken.

Invariants:
- No two clocks are compared and no wall clock is read, so clocks that jump or differ do no harm.
- Whoever takes a lease puts a *generation* above the one it found; a lower one never takes it back. Of several that
  take it at once, the last to put it has it: each looks again after a while before it begins.
- A holder that has lost its lease learns it from `verify` before it has any effect. What it may still write meanwhile
  is under its own epoch, which nobody reads.
"""

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import Superseded
from workers.storage import Storage

NAME = "driver.lock"


class Lease:
    """The lease of one run, wanted or held by this process."""

    BEAT_S = 3.0
    SETTLE_S = 1.0
    WATCH_S = 20.0

    def __init__(
        self,
        storage: Storage,
        *,
        beat_s: float = BEAT_S,
        settle_s: float = SETTLE_S,
        watch_s: float = WATCH_S,
    ) -> None:
        """Name the run.

        Args:
            storage: the run's.
            beat_s: time between two beats.
            settle_s: time after which whoever takes a lease looks whether it has it.
            watch_s: time without a beat after which a driver is dead; many beats long.
        """
        self._storage = storage
        self._beat_s = beat_s
        self._settle_s = settle_s
        self._watch_s = watch_s
        self._token = secrets.token_hex(8)
        self._generation = 0
        self._beat = 0
        self._checked_at = 0.0
        self._is_lost = False
        self._looked_at: tuple[bytes | None, float, bool | None] = (None, 0.0, None)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool:
        """Take the lease; False if another driver lives. Takes as long as it needs to know.

        Raises:
            OSError: if storage fails.
        """
        found = self._read()
        if self._lives(found):
            return False
        self._generation = _generation(found) + 1
        self._put()
        time.sleep(self._settle_s)
        self._is_lost = False
        self._check()
        if self._is_lost:
            return False
        self._ends.clear()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return True

    def is_held(self) -> bool:
        """Whether a driver lives that has the lease; watches until that is clear.

        Raises:
            OSError: if storage fails.
        """
        return self._lives(self._read())

    def look(self) -> bool | None:
        """Whether a driver lives that has the lease, as far as one look more tells; None while that isn't clear.

        Raises:
            OSError: if storage fails.
        """
        seen, since, lives = self._looked_at
        lease, now = self._read(), time.monotonic()
        if lease is None or _is_of_a_dead_process(lease):
            self._looked_at = lease, now, False
        elif seen is None:
            self._looked_at = lease, now, None
        elif lease != seen:
            self._looked_at = lease, now, True
        elif lives is not False and now - since > self._watch_s:
            self._looked_at = lease, since, False
        return self._looked_at[2]

    def verify(self) -> None:
        """Make sure that the lease is still ours; asks the store only if the thread has not done so lately.

        Raises:
            OSError: if storage fails.
            Superseded: if another driver has taken it.
        """
        if not self._is_lost and time.monotonic() - self._checked_at > 2 * self._beat_s:
            self._check()
        if self._is_lost:
            raise Superseded(f"another driver has taken {self._storage.address}")

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        if self._thread is None:
            return
        self._ends.set()
        self._thread.join()
        self._thread = None
        with suppress(OSError):  # then the next driver has to watch it
            lease = self._read()
            if lease is not None and _values(lease).get("token") == self._token:
                self._storage.delete(NAME)

    def _lives(self, lease: bytes | None) -> bool:
        """Whether the driver of a lease does."""
        if lease is None or _is_of_a_dead_process(lease):
            return False
        watch_until = time.monotonic() + self._watch_s
        while time.monotonic() < watch_until:
            time.sleep(self._beat_s / 4)
            now = self._read()
            if now != lease:
                return now is not None
        return False

    def _keep(self) -> None:
        while not self._ends.wait(self._beat_s) and not self._is_lost:
            with suppress(OSError):  # the next beat may succeed
                self._check()
                if not self._is_lost:
                    self._put()

    def _check(self) -> None:
        """Note whether another driver has the lease; one that is gone, or older than ours, takes nothing from us."""
        lease = self._read()
        if lease is not None and _values(lease).get("token") != self._token:
            self._is_lost = _generation(lease) >= self._generation
        self._checked_at = time.monotonic()

    def _put(self) -> None:
        self._beat += 1
        lease = {
            "token": self._token,
            "generation": self._generation,
            "beat": self._beat,
            "machine": _machine(),
            "pid": os.getpid(),
        }
        self._storage.write(NAME, json.dumps(lease).encode())

    def _read(self) -> bytes | None:
        try:
            return self._storage.read(NAME)
        except FileNotFoundError:
            return None


def _values(lease: bytes) -> dict[str, Any]:
    try:
        values = json.loads(lease)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _generation(lease: bytes | None) -> int:
    """How many leases came before it at least; 0 where there is none, or it can't be read."""
    generation = 0 if lease is None else _values(lease).get("generation")
    return generation if isinstance(generation, int) else 0


def _is_of_a_dead_process(lease: bytes) -> bool:
    """Whether its holder is known to be gone, because it ran here, where we see all processes that it could be."""
    values = _values(lease)
    machine, pid = values.get("machine"), values.get("pid")
    if not machine or machine != _machine() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _machine() -> str:
    """What tells this machine since it was started, and the processes that we see, from all others; "" if nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
