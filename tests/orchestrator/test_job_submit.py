"""The documented command on a cluster with token authentication: submitted, stopped in the middle, submitted again."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from experiments.chaos.processes import descendants
from orchestrator.driver import Driver
from orchestrator.journal import Journal
from orchestrator.runs import open_run
from tests.orchestrator.test_driver import Watcher
from tests.orchestrator.tiny import history_of, tiny_config, write_config
from workers.checkpoint import Checkpoint
from workers.ranks import free_port
from workers.storage import open_storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PACKAGES = ("models", "workers", "orchestrator", "experiments")
WAIT_S = 300.0
# One long training that is caught in the middle, and a few short ones after it.
LONG_START: dict[str, Any] = {
    "start": {"training": {"epochs": 60}},
    "serial": {"n_stuck": 2, "reignite": False, "max_candidates": 2},
    "parallel": None,
    "final": None,
    "fleet": {"num_workers": 1, "checkpoint_minutes": 0},
}


@dataclass
class Cluster:
    """A head, and what a user's shell needs for it."""

    dashboard: str
    environment: dict[str, str]

    def ray(self, *arguments: str, cwd: Path | None = None) -> str:
        """What ``ray ARGUMENTS`` prints."""
        answer = subprocess.run(
            [*RAY, *arguments], env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=WAIT_S
        )
        assert answer.returncode == 0, f"{arguments}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def status(self, job: str) -> str:
        found: str = json.loads(self.ask(f"/api/jobs/{job}"))["status"]
        return found

    def ask(self, path: str, *, with_token: bool = True) -> str:
        request = urllib.request.Request(self.dashboard + path)
        if with_token:
            token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            text: str = answer.read().decode()
            return text


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """``ray start --head`` with everything of its own, ended by its processes' ids."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # the paths of Ray's sockets must be short
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_process_group_cleanup_enabled": "true",
    }
    port, dashboard, client, agent = (free_port() for _ in range(4))
    options = {
        "port": port,
        "dashboard-port": dashboard,
        "dashboard-host": "127.0.0.1",
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "object-store-memory": 100 * 2**20,
        "temp-dir": folder / "ray",
    }
    command = [*RAY, "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    # What it has started may outlive it by moments, and a new parent takes its place.
    family: set[int] = set()
    try:
        cluster = Cluster(f"http://127.0.0.1:{dashboard}", environment)
        wait_until(lambda: answers(cluster) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield cluster
        family = {pid for pid, _ in descendants(process.pid)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        wait_until(lambda: not any(is_alive(pid) for pid in family))
        shutil.rmtree(folder)


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def answers(cluster: Cluster) -> bool:
    try:
        cluster.ask("/api/jobs/")
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user's clone has that matters."""
    folder = tmp_path_factory.mktemp("clone")
    repository = Path(__file__).parent.parent.parent
    for package in PACKAGES:
        shutil.copytree(repository / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    write_config(folder / "tiny.yaml", **LONG_START)
    return folder


def documented_command() -> list[str]:
    """The words of ``ray job submit`` in docs/cluster.md."""
    guide = (Path(__file__).parent.parent.parent / "docs" / "cluster.md").read_text()
    found = re.search(r"^ray job submit .*?[^\\]\n", guide, re.MULTILINE | re.DOTALL)
    assert found is not None
    return shlex.split(found.group().replace("\\\n", " "))


def submit(cluster: Cluster, working_dir: Path, run: Path) -> str:
    """Submit the documented command for another config and run; the job's name."""
    words = documented_command()
    assert words[:3] == ["ray", "job", "submit"] and "--working-dir" in words
    places = {
        "http://HEAD:8265": cluster.dashboard,
        "experiments/clusters/search.yaml": "tiny.yaml",
        "s3://bucket/voc": str(run),
        "python": sys.executable,
    }
    assert set(places) <= set(words)
    words = [places.get(word, word) for word in words[1:]]
    job = f"job-{secrets.token_hex(4)}"
    before, after = words[: words.index("--")], words[words.index("--") :]
    cluster.ray(*before, "--no-wait", "--submission-id", job, *after, cwd=working_dir)
    return job


def test_nobody_without_the_token_is_answered(cluster: Cluster) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        cluster.ask("/api/jobs/", with_token=False)


def test_a_job_that_is_stopped_and_submitted_again_has_the_history_of_an_undisturbed_run(
    cluster: Cluster, working_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = submit(cluster, working_dir, run)
    # A checkpoint is written after each step: the start's training is under way.
    wait_until(lambda: any((run / "checkpoints").glob("*.safetensors")) or cluster.status(job) == "FAILED")
    assert cluster.status(job) == "RUNNING", cluster.ray("job", "logs", "--address", cluster.dashboard, job)
    cluster.ray("job", "stop", "--address", cluster.dashboard, job)

    assert cluster.status(job) == "STOPPED"
    log = cluster.ray("job", "logs", "--address", cluster.dashboard, job)
    assert "asked to end: what is under way stops at a checkpoint" in log
    assert "interrupted. Nothing finished is lost; the same command goes on." in log
    assert "RAY_JOB_STOP_WAIT_TIME_S" not in log  # there was time enough
    *_, last = Journal(open_storage(run)).read()
    assert (last["type"], last["reason"]) == ("ended", "asked to end")
    (checkpoint,) = (run / "checkpoints").glob("*.safetensors")
    assert Checkpoint.from_bytes(checkpoint.read_bytes()).step > 0

    again = submit(cluster, working_dir, run)
    wait_until(lambda: cluster.status(again) in ("SUCCEEDED", "FAILED", "STOPPED"))
    log = cluster.ray("job", "logs", "--address", cluster.dashboard, again)
    assert cluster.status(again) == "SUCCEEDED", log
    assert "going on after 0 finished jobs" in log and "the search is complete" in log

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        folder, _ = open_run(tiny_config(**LONG_START), open_storage(tmp_path / "undisturbed"))
        assert Driver(tiny_config(**LONG_START), folder, Watcher()).run() == "the search is complete"
    finally:
        ray.shutdown()
    assert history_of(run).equals(history_of(tmp_path / "undisturbed"))
