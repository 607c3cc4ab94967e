"""SIGTERM ends a search at the next turn, with checkpoints and the journal's last word."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from orchestrator.driver import Driver
from orchestrator.fleet import connect
from orchestrator.runs import open_run
from orchestrator.termination import STOP_S, advice, note_termination, noting_interruption
from tests.orchestrator.held_trainers import HeldTraining, held
from tests.orchestrator.test_driver import HELD, Watcher, records, run
from tests.orchestrator.tiny import history_of, tiny_config
from workers.checkpoint import Checkpoint
from workers.run_folder import RunFolder
from workers.storage import open_storage
from workers.task import attempt_name

SHORT = {
    "start": {"training": {"epochs": 2}},
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interruption_is_noted_and_the_second_one_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), noting_interruption() as is_interrupted:
        assert not is_interrupted()
        os.kill(os.getpid(), number)
        assert is_interrupted()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_what_a_shell_has_put_in_the_background_goes_on_ignoring_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_interruption() as is_interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert not is_interrupted()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


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


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_that_is_asked_to_end_keeps_what_its_training_had_reached(no_ray: None, tmp_path: Path) -> None:
    config, path = tiny_config(**SHORT, fleet={"num_workers": 1, "checkpoint_minutes": 600}), tmp_path / "run"
    folder, _ = open_run(config, open_storage(path))
    with pytest.raises(KeyboardInterrupt):
        Driver(config, folder, Watcher(), is_terminated=held(path, 0).exists, trainer=HELD).run()
    assert records(path, "ended")[-1]["reason"] == "asked to end"
    (dispatched,) = records(path, "dispatched")
    name = attempt_name(dispatched["index"], dispatched["attempt"], dispatched["epoch"])
    data = RunFolder(path).read_checkpoint(name)
    assert data is not None
    assert Checkpoint.from_bytes(data).step == HeldTraining.before_step - 1

    for one in (path, tmp_path / "undisturbed"):
        assert run(config, one) == "the search is complete"
    assert history_of(path).equals(history_of(tmp_path / "undisturbed"))


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
