"""Where a run's files are: a folder, or a prefix in an object store (`workers.object_store`).

Names are relative, with slashes, such as ``weights/000007-0-1.safetensors``. A *log* is a file that only grows.

Invariants:
- A reader of what `write` has written sees all of it or none, whatever dies when; a write that fails leaves what was
  there before, and nothing else.
- What `write` or `append` returned from survives any crash.
- Whatever goes wrong in storage is an `OSError`; a name that is none of ours is a `ValueError`.
"""

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit


class Log(Protocol):
    """An append-only file, open for writing."""

    def append(self, data: bytes) -> None:
        """Add bytes; durable when it returns. A crash may leave a part of them, an error leaves none before the next.

        Raises:
            OSError: if they can't be stored.
        """

    def close(self) -> None:
        """Nothing is appended any more."""


class Storage(Protocol):
    """The files of one run.

    Attributes:
        address: opens this storage again, from any folder: a whole path, or the URI as it was given.
        name: its last part, for titles.
        is_local: whether it is a folder of a file system.
    """

    address: str
    name: str
    is_local: bool

    def where(self, name: str) -> str:
        """What messages call a file."""

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: if there is none.
            OSError: if it can't be read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole and durable; what it held before is replaced.

        Raises:
            OSError: if it can't be stored; what was there before stands.
        """

    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in a folder, sorted; none where there is no folder."""

    def entries(self) -> list[str]:
        """Names of everything directly in the storage, files and folders, sorted."""

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""

    def open_log(self, name: str) -> Log:
        """Begin a log.

        Raises:
            FileExistsError: if one of this name stands.
        """

    def read_log(self, name: str) -> bytes:
        """Everything that was appended to a log, but for what a crash cut off.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if something in its middle is missing; names it.
        """

    def logs(self, folder: str) -> list[str]:
        """Names of the logs in a folder, sorted."""

    def sweep(self) -> None:
        """Remove what writers left that have died; no writer may be at work but those of a dead driver."""


def checked(name: str) -> str:
    """The name, if it stays within its storage and hides nowhere; some come from files that others may have changed.

    Raises:
        ValueError: if it does not.
    """
    if any(not part or part.startswith(".") for part in name.split("/")) or not name.isprintable() or "\\" in name:
        raise ValueError(f"{name!r} can't be the name of a run's file")
    return name


class LocalFolder:
    """A folder of a file system, perhaps one that all nodes share; made when something is written."""

    is_local = True

    def __init__(self, path: Path) -> None:
        """Name the folder."""
        self.path = path.absolute()
        self.address = str(self.path)
        self.name = self.path.name

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        path = self._path(name)
        if path.exists() and not path.is_file():  # a pipe would never end
            raise OSError(errno.EINVAL, "is no file", str(path))
        return path.read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder."""
        path = self._path(name)
        _make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException as error:
            with contextlib.suppress(OSError):  # what it failed of says more
                temporary.unlink()
            _name(error, path)
            raise
        _sync_folder(path.parent)

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        try:
            with os.scandir(self._path(folder) if folder else self.path) as entries:
                return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        except FileNotFoundError:
            return []

    def entries(self) -> list[str]:
        """See `Storage`."""
        try:
            return sorted(name for name in os.listdir(self.path) if not _is_temporary(name))
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        """See `Storage`."""
        self._path(name).unlink(missing_ok=True)

    def open_log(self, name: str) -> Log:
        """A log is one file."""
        path = self._path(name)
        _make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            _sync_folder(path.parent)
        except OSError:
            os.close(descriptor)
            raise
        return _LocalLog(descriptor, path)

    def read_log(self, name: str) -> bytes:
        """See `Storage`."""
        return self.read(name)

    def logs(self, folder: str) -> list[str]:
        """See `Storage`."""
        return self.names(folder)

    def sweep(self) -> None:
        """Remove half-written files."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.path / checked(name)


class _LocalLog:
    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def append(self, data: bytes) -> None:
        written = 0
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:  # the system would take what is appended, and keep nothing of it
            raise OSError(errno.ENOENT, "the log was deleted", str(self._path))
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except BaseException as error:
            try:
                os.ftruncate(self._descriptor, status.st_size)  # half an append must not stand before the next one
            except OSError:
                self.close()  # then there is no next one
            _name(error, self._path)
            raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1  # of a closed log, writing to which is an OSError


def open_storage(address: str | Path) -> Storage:
    """The storage of an address: a path, ``file:///path``, or ``s3://bucket/prefix?endpoint_override=host:port``.

    Raises:
        ValueError: if the address is none of these; one line that says why.
        OSError: if the object store does not answer.
    """
    if isinstance(address, Path) or not (scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)):
        if not str(address).strip() or "\0" in str(address):
            raise ValueError(f"{str(address)!r} is neither a folder nor a URI")
        return LocalFolder(Path(address))
    if scheme[1] == "s3":
        from workers.object_store import open_bucket  # pyarrow is imported only where it is needed

        return open_bucket(address)
    if scheme[1] == "file":
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise ValueError("names no folder of this machine; write file:///path/to/folder")
        return LocalFolder(Path(unquote(parts.path)))
    raise ValueError(f"has the scheme {scheme[1]}; give a folder, file:///path/to/folder or s3://bucket/prefix")


def _name(error: BaseException, path: Path) -> None:
    """Have an error say which file it is of: what fails in writing to a descriptor does not."""
    if isinstance(error, OSError) and error.filename is None:
        error.filename = str(path)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _make_folder(folder: Path) -> None:
    """Make a folder and those it stands in, durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # one may enter a folder that one may not open
            _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
