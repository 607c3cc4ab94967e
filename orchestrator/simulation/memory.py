"""The files of a run that is simulated, in memory.

Invariant: it is as a `workers.storage.Storage` of one process; nothing outlives that.
"""

import errno
from typing import TypeVar

from workers.storage import Log, checked

Item = TypeVar("Item")


class MemoryStorage:
    """Files by name."""

    address = "memory"
    name = "simulation"
    is_local = True

    def __init__(self) -> None:
        """Nothing is stored yet."""
        self._files: dict[str, bytes] = {}
        self._logs: dict[str, _MemoryLog] = {}

    def where(self, name: str) -> str:
        """See `Storage`."""
        return f"{self.address}:{name}"

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return _found(self._files, checked(name))

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        self._files[checked(name)] = data

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        return _directly_in(folder, self._files)

    def entries(self) -> list[str]:
        """See `Storage`."""
        return sorted({name.partition("/")[0] for name in (*self._files, *self._logs)})

    def delete(self, name: str) -> None:
        """See `Storage`."""
        self._files.pop(checked(name), None)

    def open_log(self, name: str) -> Log:
        """See `Storage`."""
        if checked(name) in self._logs:
            raise FileExistsError(errno.EEXIST, "there is a log of this name", name)
        self._logs[name] = _MemoryLog()
        return self._logs[name]

    def read_log(self, name: str) -> bytes:
        """See `Storage`."""
        return b"".join(_found(self._logs, checked(name)).parts)

    def logs(self, folder: str) -> list[str]:
        """See `Storage`."""
        return _directly_in(folder, self._logs)

    def sweep(self) -> None:
        """See `Storage`; nothing is ever half-written."""


class _MemoryLog:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._is_open = True

    def append(self, data: bytes) -> None:
        if not self._is_open:
            raise OSError(errno.EBADF, "the log is closed")
        self.parts.append(data)

    def close(self) -> None:
        self._is_open = False


def _found(items: dict[str, Item], name: str) -> Item:
    if name not in items:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", name)
    return items[name]


def _directly_in(folder: str, names: dict[str, bytes] | dict[str, _MemoryLog]) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return sorted(name[len(prefix) :] for name in names if name.startswith(prefix) and "/" not in name[len(prefix) :])
