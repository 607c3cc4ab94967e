"""Storage of each kind: what is written is whole, what fails leaves no trace, what dies costs only itself."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from experiments.s3_server import S3Server
from workers import object_store
from workers.object_store import ObjectStore, part_name
from workers.storage import LocalFolder, Log, Storage, open_storage


@pytest.fixture
def storage(address: str) -> Storage:
    return open_storage(address)


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> ObjectStore:
    storage = open_storage(s3_server.address(f"bucket/{tmp_path.name}"))
    assert isinstance(storage, ObjectStore)
    return storage


def log_of(storage: Storage, *appends: bytes, name: str = "logs/1") -> Log:
    log = storage.open_log(name)
    for data in appends:
        log.append(data)
    return log


# ---- every kind --------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_from_wherever_it_is_opened(storage: Storage, address: str) -> None:
    storage.write("results/a.json", b"\x00whole")
    storage.write("empty", b"")
    assert storage.read("results/a.json") == open_storage(address).read("results/a.json") == b"\x00whole"
    assert open_storage(storage.address).read("empty") == b""


def test_a_large_file_is_whole(storage: Storage) -> None:
    data = os.urandom(12 * 2**20)  # an object store takes it in two parts
    storage.write("weights/a", data)
    assert storage.read("weights/a") == data


def test_writing_again_replaces_all_of_it(storage: Storage) -> None:
    storage.write("a", b"a long one")
    storage.write("a", b"short")
    assert storage.read("a") == b"short"
    assert storage.names() == ["a"]


def test_a_reader_sees_one_version_or_another_while_a_writer_replaces_it(storage: Storage) -> None:
    versions = [bytes([number]) * (1 + 997 * number) for number in range(60)]
    storage.write("a", versions[0])

    def write_all() -> None:
        for version in versions:
            storage.write("a", version)

    writer = threading.Thread(target=write_all)
    writer.start()
    while writer.is_alive():
        assert storage.read("a") in versions
    writer.join()
    assert storage.read("a") == versions[-1]


@pytest.mark.parametrize("name", ["missing", "no/such/folder"])
def test_a_missing_file_is_not_found_and_deleting_it_does_nothing(storage: Storage, name: str) -> None:
    storage.write("other", b"")
    with pytest.raises(FileNotFoundError, match=name):
        storage.read(name)
    storage.delete(name)
    assert storage.names() == ["other"]


def test_names_are_the_files_of_one_folder_in_order(storage: Storage) -> None:
    assert storage.names() == storage.names("weights") == storage.entries() == []
    for name in ("b", "a", "weights/2", "weights/10", "weights/deeper/3"):
        storage.write(name, b"")
    assert storage.names() == ["a", "b"]
    assert storage.names("weights") == ["10", "2"]
    assert storage.entries() == ["a", "b", "weights"]


def test_what_is_deleted_is_gone_and_the_rest_stays(storage: Storage) -> None:
    for name in ("weights/1", "weights/2", "a"):
        storage.write(name, b"")
    storage.delete("weights/1")
    storage.delete("a")
    assert (storage.names(), storage.names("weights")) == ([], ["2"])
    with pytest.raises(FileNotFoundError):
        storage.read("a")


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/.", ".hidden", "a\\b", "a\0", "a\n"]
)
def test_a_name_that_leads_elsewhere_is_refused(storage: Storage, name: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: storage.read(name),
        lambda: storage.write(name, b""),
        lambda: storage.delete(name),
        lambda: storage.open_log(name),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="can't be the name"):
            use()


def test_a_log_holds_every_append_in_order(storage: Storage, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "NUM_MERGED", 4)
    log, whole = storage.open_log("logs/1"), b""
    for number in range(4**3 + 7):
        log.append(b"%d\n" % number)
        whole += b"%d\n" % number
        if number % 5 == 0:
            assert open_storage(address).read_log("logs/1") == whole
    log.close()
    assert storage.read_log("logs/1") == whole


def test_a_log_is_begun_once(storage: Storage) -> None:
    log_of(storage, b"first").close()
    with pytest.raises(FileExistsError):
        storage.open_log("logs/1")
    assert storage.read_log("logs/1") == b"first"
    with pytest.raises(FileNotFoundError):
        storage.read_log("logs/2")


def test_logs_are_listed_in_order(storage: Storage) -> None:
    assert storage.logs("logs") == []
    for number in (2, 1, 10):
        log_of(storage, b"x", name=f"logs/{number}").close()
    assert storage.logs("logs") == ["1", "10", "2"]


def test_a_closed_log_takes_nothing(storage: Storage) -> None:
    log = log_of(storage, b"whole")
    log.close()
    log.close()
    with pytest.raises(OSError):
        log.append(b"late")
    assert storage.read_log("logs/1") == b"whole"


def test_sweeping_leaves_all_that_was_written(storage: Storage) -> None:
    storage.sweep()
    log_of(storage, b"1", b"2").close()
    for name in ("a", "weights/b"):
        storage.write(name, name.encode())
    storage.sweep()
    assert (storage.read("a"), storage.read("weights/b"), storage.read_log("logs/1")) == (b"a", b"weights/b", b"12")


PROGRAM = """
import sys
from workers.storage import open_storage
storage = open_storage(sys.argv[1])
storage.write("weights/a", b"x" * 100)
log = storage.open_log("logs/1")
log.append(b"one")
log.append(b"two")
"""


def test_a_program_that_just_ends_has_stored_all_and_says_nothing(storage: Storage, address: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, address]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert storage.read("weights/a") == b"x" * 100
    assert storage.read_log("logs/1") == b"onetwo"


# ---- addresses ---------------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_its_path_or_by_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("a b", tmp_path / "a b", f"file://{tmp_path}/a%20b", f"file://localhost{tmp_path}/a%20b"):
        storage = open_storage(address)
        assert (storage.address, storage.name, storage.is_local) == (str(tmp_path / "a b"), "a b", True)
        assert storage.where("x/y") == str(tmp_path / "a b" / "x" / "y")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_is_named_by_a_uri(s3_server: S3Server) -> None:
    address = s3_server.address("bucket/some/run")
    storage = open_storage(address)
    assert (storage.address, storage.name, storage.is_local) == (address, "run", False)
    assert storage.where("x/y") == "s3://bucket/some/run/x/y"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "neither a folder nor a URI"),
        (" ", "neither a folder nor a URI"),
        ("a\0b", "neither a folder nor a URI"),
        ("ftp://host/run", "has the scheme ftp; give a folder, file:///path/to/folder or s3://bucket/prefix"),
        ("file://elsewhere/run", "names no folder of this machine"),
        ("file:///", "names no folder of this machine"),
        ("s3://", "names no bucket"),
        ("s3:///run", "names no bucket"),
        ("s3://key:secret@bucket/run", "has credentials in it"),
        ("s3://bucket/run?nonsense=1", "can't be opened .*nonsense"),
        ("s3://bucket/a run?region=x", "can't be opened .*syntax error"),
        ("s3://bucket/a//b?region=x", "has an empty or hidden part"),
        ("s3://bucket/../b?region=x", "has an empty or hidden part"),
        ("s3://[bucket/run", "is no URI"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        open_storage(address)
    assert "\n" not in str(refusal.value) and "secret" not in str(refusal.value)


def test_local_storage_does_not_load_pyarrow() -> None:
    code = "import sys, workers.storage as s; s.open_storage('x'); print('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# ---- folders -----------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file grows beyond a size: the system itself refuses, as on a disk that is full."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def files_of(folder: LocalFolder) -> dict[str, bytes]:
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_on_a_full_disk_the_old_file_stands_and_nothing_is_left(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a", b"old")
    with full_disk(1000), pytest.raises(OSError, match=str(tmp_path / "a")):
        folder.write("a", b"n" * 1001)
    assert files_of(folder) == {"a": b"old"}
    folder.write("a", b"n" * 1001)
    assert folder.read("a") == b"n" * 1001


def test_on_a_full_disk_half_an_append_does_not_stand_before_the_next(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    log = log_of(folder, b"whole\n")
    with full_disk(1000), pytest.raises(OSError, match=str(tmp_path / "logs" / "1")):
        log.append(b"n" * 1001)
    assert folder.read_log("logs/1") == b"whole\n"
    log.append(b"next\n")
    log.close()
    assert folder.read_log("logs/1") == b"whole\nnext\n"


def raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a", b"old")
    with monkeypatch.context() as failing:
        failing.setattr(step, raises(error))
        with pytest.raises(type(error)):
            folder.write("a", b"new")
        with pytest.raises(type(error)):
            folder.write("b", b"new")
    assert files_of(folder) == {"a": b"old"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_an_append_that_fails_after_its_bytes_were_written_leaves_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = LocalFolder(tmp_path)
    log = log_of(folder, b"whole\n")
    with monkeypatch.context() as failing:
        failing.setattr("os.fsync", raises(error))
        with pytest.raises(type(error)):
            log.append(b"lost\n")
    log.append(b"next\n")
    log.close()
    assert folder.read_log("logs/1") == b"whole\nnext\n"


def test_a_log_that_somebody_has_deleted_takes_no_more(tmp_path: Path) -> None:
    log = log_of(LocalFolder(tmp_path), b"whole\n")
    (tmp_path / "logs" / "1").unlink()
    with pytest.raises(FileNotFoundError, match="the log was deleted"):
        log.append(b"next\n")


def test_a_log_that_half_an_append_can_not_be_removed_from_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(tmp_path)
    log = log_of(folder, b"whole\n")
    with monkeypatch.context() as failing:
        failing.setattr("os.ftruncate", raises(OSError(errno.EIO, "Input/output error")))
        with full_disk(10), pytest.raises(OSError):
            log.append(b"this is torn\n")
    with pytest.raises(OSError):
        log.append(b"next\n")
    assert folder.read_log("logs/1") == b"whole\nthis"


BLOCKED = """
import os, sys, threading
from pathlib import Path
from workers.storage import LocalFolder
def block(*_):
    print("blocked", flush=True)
    threading.Event().wait()
os.fsync = block
LocalFolder(Path(sys.argv[1])).write("a", b"new")
"""


def test_a_writer_that_is_killed_leaves_the_old_file_and_its_remains_are_swept(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a", b"old")
    with subprocess.Popen([sys.executable, "-c", BLOCKED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "blocked\n"
        writer.send_signal(signal.SIGKILL)
    assert len(files_of(folder)) == 2
    assert (folder.names(), folder.entries(), folder.read("a")) == (["a"], ["a"], b"old")
    folder.sweep()
    assert files_of(folder) == {"a": b"old"}


READ_ONLY = """
import sys
from pathlib import Path
from workers.storage import LocalFolder
folder = LocalFolder(Path(sys.argv[1]))
print(folder.names(), folder.read("a"))
for use in (lambda: folder.write("a", b"new"), lambda: folder.open_log("b"), lambda: folder.delete("a")):
    try:
        use()
    except PermissionError as error:
        print(error.strerror)
"""


def test_in_a_folder_that_can_not_be_written_all_is_read_and_nothing_changed(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "storage")
    folder.write("a", b"old")
    folder.path.chmod(0o555)
    command = [sys.executable, "-c", READ_ONLY, str(folder.path)]
    if os.geteuid() == 0:  # whom modes don't bind
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root without setpriv can write everywhere")
        command = [setpriv, "--bounding-set=-dac_override,-dac_read_search", *command]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout == "['a'] b'old'\n" + 3 * "Permission denied\n", answer.stderr
    folder.path.chmod(0o755)
    assert files_of(folder) == {"a": b"old"}


# ---- object stores -----------------------------------------------------------------------------------------------


class Unreliable:
    """A file system whose calls fail as told, one after the other; then it works."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.type_name = real.type_name
        self.failures: list[Exception] = []
        self.num_calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.num_calls += 1
            if self.failures:
                raise self.failures.pop(0)
            return getattr(self.real, name)(*arguments, **keywords)

        return call


def unreliable(bucket: ObjectStore, retry_for_s: float) -> tuple[Unreliable, ObjectStore]:
    filesystem, root = fs.FileSystem.from_uri(bucket.address + "&allow_delayed_open=true")
    files = Unreliable(filesystem)
    return files, ObjectStore(files, root, retry_for_s=retry_for_s)


def aws_error(code: str) -> OSError:
    return OSError(
        f"When uploading object with key 'a': AWS Error {code} during PutObject operation: no (Request ID: 7)"
    )


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "FIRST_PAUSE_S", 0.001)


def test_what_fails_for_a_while_is_tried_again(bucket: ObjectStore, no_pauses: None) -> None:
    files, store = unreliable(bucket, retry_for_s=60)
    uses: dict[str, Callable[[], object]] = {
        "write": lambda: store.write("a", b"whole"),
        "read": lambda: store.read("a"),
        "names": store.names,
        "append": lambda: log_of(store, b"1"),
        "logs": lambda: store.logs("logs"),
        "delete": lambda: store.delete("a"),
    }
    answers = {}
    for name, use in uses.items():
        files.failures = [aws_error("SLOW_DOWN"), aws_error("INTERNAL_FAILURE"), aws_error("NETWORK_CONNECTION")]
        answers[name] = use()
        assert not files.failures, name
    assert (answers["read"], answers["names"], answers["logs"]) == (b"whole", ["a"], ["1"])
    assert (bucket.read_log("logs/1"), bucket.names()) == (b"1", [])


class SleepersTime:
    """Goes by only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_what_fails_for_longer_is_an_error_that_names_the_object(
    bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, store = unreliable(bucket, retry_for_s=60)
    bucket.write("a", b"old")
    monkeypatch.setattr(object_store, "time", SleepersTime())
    files.failures = [aws_error("SLOW_DOWN") for _ in range(1000)]
    with pytest.raises(OSError, match=r"SLOW_DOWN during PutObject operation: no: 's3://bucket/.*/a'"):
        store.write("a", b"new")
    assert len(files.failures) < 999
    assert bucket.read("a") == b"old"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ACCESS_DENIED", PermissionError),
        ("SIGNATURE_DOES_NOT_MATCH", PermissionError),
        ("NO_SUCH_BUCKET", FileNotFoundError),
    ],
)
def test_what_will_not_pass_is_told_at_once(bucket: ObjectStore, code: str, kind: type[OSError]) -> None:
    files, store = unreliable(bucket, retry_for_s=60)
    files.failures = [aws_error(code)]
    with pytest.raises(kind, match=code):
        store.write("a", b"")
    assert files.num_calls == 1


def test_a_bucket_that_does_not_exist_is_told(s3_server: S3Server) -> None:
    store = open_storage(s3_server.address("no-such-bucket/run"))
    assert store.names() == []
    with pytest.raises(FileNotFoundError, match="NO_SUCH_BUCKET.*s3://no-such-bucket/run/a"):
        store.write("a", b"")


def test_after_an_append_that_failed_a_log_takes_no_more(bucket: ObjectStore, no_pauses: None) -> None:
    files, store = unreliable(bucket, retry_for_s=0.01)
    log = log_of(store, b"1")
    files.failures = [aws_error("SLOW_DOWN") for _ in range(1000)]
    with pytest.raises(OSError, match="SLOW_DOWN"):
        log.append(b"2")  # it may arrive yet
    files.failures = []
    with pytest.raises(OSError, match="closed"):
        log.append(b"3")
    assert bucket.read_log("logs/1") == b"1"


def test_an_interrupted_write_is_completed_first(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, waits, go_on = threading.Event(), threading.Event(), threading.Event()
    result = Future.result

    def noted_result(future: "Future[None]", timeout: float | None = None) -> None:
        waits.set()
        return result(future, timeout)

    class Slow(Unreliable):
        def open_output_stream(self, *arguments: Any, **keywords: Any) -> Any:
            stream = self.real.open_output_stream(*arguments, **keywords)
            begun.set()
            assert go_on.wait(60)
            return stream

    files, _ = unreliable(bucket, 60)
    store = ObjectStore(Slow(files.real), bucket.where("")[5:])
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert begun.wait(60) and waits.wait(60)
        signal.pthread_kill(main, signal.SIGINT)
        threading.Timer(0.1, go_on.set).start()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    monkeypatch.setattr(Future, "result", noted_result)
    with pytest.raises(KeyboardInterrupt):
        store.write("a", b"whole")
    interrupter.join()
    assert bucket.read("a") == b"whole"


def parts_of(bucket: ObjectStore) -> list[str]:
    return bucket.names("logs/1")


def test_appends_are_merged_so_that_few_objects_are_left(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "NUM_MERGED", 4)
    log_of(bucket, *[b"x"] * (16 + 4 + 2)).close()
    assert parts_of(bucket) == [part_name(0, 15), part_name(16, 19), part_name(20, 20), part_name(21, 21)]


def test_a_merge_that_was_cut_off_loses_nothing(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "NUM_MERGED", 4)
    whole = b"".join(b"%d " % number for number in range(64))
    for cut_off in ("write", "delete_all"):
        log = bucket.open_log(f"{cut_off}/1")
        for number in range(64):
            with monkeypatch.context() as failing:
                if number == 7:  # the second merge

                    def fail_merging(name: str, data: bytes) -> None:
                        if name.endswith(part_name(4, 7)):
                            raise KeyboardInterrupt
                        ObjectStore.write(bucket, name, data)

                    failing.setattr(
                        bucket, cut_off, fail_merging if cut_off == "write" else raises(KeyboardInterrupt())
                    )
                    with pytest.raises(KeyboardInterrupt):
                        log.append(b"%d " % number)
                else:
                    log.append(b"%d " % number)
            if number in (7, 8):
                assert bucket.read_log(f"{cut_off}/1") == whole[: whole.index(b"%d " % (number + 1))]
        assert bucket.read_log(f"{cut_off}/1") == whole
        assert bucket.names(f"{cut_off}/1") == [part_name(0, 63)]


def test_parts_that_a_longer_one_holds_are_not_read_twice_and_are_swept(bucket: ObjectStore) -> None:
    log_of(bucket, b"0", b"1", b"2", b"3").close()
    bucket.write(f"logs/1/{part_name(0, 2)}", b"012")  # its writer died before it deleted the short ones
    assert bucket.read_log("logs/1") == b"0123"
    bucket.sweep()
    assert parts_of(bucket) == [part_name(0, 2), part_name(3, 3)]
    assert bucket.read_log("logs/1") == b"0123"


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_part_is_named(bucket: ObjectStore, lost: int) -> None:
    log_of(bucket, b"0", b"1", b"2", b"3").close()
    bucket.delete(f"logs/1/{part_name(lost, lost)}")
    with pytest.raises(ValueError, match=f"logs/1: part {part_name(lost, lost)} is missing"):
        bucket.read_log("logs/1")


def test_a_reader_takes_the_longer_part_when_the_short_ones_go_meanwhile(bucket: ObjectStore) -> None:
    files, reader = unreliable(bucket, 60)
    log_of(bucket, b"0", b"1").close()
    list_parts = files.real.get_file_info
    stale = list_parts(fs.FileSelector(f"{bucket.where('logs/1')[5:]}"))
    bucket.write(f"logs/1/{part_name(0, 1)}", b"01")
    bucket.delete_all(f"logs/1/{part_name(number, number)}" for number in (0, 1))
    answers = [stale]
    files.get_file_info = lambda selector: answers.pop() if answers else list_parts(selector)  # type: ignore[attr-defined]
    assert reader.read_log("logs/1") == b"01"
    assert not answers
