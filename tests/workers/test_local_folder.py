"""A folder as storage: what fails leaves no trace, what dies costs only itself."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workers.storing import log_of, raises
from workers.storage import LocalFolder


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
