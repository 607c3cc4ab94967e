"""An object store as storage: what fails for a while is tried again, what dies costs only itself."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from experiments.s3_server import S3Server
from tests.workers.storing import log_of, raises
from workers import object_store
from workers.object_store import ObjectStore, part_name
from workers.storage import open_storage


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> ObjectStore:
    storage = open_storage(s3_server.address(f"bucket/{tmp_path.name}"))
    assert isinstance(storage, ObjectStore)
    return storage


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
