"""A full training that is interrupted and killed, and its evaluation: with real Ray and a tiny network."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray

from orchestrator.commands import evaluation_config, run_config
from orchestrator.config import RunConfig
from orchestrator.driver import Driver
from orchestrator.given import put_given
from orchestrator.runs import open_run
from tests.orchestrator.held_trainers import held
from tests.orchestrator.processes import kill_ranks
from tests.orchestrator.test_driver import Watcher
from tests.orchestrator.tiny import write_config
from workers.run_folder import RunFolder
from workers.storage import open_storage
from workers.task import NETWORK_TRAINER

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TWICE_HELD = "tests.orchestrator.held_trainers:TwiceHeldTraining"


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()


def carried_out(
    config: RunConfig, path: Path, watcher: Watcher | None = None, trainer: str = NETWORK_TRAINER
) -> Watcher:
    watcher = watcher or Watcher()
    folder, changed = open_run(config, open_storage(path))
    put_given(config, folder)
    Driver(config, folder, watcher, trainer=trainer).run(changed)
    return watcher


def test_a_training_that_was_stopped_and_killed_goes_on_to_its_end_and_is_evaluated(
    local_ray: None, tmp_path: Path
) -> None:
    path = write_config(tmp_path / "tiny.yaml", fleet={"num_workers": 1, "checkpoint_minutes": 0})
    run = tmp_path / "run"
    folder = RunFolder(open_storage(run))
    training = run_config("train", folder, path, ["final.epochs=3"])  # nine steps, two before each end

    def interrupt(roles: set[str]) -> None:
        if held(run, 0, attempt=0).exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(training, run, Watcher(on_working=interrupt), TWICE_HELD)
    assert folder.storage.names("checkpoints")
    kills: list[bool] = []

    def kill_once(roles: set[str]) -> None:
        if held(run, 0, attempt=1).exists() and not kills:
            kills.append(kill_ranks())

    going_on = carried_out(training, run, Watcher(on_working=kill_once), TWICE_HELD)
    assert going_on.resumed and kills == [True]
    (trained,) = pd.read_parquet(run / "trials.parquet").to_dict("records")
    assert (trained["role"], trained["status"], trained["attempts"]) == ("final", "completed", 3)
    assert not folder.storage.names("checkpoints")

    evaluation = tmp_path / "evaluation"
    carried_out(evaluation_config(RunFolder(open_storage(evaluation)), folder.address, None, []), evaluation)
    (row,) = pd.read_parquet(evaluation / "trials.parquet").to_dict("records")
    assert (row["role"], row["score"]) == ("evaluation", trained["score"])
    assert "images_per_second" in row["metrics"] and "the last 4 of 8 images" in row["notes"]
    assert [file.name for file in (evaluation / "weights").iterdir()] == ["given.safetensors"]
