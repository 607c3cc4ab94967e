"""Who has a run, in each kind of storage: one driver, until it gives it back or dies, however clocks go."""

import itertools
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.s3_server import S3Server
from orchestrator import lease
from orchestrator.errors import Superseded, UserError
from orchestrator.journal import Journal
from orchestrator.lease import Lease
from orchestrator.runs import RunLock, open_run, storage_of, stored_config
from tests.orchestrator.tiny import tiny_config
from tests.waiting import wait_until
from workers.storage import LocalFolder, Storage, open_storage

NEVER_S = 1000.0  # a watch that no test waits for: a driver that lives ends it by its next beat


@pytest.fixture
def storage(address: str) -> Storage:
    return open_storage(address)


@pytest.fixture
def bucket(s3_server: S3Server) -> Storage:
    return open_storage(s3_server.address(f"bucket/leases/{secrets.token_hex(4)}"))


def lock_of(storage: Storage, watch_s: float = NEVER_S, settle_s: float = 0.2) -> RunLock:
    """A lock as it is, but that leases go by quicker."""
    quick = Lease(storage, beat_s=0.1, settle_s=settle_s, watch_s=watch_s)
    return RunLock(storage, None if isinstance(storage, LocalFolder) else quick)


DRIVER = """
import itertools, sys, time
from orchestrator import lease
from orchestrator.errors import Superseded
from orchestrator.journal import Journal
from tests.orchestrator.test_runs import lock_of
from workers.storage import open_storage
address, machine = sys.argv[1:]
if machine:
    lease._machine = lambda: machine
jumps = itertools.cycle([4e9, 0.0, -1e9, 1e12])
time.time = lambda: next(jumps)
lock = lock_of(open_storage(address))
assert lock.acquire()
open_storage(address).write("config.yaml", b"")
journal = Journal(open_storage(address))
journal.read()
lock.verify()
journal.open_epoch()
print("begun", journal.epoch, flush=True)
for line in sys.stdin:
    journal.append([{"type": "told", "by": line.strip()}])
    try:
        lock.verify()
        print("ours", flush=True)
    except Superseded as error:
        print(error, flush=True)
lock.release()
"""


class Driver:
    """A process that has a run and writes in its journal what it is told to."""

    def __init__(self, address: str, machine: str = "") -> None:
        command = [sys.executable, "-W", "error", "-c", DRIVER, address, machine]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.begun = self._answer()

    def write(self, text: str) -> str:
        """Returns what `verify` says afterwards."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self, by: signal.Signals | None = None) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        if by is not None:
            self.process.send_signal(by)
        self.process.stdin.close()
        code = self.process.wait()
        self.process.stdout.close()
        assert code == (0 if by is None else -by)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def driver(address: str, machine: str = "") -> Iterator[Driver]:
    started = Driver(address, machine)
    try:
        yield started
    finally:
        if started.process.returncode is None:
            started.end(signal.SIGKILL)


def told_by(storage: Storage) -> list[str]:
    return [record["by"] for record in Journal(storage).read() if record["type"] == "told"]


def test_a_second_driver_is_refused_while_the_first_lives(storage: Storage) -> None:
    first, second = lock_of(storage), lock_of(storage)
    assert not first.is_held()
    assert first.acquire()
    assert second.is_held()
    assert not second.acquire()
    first.verify()
    first.release()
    assert not second.is_held()
    assert second.acquire()
    assert not first.acquire()
    second.release()


def test_a_lock_given_back_can_be_taken_again(storage: Storage) -> None:
    lock = lock_of(storage)
    for _ in range(3):
        assert lock.acquire()
        lock.verify()
        lock.release()
    assert storage.entries() in ([], ["driver.lock"])


@pytest.mark.parametrize("machine", ["", "another machine"])
def test_a_second_process_is_refused_while_the_first_lives_and_goes_on_when_it_ends(
    storage: Storage, address: str, machine: str
) -> None:
    with driver(address, machine) as first:
        assert first.begun == "begun 1"
        assert not lock_of(storage).acquire()
        assert first.write("first") == "ours"
        first.end()
        with driver(address, machine) as second:
            assert second.begun == "begun 2"
            assert second.write("second") == "ours"
            second.end()
    assert told_by(storage) == ["first", "second"]


@pytest.mark.parametrize("machine", ["", "another machine"])
def test_a_driver_killed_with_9_is_taken_over_from(storage: Storage, address: str, machine: str) -> None:
    with driver(address, machine) as first:
        assert first.write("first") == "ours"
        first.end(signal.SIGKILL)
    # That a process of this machine is gone is seen at once; of another it is seen by its beats.
    lock = lock_of(storage, watch_s=NEVER_S if not machine else 0.5)
    assert not lock.is_held()
    assert lock.acquire()
    journal = Journal(storage)
    assert len(journal.read()) == 2
    journal.open_epoch()
    journal.append([{"type": "told", "by": "second"}])
    journal.close()
    lock.verify()
    lock.release()
    assert told_by(storage) == ["first", "second"]


def test_what_a_zombie_still_writes_changes_nothing_and_it_learns_that_it_is_one(bucket: Storage) -> None:
    with driver(bucket.address, "another machine") as zombie:
        assert zombie.write("zombie, alive") == "ours"
        zombie.process.send_signal(signal.SIGSTOP)
        lock = lock_of(bucket, watch_s=0.5)
        wait_until(lock.acquire)  # a beat that was under way may still arrive
        journal = Journal(bucket)
        journal.read()
        journal.open_epoch()
        journal.append([{"type": "told", "by": "successor"}])
        zombie.process.send_signal(signal.SIGCONT)
        answer, late = zombie.write("zombie, late"), 1
        while answer == "ours":  # it has not looked yet
            answer, late = zombie.write("zombie, late"), late + 1
        assert answer.startswith("another driver has taken s3://bucket/")
        assert f"another driver has taken {bucket.address}" == zombie.write("zombie, later")
        journal.append([{"type": "told", "by": "successor, later"}])
        zombie.end()  # gives back nothing that is not its own
        lock.verify()
        assert lock_of(bucket).is_held()
        journal.close()
        lock.release()
    assert told_by(bucket) == ["zombie, alive", "successor", "successor, later"]


def test_a_driver_that_is_stopped_keeps_a_local_run(tmp_path: Path) -> None:
    storage = LocalFolder(tmp_path)
    with driver(storage.address) as first:
        first.process.send_signal(signal.SIGSTOP)
        assert not lock_of(storage).acquire()
        first.process.send_signal(signal.SIGCONT)
        assert first.write("first") == "ours"


def test_of_drivers_that_begin_at_once_one_gets_the_run(storage: Storage) -> None:
    locks = [lock_of(storage, settle_s=1.0) for _ in range(4)]
    acquired: list[RunLock] = []
    threads = [threading.Thread(target=lambda lock=lock: lock.acquire() and acquired.append(lock)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Of an object store whoever is late takes it from one that has begun already, which then learns that.
    wait_until(lambda: [is_ours(lock) for lock in acquired].count(True) == 1)
    for lock in acquired:
        lock.release()


def is_ours(lock: RunLock) -> bool:
    try:
        lock.verify()
    except Superseded:
        return False
    return True


def test_a_successor_is_not_disturbed_by_what_a_zombie_puts_over_its_lease(bucket: Storage) -> None:
    zombie = Lease(bucket, beat_s=1000, settle_s=0, watch_s=0)
    assert zombie.acquire()
    old = bucket.read(lease.NAME)
    successor = Lease(bucket, beat_s=0.05, settle_s=0, watch_s=0)
    assert successor.acquire()
    bucket.write(lease.NAME, old)  # as if the zombie had looked before and written after
    wait_until(lambda: bucket.read(lease.NAME) != old)
    successor.verify()
    zombie._checked_at = float("-inf")
    with pytest.raises(Superseded):
        zombie.verify()
    zombie.release()
    assert bucket.names() == [lease.NAME]
    successor.release()
    assert bucket.names() == []


@pytest.mark.parametrize(
    "data", [b"", b'{"token": "half a le', b"[]", b"\xff\xfe", b'{"generation": "x", "pid": 1e99}']
)
def test_a_lease_that_can_not_be_read_is_a_dead_drivers(bucket: Storage, data: bytes) -> None:
    bucket.write(lease.NAME, data)
    lock = lock_of(bucket, watch_s=0.3)
    assert not lock.is_held()
    assert lock.acquire()
    lock.verify()
    lock.release()


def test_a_lease_that_was_deleted_is_put_again(bucket: Storage) -> None:
    lock = lock_of(bucket)
    assert lock.acquire()
    bucket.delete(lease.NAME)
    wait_until(lambda: bucket.names() == [lease.NAME])
    lock.verify()
    lock.release()


def test_clocks_that_jump_change_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = itertools.cycle([4e9, 0.0, -1e9, 1e12])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    first, second = lock_of(storage), lock_of(storage)
    assert first.acquire()
    for _ in range(3):
        assert not second.acquire()
        first.verify()
    first.release()
    assert second.acquire()
    second.release()


# ---- opening a run -----------------------------------------------------------------------------------------------


def test_a_run_is_made_once_and_opened_again(storage: Storage) -> None:
    folder, changed = open_run(tiny_config(), storage)
    assert changed == {}
    assert stored_config(folder) == tiny_config()
    _, changed = open_run(tiny_config(fleet={"num_workers": 1}), storage)
    assert changed == {"fleet.num_workers": (2, 1)}
    with pytest.raises(UserError, match=r"serial.n_stuck was 2, is 9"):
        open_run(tiny_config(serial={"n_stuck": 9}), storage)


@pytest.mark.parametrize("stranger", ["thesis.tex", "weights/mine.safetensors"])
def test_a_place_with_something_else_in_it_is_refused_and_left_alone(storage: Storage, stranger: str) -> None:
    storage.write(stranger, b"mine")
    before = storage.entries()
    uses: list[Callable[[], object]] = [lock_of(storage).acquire, lambda: open_run(tiny_config(), storage)]
    for use in uses:
        with pytest.raises(UserError, match=re.escape(f"run's folder (it has {stranger.split('/')[0]}); name another")):
            use()
    assert storage.entries() == before
    assert storage.read(stranger) == b"mine"


def test_a_place_whose_first_driver_died_while_it_made_the_run_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.tmp").write_text("half of a con")
    lock = RunLock(LocalFolder(tmp_path))
    assert lock.acquire()
    folder, changed = open_run(tiny_config(), LocalFolder(tmp_path))
    assert folder.has_config() and changed == {}
    lock.release()


@pytest.mark.parametrize(
    ("text", "reason"), [("", "a mapping"), ("seed: [", "YAML"), ("seed: nothing\n", "seed: 'nothing'")]
)
def test_a_truncated_or_corrupt_config_is_told_with_its_place(storage: Storage, text: str, reason: str) -> None:
    folder, _ = open_run(tiny_config(), storage)
    folder.write_config(text)
    with pytest.raises(UserError, match=re.escape(f"config {storage.where('config.yaml')}")) as refusal:
        stored_config(folder)
    assert reason in str(refusal.value)


def test_a_place_without_a_config_is_no_run(storage: Storage) -> None:
    from workers.run_folder import RunFolder

    with pytest.raises(UserError, match=r"is not a run's folder \(no config.yaml\)"):
        stored_config(RunFolder(storage))


@pytest.mark.parametrize("run", ["ftp://host/run", "s3://", "s3://user:key@bucket/run", ""])
def test_what_is_no_address_of_a_run_is_one_line(run: str) -> None:
    with pytest.raises(UserError, match=f"run {re.escape(run)}: ") as refusal:
        storage_of(run)
    assert "\n" not in str(refusal.value)


def test_a_bucket_that_does_not_exist_is_one_line(s3_server: S3Server) -> None:
    with pytest.raises(UserError, match="can't be written .*NO_SUCH_BUCKET.*; name a folder that can") as refusal:
        RunLock(storage_of(s3_server.address("no-such-bucket/run"))).acquire()
    assert "\n" not in str(refusal.value)


def test_a_run_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in ("file", "file/run"):
        with pytest.raises(UserError, match="run .*(can't be written|can't be read as a folder)"):
            RunLock(LocalFolder(tmp_path / path)).acquire()
    assert os.listdir(tmp_path) == ["file"]
