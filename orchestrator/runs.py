"""A run's storage, taken by one driver at a time.

Invariant: `config.yaml` appears whole, under the lock, so a place without one belongs to no run yet.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import IO, Protocol

from orchestrator.config import RunConfig
from orchestrator.config_files import differences, may_change, read_config
from orchestrator.errors import Superseded, UserError
from orchestrator.lease import NAME, Lease
from workers.run_folder import RunFolder
from workers.storage import LocalFolder, Storage, open_storage

LOCK_TRIES, LOCK_RETRY_S = 20, 0.05


class Lock(Protocol):
    """Held by one process at a time, until it gives it back or dies."""

    def acquire(self) -> bool:
        """Take it; False if another process has it."""

    def is_held(self) -> bool:
        """Whether a process has it."""

    def look(self) -> bool | None:
        """The same, for who asks again and again and does not wait; None as long as it isn't known."""

    def verify(self) -> None:
        """Raises `Superseded` if another process has it by now."""

    def release(self) -> None:
        """Give it back, if it is ours."""


class FileLock:
    """A lock that the system releases when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """See `Lock`; makes the file and its folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a", opener=_at_once)
        for _ in range(LOCK_TRIES):  # `is_held` of another process has it for an instant
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_RETRY_S)
            else:
                return True
        self.release()
        return False

    def is_held(self) -> bool:
        """See `Lock`; being allowed to read is enough."""
        try:
            with open(self._path, opener=_at_once) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def look(self) -> bool:
        """See `Lock`; the system knows at once."""
        return self.is_held()

    def verify(self) -> None:
        """See `Lock`; from a process that lives only who removes the file can take it."""
        assert self._file is not None, "acquire comes first"
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                raise Superseded(f"another driver has taken {self._path.parent}")

    def release(self) -> None:
        """See `Lock`."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _at_once(path: str, flags: int) -> int:
    """Open a file; a pipe in its place would keep us waiting for whoever is at its other end."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


class RunLock:
    """The lock of a run, held by its one driver."""

    def __init__(self, storage: Storage, lock: Lock | None = None) -> None:
        """Name the run; `lock` stands in for the one that its storage has."""
        self._storage = storage
        if lock is not None:
            self._lock = lock
        elif isinstance(storage, LocalFolder):
            self._lock = FileLock(storage.path / NAME)
        else:
            self._lock = Lease(storage)

    def acquire(self) -> bool:
        """Take the lock; False if another driver has it.

        Raises:
            UserError: if the place is something else than a run's, or can't be written.
        """
        _refuse_strangers(self._storage)
        try:
            return self._lock.acquire()
        except OSError as error:
            raise _unwritable(self._storage, error) from None

    def is_held(self) -> bool:
        """Whether a driver has the lock; being allowed to read is enough for this.

        Raises:
            OSError: if storage fails.
        """
        return self._lock.is_held()

    def look(self) -> bool | None:
        """Whether a driver has the lock, without waiting; None as long as it isn't known: ask again.

        Raises:
            OSError: if storage fails.
        """
        return self._lock.look()

    def verify(self) -> None:
        """Make sure that the run is still ours.

        Raises:
            OSError: if storage fails.
            Superseded: if another driver has taken it.
        """
        self._lock.verify()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


def storage_of(run: str | Path) -> Storage:
    """The storage that a user named.

    Raises:
        UserError: if it is none.
    """
    try:
        return open_storage(run)
    except ValueError as error:
        raise UserError(f"run {run}: {error}") from None
    except OSError as error:
        raise UserError(f"run {run}: can't be reached ({_reason(error)})") from None


def stored_config(folder: RunFolder) -> RunConfig:
    """The config of a run.

    Raises:
        UserError: if there is none, or it can't be read.
    """
    where = folder.storage.where("config.yaml")
    try:
        text = folder.read_config()
    except FileNotFoundError:
        raise UserError(
            f"run {folder.address}: is not a run's folder (no config.yaml); give the one of `spnas search --run`"
        ) from None
    except OSError as error:
        raise UserError(f"config {where}: can't be read ({_reason(error)})") from None
    except ValueError:
        raise UserError(f"config {where}: is not text; restore it from a copy") from None
    return read_config(text, where)


def has_begun(folder: RunFolder) -> bool:
    """Whether there is a run.

    Raises:
        UserError: if the place can't be read.
    """
    try:
        return folder.has_config()
    except OSError as error:
        raise _unreadable(folder.storage, error) from None


def open_run(config: RunConfig, storage: Storage) -> tuple[RunFolder, dict[str, tuple[object, object]]]:
    """Make a run, or check that an existing one is a run of this config.

    Returns:
        Its files, and the keys that have changed since (all of them may).

    Raises:
        UserError: if the place is something else, or a key has changed that may not.
    """
    folder = RunFolder(storage)
    if folder.has_config():
        changed = differences(stored_config(folder), config)
        fixed = [key for key in changed if not may_change(key)]
        if fixed:
            keys = "; ".join(f"{key} was {changed[key][0]!r}, is {changed[key][1]!r}" for key in fixed)
            raise UserError(
                f"run {storage.address}: was begun with another config ({keys}); use that one, or another folder"
            )
        return folder, changed
    _refuse_strangers(storage)
    try:
        folder.write_config(config.to_yaml())
    except OSError as error:
        raise _unwritable(storage, error) from None
    return folder, {}


def _refuse_strangers(storage: Storage) -> None:
    """Raise a UserError for a place that has something in it that is no run's."""
    try:
        entries = storage.entries()
    except OSError as error:
        raise _unreadable(storage, error) from None
    strangers = [name for name in entries if name != NAME]
    if strangers and "config.yaml" not in entries:
        raise UserError(
            f"run {storage.address}: is neither empty nor a run's folder (it has {strangers[0]}); name another"
        )


def _unreadable(storage: Storage, error: OSError) -> UserError:
    return UserError(f"run {storage.address}: can't be read as a folder ({_reason(error)}); name another")


def _unwritable(storage: Storage, error: OSError) -> UserError:
    return UserError(f"run {storage.address}: can't be written ({_reason(error)}); name a folder that can")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
