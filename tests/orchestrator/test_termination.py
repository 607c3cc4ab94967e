"""SIGTERM ends a search at the next turn, with checkpoints and the journal's last word."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from orchestrator.driver import Driver
from orchestrator.fleet import connect
from orchestrator.history import History
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from orchestrator.termination import STOP_S, advice, note_termination
from tests.orchestrator.test_driver import Watcher, records
from tests.orchestrator.tiny import history_of, tiny_config
from workers.checkpoint import Checkpoint
from workers.storage import open_storage
from workers.task import Progress

ONE_TRAINING = {"epochs": 40}
SHORT = {
    "start": {"training": ONE_TRAINING},
    "serial": {"n_stuck": 1, "reignite": False, "max_candidates": 1},
    "parallel": None,
    "final": None,
}


@pytest.fixture
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def no_ray() -> Iterator[None]:
    ray.shutdown()
    yield
    ray.shutdown()


def test_sigterm_is_noted_as_often_as_it_comes(handler: None) -> None:
    is_terminated = note_termination()
    assert not is_terminated()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        assert is_terminated()


@pytest.mark.ray
def test_it_is_noted_after_ray_has_put_its_own_handler_in_place(handler: None, no_ray: None) -> None:
    is_terminated = note_termination()
    connect(tiny_config().fleet)
    assert ray.is_initialized()
    os.kill(os.getpid(), signal.SIGTERM)
    assert is_terminated()


@pytest.mark.ray
def test_it_is_an_interruption_while_ray_starts(handler: None, no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        sys.exit(signal.SIGTERM)  # as Ray's handler does

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(KeyboardInterrupt):
        connect(tiny_config().fleet)


class Terminator(Watcher):
    """Asks for the end in the middle of a training."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0

    def is_asked(self) -> bool:
        return self.step > 0

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        for told in progress.values():
            if told is not None and told.phase == "training":
                self.step = told.step


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_that_is_asked_to_end_keeps_what_its_training_had_reached(no_ray: None, tmp_path: Path) -> None:
    config = tiny_config(**SHORT, fleet={"checkpoint_minutes": 600})
    terminator, path = Terminator(), tmp_path / "run"
    folder, _ = open_run(config, open_storage(path))
    with pytest.raises(KeyboardInterrupt):
        Driver(config, folder, terminator, is_terminated=terminator.is_asked).run()
    assert records(path, "ended")[-1]["reason"] == "asked to end"
    (dispatched,) = records(path, "dispatched")
    data = folder.read_checkpoint(f"{dispatched['index']:06d}-{dispatched['attempt']}-{dispatched['epoch']}")
    assert data is not None
    assert Checkpoint.from_bytes(data).step >= terminator.step

    folder, _ = open_run(config, open_storage(path))
    assert Driver(config, folder, Watcher()).run() == "the search is complete"
    undisturbed = tmp_path / "undisturbed"
    folder, _ = open_run(config, open_storage(undisturbed))
    Driver(config, folder, Watcher()).run()
    assert history_of(path).equals(history_of(undisturbed))


@pytest.mark.parametrize(
    ("environment", "is_advised"),
    [
        ({}, False),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "3"}, False),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}, True),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "30"}, True),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "soon"}, True),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": f"{2 * STOP_S:.0f}"}, False),
    ],
)
def test_a_job_that_would_be_killed_before_it_has_stopped_is_told(
    environment: dict[str, str], is_advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_JOB_STOP_WAIT_TIME_S", raising=False)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = advice()
    assert (text is not None) == is_advised
    assert text is None or "set it to 120 in the job's runtime_env env_vars" in text


@pytest.mark.ray
@pytest.mark.slow
def test_spnas_search_ends_at_sigterm_as_at_an_interruption(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_config(**SHORT).to_yaml())
    command = [sys.executable, "-m", "orchestrator.cli", "search", str(config), "--run", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "#0" in line:  # the first outcome; Ray is up, and the next training begins
                process.send_signal(signal.SIGTERM)
                break
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors == "interrupted. Nothing finished is lost; the same command goes on.\n"
    assert records(tmp_path / "run", "ended")[-1]["reason"] == "asked to end"
