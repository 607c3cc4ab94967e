"""Storage in a bucket of S3 or what speaks its protocol, through `pyarrow.fs`.

Objects are put whole: everything is serialised first and handed over in one write. A log is a folder of *parts*, one
object for each append, named ``{first}-{last}`` by the numbers of the appends in it; every 64 of one length are merged
into one, and so on, so that reading a log of n appends takes some 64 * log64(n) requests.

Invariants:
- An append is one object, so it is there whole or not at all; parts are deleted only after a longer one holds them.
- A store that fails for a while costs that while and no more: everything is tried again, with pauses, up to a limit.
- Interrupting the program cuts no object off: pyarrow completes whatever a stream holds when it is dropped, so objects
  are put by other threads than the one that signals interrupt.
"""

import errno
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow
from pyarrow import fs

from workers.storage import Log, checked

Returned = TypeVar("Returned")

NUM_MERGED = 64
NUM_CONNECTIONS = 16
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
READ_TRIES = 5

NO_SUCH = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND")
NOT_ALLOWED = (
    "ACCESS_DENIED",
    "ACCOUNT_PROBLEM",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
)


class ObjectStore:
    """All objects under one prefix."""

    is_local = False
    RETRY_FOR_S = 60.0

    def __init__(
        self, filesystem: Any, root: str, address: str | None = None, *, retry_for_s: float = RETRY_FOR_S
    ) -> None:
        """Name the place.

        Args:
            filesystem: a `pyarrow.fs.FileSystem`.
            root: bucket and prefix.
            address: the URI, if `open_storage` is to find it again.
            retry_for_s: how long a request that fails is tried again.
        """
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._retry_for_s = retry_for_s
        self._threads = ThreadPoolExecutor(NUM_CONNECTIONS, thread_name_prefix="object-store")
        self.address = address or f"{filesystem.type_name}://{self._root}"
        self.name = self._root.rsplit("/", 1)[-1]

    def where(self, name: str) -> str:
        """The object's URI, without what the address may have behind a question mark."""
        return f"{self._fs.type_name}://{self._root}/{name}"

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        key = self._key(name)

        def get() -> bytes:
            with self._fs.open_input_stream(key, compression=None) as stream:
                version, data = _version(stream), stream.read()
            with self._fs.open_input_stream(key, compression=None) as stream:
                if version != _version(stream):  # pyarrow asks for the length, then for so many bytes of what is there
                    raise OSError("the object was replaced while it was read")
            assert isinstance(data, bytes)
            return data

        return self._tried(get, name)

    def write(self, name: str, data: bytes) -> None:
        """Put one object, to its end even if the program is interrupted meanwhile."""
        key = self._key(name)

        def put() -> None:
            stream = self._fs.open_output_stream(key, compression=None)
            stream.write(data)
            stream.close()

        future = self._threads.submit(self._tried, put, name)
        try:
            future.result()
        except KeyboardInterrupt:
            wait([future])
            raise

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        return [info.base_name for info in self._list(folder) if info.type == fs.FileType.File]

    def entries(self) -> list[str]:
        """See `Storage`."""
        return [info.base_name for info in self._list("")]

    def delete(self, name: str) -> None:
        """See `Storage`."""
        key = self._key(name)
        try:
            self._tried(lambda: self._fs.delete_file(key), name)
        except FileNotFoundError:
            pass

    def delete_all(self, names: Iterable[str]) -> None:
        """Delete several at once."""
        list(self._threads.map(self.delete, names))

    def open_log(self, name: str) -> Log:
        """A log is a folder of parts."""
        if self.parts(checked(name)):
            raise FileExistsError(errno.EEXIST, "the log exists", self.where(name))
        return _PartsLog(self, name)

    def read_log(self, name: str) -> bytes:
        """Read the longest parts that cover the log."""
        for _ in range(READ_TRIES):
            parts = self.parts(name)
            if not parts:
                raise FileNotFoundError(errno.ENOENT, "no such log", self.where(name))
            try:
                return self.read_parts(name, parts)
            except FileNotFoundError:
                continue  # its writer has merged some since we listed them
        raise OSError(errno.EAGAIN, "changes faster than it can be read", self.where(name))

    def read_parts(self, log: str, parts: Iterable[tuple[int, int]], begin: int = 0) -> bytes:
        """The bytes of a log's parts from append number `begin` on, without those that others hold.

        Raises:
            ValueError: if one is missing before the last.
            FileNotFoundError: if one is gone meanwhile.
        """
        chosen, expected = _covering(parts), begin
        for first, last in chosen:
            if first != expected:
                raise ValueError(f"{self.where(log)}: part {part_name(expected, first - 1)} is missing")
            expected = last + 1
        return b"".join(self._threads.map(self.read, (f"{log}/{part_name(*part)}" for part in chosen)))

    def parts(self, log: str) -> list[tuple[int, int]]:
        """First and last append of each of a log's parts."""
        return [part for name in self.names(log) if (part := _part(name)) is not None]

    def logs(self, folder: str) -> list[str]:
        """See `Storage`."""
        return [info.base_name for info in self._list(folder) if info.type == fs.FileType.Directory]

    def sweep(self) -> None:
        """Remove parts of logs that longer ones hold; their writer died before it could."""
        folders: dict[str, list[tuple[int, int]]] = {}
        for info in self._list("", recursive=True):
            part = _part(info.base_name)
            if part is not None and info.type == fs.FileType.File:
                folder = info.path.removeprefix(f"{self._root}/").removesuffix(f"/{info.base_name}")
                folders.setdefault(folder, []).append(part)
        for folder, parts in folders.items():
            covered = set(parts) - set(_covering(parts))
            self.delete_all(f"{folder}/{part_name(*part)}" for part in sorted(covered))

    def _list(self, folder: str, recursive: bool = False) -> list[Any]:
        """What is directly, or anywhere, under a folder, by name."""
        selector = fs.FileSelector(
            self._key(folder) if folder else self._root, recursive=recursive, allow_not_found=True
        )
        infos: list[Any] = self._tried(lambda: self._fs.get_file_info(selector), folder)
        return sorted(infos, key=lambda info: str(info.path))

    def _key(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    def _tried(self, operation: Callable[[], Returned], name: str) -> Returned:
        """Do it, again and again while the store fails in a way that may pass."""
        give_up_at = time.monotonic() + self._retry_for_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return operation()
            except (OSError, pyarrow.ArrowException) as error:
                told = _told(error, self.where(name))
                if told.errno != errno.EIO or time.monotonic() + pause_s > give_up_at:
                    raise told from None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class _PartsLog:
    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._count = 0
        self._recent: list[bytes] = []  # what has not been merged
        self._is_open = True

    def append(self, data: bytes) -> None:
        if not self._is_open:
            raise OSError(errno.EBADF, "the log is closed", self._store.where(self._name))
        number = self._count
        try:
            self._store.write(f"{self._name}/{part_name(number, number)}", data)
        except OSError:
            self._is_open = False  # it may arrive all the same, and then it must not stand in another's place
            raise
        self._count += 1
        self._recent.append(data)
        if self._count % NUM_MERGED == 0:
            self._merge()

    def close(self) -> None:
        self._is_open = False

    def _merge(self) -> None:
        """Put the last parts of one length into a longer one, and those of that length, and so on."""
        data, self._recent = b"".join(self._recent), []
        last, span = self._count - 1, NUM_MERGED
        while True:
            first = self._count - span
            short = [part for part in self._store.parts(self._name) if first <= part[0] and part != (first, last)]
            if span > NUM_MERGED:
                data = self._store.read_parts(self._name, short, first)
            self._store.write(f"{self._name}/{part_name(first, last)}", data)
            self._store.delete_all(f"{self._name}/{part_name(*part)}" for part in short)
            span *= NUM_MERGED
            if self._count % span:
                return


def open_bucket(address: str) -> ObjectStore:
    """The object store of a URI such as ``s3://bucket/prefix``; see `workers.storage.open_storage`."""
    try:
        parts = urlsplit(address)
        user = parts.username
    except ValueError as error:
        raise ValueError(f"is no URI ({error}); write s3://bucket/prefix") from None
    if user is not None:
        raise ValueError(
            "has credentials in it, which would be seen by others; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
            "the environment"
        )
    if not parts.netloc:
        raise ValueError("names no bucket; write s3://bucket/prefix")
    # Without this option even the smallest object takes three requests.
    option = "" if "allow_delayed_open" in parts.query else f"{'&' if parts.query else '?'}allow_delayed_open=true"
    try:
        filesystem, root = fs.FileSystem.from_uri(address + option)
    except pyarrow.ArrowException as error:
        raise ValueError(f"can't be opened ({_one_line(error)}); write s3://bucket/prefix") from None
    except OSError as error:
        raise _told(error, address) from None
    if any(not part or part.startswith(".") for part in root.strip("/").split("/")):
        raise ValueError("has an empty or hidden part in its path; write s3://bucket/prefix")
    return ObjectStore(filesystem, root, address)


def part_name(first: int, last: int) -> str:
    """The object of a log's appends from `first` to `last`."""
    return f"{first:08d}-{last:08d}"


def _part(name: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{8,})-(\d{8,})", name)
    return (int(match[1]), int(match[2])) if match else None


def _covering(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest parts, in order; what they hold is in no other."""
    chosen: list[tuple[int, int]] = []
    for first, last in sorted(parts, key=lambda part: (part[0], -part[1])):
        if not chosen or first > chosen[-1][1]:
            chosen.append((first, last))
    return chosen


def _version(stream: Any) -> object:
    """What tells an object from the one that takes its place."""
    return (stream.metadata() or {}).get("ETag")


def _told(error: Exception, where: str) -> OSError:
    """The error of our own storage: not found, not allowed, or whatever may pass (EIO)."""
    code = re.search(r"AWS Error ([A-Z_]+)", str(error))
    if isinstance(error, FileNotFoundError) or (code and code[1] in NO_SUCH):
        number = errno.ENOENT
    elif isinstance(error, PermissionError) or (code and code[1] in NOT_ALLOWED):
        number = errno.EACCES
    elif isinstance(error, pyarrow.ArrowException) and not isinstance(error, OSError):
        number = errno.EINVAL
    else:
        number = errno.EIO
    return OSError(number, _one_line(error), where)


def _one_line(error: Exception) -> str:
    return re.sub(r" \(Request ID: [^)]*\)", "", " ".join(str(error).split()))
