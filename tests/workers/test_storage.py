"""Storage of each kind: what it holds, how it is named."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.s3_server import S3Server
from tests.workers.storing import log_of
from workers import object_store
from workers.storage import Storage, open_storage


@pytest.fixture
def storage(address: str) -> Storage:
    return open_storage(address)


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
