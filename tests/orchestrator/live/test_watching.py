"""A run seen from elsewhere: alive, silent, dead, ended."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from experiments.s3_server import S3Server
from orchestrator.console import status_table
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.live.publishing import ProgressFile
from orchestrator.live.snapshot import Snapshot
from orchestrator.live.watching import Watcher
from orchestrator.runs import RunLock
from orchestrator.standing import Standing
from tests.orchestrator.live.seen import replayed, snapshot
from tests.orchestrator.live.terminal import Command
from tests.orchestrator.made_up_runs import made_up_run, search_config
from workers.run_folder import RunFolder
from workers.storage import open_storage

CONFIG = search_config()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose driver was killed."""
    return made_up_run(tmp_path / "run", CONFIG, (12,), killed=True)


@pytest.fixture
def lock(folder: RunFolder) -> Iterator[RunLock]:
    """Its lock, held as by a driver that lives."""
    lock = RunLock(folder.storage)
    assert lock.acquire()
    yield lock
    lock.release()


def end(folder: RunFolder, reason: str) -> None:
    journal = Journal(folder.storage)
    journal.read()
    journal.open_epoch()
    journal.append([{"type": "ended", "time": 1.8e9, "reason": reason}])
    journal.close()


def published(folder: RunFolder, *snapshots: Snapshot) -> None:
    for each in snapshots:
        folder.write_progress(each.to_json())


def test_a_run_that_lives_is_shown_as_its_driver_tells_it(folder: RunFolder, lock: RunLock) -> None:
    published(folder, snapshot())
    sight = Watcher(folder.storage).look()
    assert (sight.life, sight.notice, sight.snapshot) == ("running", "", snapshot())


@pytest.mark.parametrize("data", [None, b"", b'{"schema_version": 99}'])
def test_where_the_driver_tells_nothing_the_journal_does(folder: RunFolder, lock: RunLock, data: bytes | None) -> None:
    if data is not None:
        folder.write_progress(data)
    sight = Watcher(folder.storage).look()
    assert sight.life == "running" and sight.snapshot.num_told >= 12
    assert sight.snapshot.workers and all(line.phase == "at work" for line in sight.snapshot.workers)


def test_a_driver_that_is_dead_is_told_whatever_it_said_last(folder: RunFolder) -> None:
    published(folder, snapshot())
    watcher = Watcher(folder.storage)
    sight = watcher.look()
    assert sight.life == "gone" and "no driver works on it" in sight.notice
    assert sight.snapshot.num_told >= 12 and sight.snapshot.workers == ()

    lock = RunLock(folder.storage)
    assert lock.acquire()
    assert watcher.look().life == "running"
    end(folder, "stopped as asked")
    lock.release()
    assert watcher.look().life == "ended"


def test_a_driver_that_lives_and_tells_nothing_is_told(folder: RunFolder, lock: RunLock) -> None:
    published(folder, snapshot())
    watcher = Watcher(folder.storage, quiet_s=0.0)
    watcher.look()
    assert "its driver lives, but has told nothing" in watcher.look().notice
    published(folder, snapshot(number=2))
    watcher = Watcher(folder.storage, quiet_s=3600.0)
    watcher.look()
    assert watcher.look().notice == ""


def test_a_lease_is_looked_at_without_waiting(s3_server: S3Server) -> None:
    storage = open_storage(s3_server.address("bucket/runs/watched"))
    holder, onlooker = RunLock(storage), RunLock(storage)
    assert onlooker.look() is False
    storage.write("driver.lock", b'{"token": "a", "generation": 1, "beat": 1}')
    assert onlooker.look() is None
    assert onlooker.look() is None
    storage.write("driver.lock", b'{"token": "a", "generation": 1, "beat": 2}')
    assert onlooker.look() is True
    assert onlooker.look() is True
    assert holder.look() is None
    storage.delete("driver.lock")
    assert onlooker.look() is False


def test_a_lease_without_a_beat_is_a_dead_drivers_until_it_beats_again(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("orchestrator.lease.time.monotonic", lambda: now)
    storage = open_storage(s3_server.address("bucket/runs/silent"))
    lock = RunLock(storage)
    storage.write("driver.lock", b'{"token": "a", "generation": 1, "beat": 1}')
    assert lock.look() is None
    now = 30.0
    assert lock.look() is False
    storage.write("driver.lock", b'{"token": "b", "generation": 2, "beat": 1}')
    assert lock.look() is True
    now = 70.0
    assert lock.look() is False


def test_the_file_is_there_while_a_driver_works_and_no_longer(folder: RunFolder) -> None:
    complaints: list[str] = []
    file = ProgressFile(folder, complaints.append, every_s=1e-9)
    written = threading.Event()
    write = folder.write_progress

    def tell(data: bytes) -> None:
        write(data)
        written.set()

    folder.write_progress = tell  # type: ignore[method-assign]
    file.show(snapshot())
    assert written.wait(60)
    assert Snapshot.from_json(folder.read_progress() or b"") == snapshot()
    file.close()
    assert folder.read_progress() is None and complaints == []


def test_storage_that_hangs_delays_nobody_and_storage_that_fails_is_told_once(folder: RunFolder) -> None:
    complaints: list[str] = []
    file = ProgressFile(folder, complaints.append, every_s=1e-9)
    goes_on, is_in = threading.Event(), threading.Event()

    def fail(data: bytes) -> None:
        is_in.set()
        goes_on.wait(60)
        raise OSError("no space left on device")

    folder.write_progress = fail  # type: ignore[method-assign]
    file.show(snapshot())
    assert is_in.wait(60)
    for number in range(2, 9):  # none of these waits for the first
        file.show(snapshot(number=number))
    goes_on.set()
    while not complaints:
        file.show(snapshot())
    file.show(snapshot())
    file.close()
    assert len(complaints) == 1 and "no space left" in complaints[0] and "the search goes on" in complaints[0]


def test_watch_shows_a_run_and_ends_with_it(folder: RunFolder, lock: RunLock) -> None:
    published(folder, snapshot(number=1, num_pending=7))
    command = Command("status", folder.address, "--watch", "--every", "0.1", columns=100)
    shown = command.wait_until(lambda lines: any("7 pending" in line for line in lines))
    assert any("worker-0  #40 candidate" in line for line in shown) and "a new search" in shown

    command.resize(60, 30)
    published(folder, snapshot(number=2, num_pending=8))
    shown = command.wait_until(lambda lines: any("8 pending" in line for line in lines))
    assert sum("pending" in line for line in shown) == 1

    command.resize(160, 50)
    end(folder, "stopped as asked")
    lock.release()
    assert command.end() == 0
    text = "\n".join(command.picture.scrolled)
    assert "not running (stopped as asked)" in text and "worker seconds" in text
    assert "up 1 h 6 min" not in text  # the picture is gone


@pytest.mark.parametrize("width", [50, 80, 100, 160])
def test_the_table_of_jobs_has_the_columns_that_there_is_room_for(folder: RunFolder, width: int) -> None:
    history = History.fold(CONFIG, Journal(folder.storage))
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(status_table(CONFIG, Standing.of(history), 5, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert {"job", "encoding", "AP", "status"} <= set(lines[1].split())
    assert ("worker" in lines[1]) == (width >= 120)
    numbers = [line.split()[0] for line in lines[3:] if line.strip() and line[:4].strip()]
    assert numbers == [str(row["index"]) for row in history.trials.rows.since(len(history.trials.rows) - 5)]


def test_ctrl_c_ends_the_watch_quietly_and_leaves_the_picture(folder: RunFolder) -> None:
    command = Command("status", folder.address, "--watch", "--every", "0.1")
    command.wait_until(lambda lines: any("no driver works on it" in line for line in lines))
    command.interrupt()
    assert command.end() == 0
    text = "\n".join(command.picture.scrolled)
    assert "no driver works on it" in text
    assert "Traceback" not in text and "interrupted" not in text


def test_a_watched_history_is_the_drivers_own(folder: RunFolder) -> None:
    teller, history = replayed(Path(folder.address), CONFIG)
    own, seen = teller.snapshot(history, {}, {}), Watcher(folder.storage).look().snapshot
    for name in ("title", "phase", "round", "start", "best", "num_told", "num_candidates", "num_failed", "counter"):
        assert getattr(own, name) == getattr(seen, name), name


def test_a_run_in_a_bucket_is_watched_like_any_other(s3_server: S3Server) -> None:
    folder = made_up_run(s3_server.address("bucket/runs/elsewhere"), CONFIG, (12,))
    command = Command("status", folder.address, "--watch", columns=160, lines=60)
    assert command.end() == 0
    assert "not running (stopped as asked)" in "\n".join(command.picture.scrolled)
