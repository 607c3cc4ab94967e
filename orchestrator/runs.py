"""A run's folder, taken by one driver at a time.

Invariant: `config.yaml` appears whole, under the lock, so a folder without one belongs to no run yet.
"""

import fcntl
import re
import time
from pathlib import Path
from typing import IO

from orchestrator.config import RunConfig, differences, load_config, may_change
from orchestrator.errors import UserError
from workers.storage import RunFolder, write_atomically

LOCK_TRIES, LOCK_RETRY_S = 20, 0.05


class RunLock:
    """Held by the one driver of a run; the system releases it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Name the run's folder."""
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock, making the folder; False if another process has it.

        Raises:
            UserError: if the folder is something else than a run's, or can't be written.
        """
        _refuse_strangers(self._path)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._file = RunFolder(self._path).lock.open("a")
        except OSError as error:
            raise UserError(f"run {self._path}: can't be written ({error.strerror}); name a folder that can") from None
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
        """Whether a driver has the lock; reading the folder is enough for this."""
        try:
            with RunFolder(self._path).lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _refuse_strangers(path: Path) -> None:
    """Raise a UserError for what is no folder of this machine, or has something in it that is no run's."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):  # pathlib has made one slash of two
        raise UserError(f"run {path}: is an address; give a folder, on a cluster one that every node sees")
    if not path.exists() or RunFolder(path).config.is_file():
        return
    try:
        strangers = [file for file in path.iterdir() if file.name != "driver.lock" and file.suffix != ".tmp"]
    except OSError as error:
        raise UserError(f"run {path}: can't be read as a folder ({error.strerror}); name another") from None
    if strangers:
        raise UserError(f"run {path}: is neither empty nor a run's folder (it has {strangers[0].name}); name another")


def open_run(config: RunConfig, path: Path) -> tuple[RunFolder, dict[str, tuple[object, object]]]:
    """Make a run's folder, or check that an existing one is a run of this config.

    Returns:
        The folder, and the keys that have changed since (all of them may).

    Raises:
        UserError: if the folder is something else, or a key has changed that may not.
    """
    folder = RunFolder(path)
    if folder.config.is_file():
        changed = differences(load_config(folder.config), config)
        fixed = [key for key in changed if not may_change(key)]
        if fixed:
            keys = "; ".join(f"{key} was {changed[key][0]!r}, is {changed[key][1]!r}" for key in fixed)
            raise UserError(f"run {path}: was begun with another config ({keys}); use that one, or another folder")
        return folder, changed
    _refuse_strangers(path)
    try:
        write_atomically(folder.config, config.to_yaml().encode())
    except OSError as error:
        raise UserError(f"run {path}: can't be written ({error.strerror}); name a folder that can") from None
    return folder, {}
