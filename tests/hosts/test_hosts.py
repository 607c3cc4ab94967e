"""Three hosts with a Ray node each: a search and a reignition gang across them, while one is cut off and comes back.

`make test-hosts` runs it; `make test` leaves it out, as it needs root and changes the machine's network for a while.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.hosts.network import Host, network, unavailable
from tests.orchestrator.test_driver import records
from tests.orchestrator.tiny import history_of, write_config

PORT = 6399
FAST_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
reason = unavailable() if os.environ.get("SPNAS_TEST_HOSTS") else "make test-hosts runs it"
pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900), pytest.mark.skipif(bool(reason), reason=reason)]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets need a short path."""
    path = Path(tempfile.mkdtemp(prefix="sp", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Nodes:
    """A Ray node on each host; the first is the head, where the driver runs, and trains nothing."""

    def __init__(self, hosts: list[Host], folder: Path, stack: contextlib.ExitStack) -> None:
        self.hosts = hosts
        self._folder = folder
        self._stack = stack
        self._processes = [self._start(number) for number in range(len(hosts))]

    def cut(self, number: int) -> None:
        """Cut a host off."""
        self.hosts[number].cut()

    def restore(self, number: int) -> None:
        """Mend its link. Its Ray has been given up and ends when it hears of it; whatever watches it starts another."""
        self.hosts[number].restore()
        self._processes[number].wait()
        self._processes[number] = self._start(number)

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        host, head = self.hosts[number], self.hosts[0]
        if number == 0:
            place = [
                "--head",
                f"--port={PORT}",
                "--num-cpus=0",
                "--include-dashboard=false",
                f"--temp-dir={self._folder / 'r'}",
                f"--system-config={json.dumps(FAST_HEALTH_CHECKS)}",
            ]
        else:
            place = [f"--address={head.address}:{PORT}", "--num-cpus=1"]
        ray = str(Path(sys.executable).with_name("ray"))
        options = [f"--node-ip-address={host.address}", "--object-store-memory=80000000"]
        log = self._folder / f"host{number}.log"
        log.unlink(missing_ok=True)
        process = self._stack.enter_context(ended(host.start([ray, "start", "--block", *place, *options], log)))
        wait_until(lambda: "Ray runtime started" in log.read_text(), [process])
        return process


@pytest.fixture
def nodes(short_folder: Path) -> Iterator[Nodes]:
    """Three of them."""
    with network(3) as hosts, contextlib.ExitStack() as stack:
        yield Nodes(hosts, short_folder, stack)


@contextlib.contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is asked to end at the end, with its group, should it still run."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def wait_until(condition: Callable[[], bool], processes: "list[subprocess.Popen[bytes]]") -> None:
    """Look until it holds; none of the processes may end before."""
    while not condition():
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"{process.args} ended with {process.wait(timeout=0.1)}")


def search(host: Host, config: Path, run: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "orchestrator.cli", "search", str(config), "--run", str(run)]
    return host.start(command, log, RAY_ADDRESS=f"{host.address}:{PORT}")


def test_a_search_and_a_gang_lose_nothing_when_a_host_is_cut_off(nodes: Nodes, short_folder: Path) -> None:
    reignition = {"data": {"format": "shapes", "num_train": 64, "num_val": 8}, "batch_size": 16, "epochs": 40}
    config = write_config(
        short_folder / "tiny.yaml",
        training={"epochs": 30, "normalization": "sync"},
        reignition=reignition | {"normalization": "sync", "num_nodes": 2},
        parallel=None,
        final=None,
        fleet={"num_workers": 2, "checkpoint_minutes": 0, "unreachable_minutes": 0.2},
    )
    path, log = short_folder / "run", short_folder / "driver.log"

    def is_running(role: str) -> Callable[[], bool]:
        def look() -> bool:
            if not (path / "journal" / "000001.jsonl").exists():
                return False
            indices = {r["job"]["index"] for r in records(path, "decided") if r["job"]["role"] == role}
            told = {record["outcome"]["index"] for record in records(path, "told")}
            return any(record["index"] in indices - told for record in records(path, "dispatched"))

        return look

    def num_lost() -> int:
        return log.read_text().count(" was lost on ")

    with ended(search(nodes.hosts[0], config, path, log)) as driver:
        for role in ("control", "pretrain"):
            wait_until(is_running(role), [driver])
            before = num_lost()
            nodes.cut(2)
            wait_until(lambda: num_lost() > before, [driver])  # noqa: B023
            nodes.restore(2)
        assert driver.wait() == 0, log.read_text()
    trials = pd.read_parquet(path / "trials.parquet")
    assert set(trials["status"]) == {"completed"}
    assert "pretrain" in set(trials["role"])
    told = [record["outcome"]["index"] for record in records(path, "told")]
    assert told == list(range(len(told)))

    with ended(search(nodes.hosts[0], config, short_folder / "quiet", short_folder / "quiet.log")) as quiet:
        assert quiet.wait() == 0, (short_folder / "quiet.log").read_text()
    pd.testing.assert_frame_equal(history_of(path), history_of(short_folder / "quiet"), check_exact=True)
