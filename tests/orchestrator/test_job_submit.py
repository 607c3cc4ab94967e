"""The documented command on a cluster with token authentication: submitted, stopped in the middle, submitted again."""

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from experiments.chaos.processes import descendants, is_alive
from orchestrator.journal import Journal
from tests.orchestrator import held_trainers
from tests.orchestrator.held_trainers import HeldTraining, held
from tests.orchestrator.test_driver import run as run_search
from tests.orchestrator.tiny import history_of, tiny_config, write_config
from tests.waiting import wait_until
from workers.checkpoint import Checkpoint
from workers.storage import open_storage
from workers.task import NETWORK_TRAINER

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PACKAGES = ("models", "workers", "orchestrator", "experiments")
# A start that holds in the middle, and a few trainings after it.
HELD_START: dict[str, Any] = {
    "start": {"training": {"epochs": 2}},
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
        answer = subprocess.run([*RAY, *arguments], env=self.environment, cwd=cwd, capture_output=True, text=True)
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
        with urllib.request.urlopen(request, timeout=300) as answer:
            text: str = answer.read().decode()
            return text


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
    port, dashboard, client, agent = free_ports(4)
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
        process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in family))
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, and that the system and Ray give to nobody else before they are used."""
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(range(20_000, 29_000))
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("", port))
            found.add(port)
    return list(found)


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
    # The command has no option for it: the first attempt holds until it is asked to stop, however fast this machine is.
    shutil.copy(held_trainers.__file__, folder)
    task = folder / "workers" / "task.py"
    text, held_text = task.read_text(), 'NETWORK_TRAINER = "held_trainers:HeldTraining"'
    changed = text.replace(f'NETWORK_TRAINER = "{NETWORK_TRAINER}"', held_text)
    assert changed != text
    task.write_text(changed)
    write_config(folder / "tiny.yaml", **HELD_START)
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
    wait_until(lambda: held(run, 0).exists() or cluster.status(job) == "FAILED")
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
    assert Checkpoint.from_bytes(checkpoint.read_bytes()).step == HeldTraining.before_step - 1

    again = submit(cluster, working_dir, run)
    wait_until(lambda: cluster.status(again) in ("SUCCEEDED", "FAILED", "STOPPED"))
    log = cluster.ray("job", "logs", "--address", cluster.dashboard, again)
    assert cluster.status(again) == "SUCCEEDED", log
    assert "going on after 0 finished jobs" in log and "the search is complete" in log

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert run_search(tiny_config(**HELD_START), tmp_path / "undisturbed") == "the search is complete"
    finally:
        ray.shutdown()
    assert history_of(run).equals(history_of(tmp_path / "undisturbed"))
