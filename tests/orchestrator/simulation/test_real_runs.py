"""A real run on Ray and its simulation take as long."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.driver import Driver
from orchestrator.runs import open_run
from orchestrator.simulation.durations import Durations, images_of
from orchestrator.simulation.fleet import FromCosts
from orchestrator.simulation.forecast import Assumptions, Forecast, simulate
from orchestrator.simulation.learning import Learned, learn
from tests.orchestrator.simulation.timed_stub import IMAGE_SIZE
from tests.orchestrator.test_driver import Watcher, records
from workers.storage import open_storage

TRAINER = "tests.orchestrator.simulation.timed_stub:TimedStub"
pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()


def config_of(num_candidates: int, num_workers: int, in_flight: int) -> RunConfig:
    values: dict[str, Any] = {
        "start": {"architecture": "BNB(111,d111,d11111,d11)", "base_channels": 16},
        "serial": {
            "acceptance": "paper",
            "num_morphs": 8,
            "n_stuck": 10_000,
            "reignite": False,
            "in_flight": in_flight,
        },
        "parallel": None,
        "budget": {"max_candidates": num_candidates},
        "data": {"format": "shapes", "image_size": IMAGE_SIZE[0]},
        "training": {"epochs": 1},
        "fleet": {"num_workers": num_workers},
    }
    return parse_config(values, "test")


def really(config: RunConfig, path: Path) -> float:
    """Seconds that a run of the config takes on Ray, from the journal's opening to its end."""
    folder, _ = open_run(config, open_storage(path))
    Driver(config, folder, Watcher(), trainer=TRAINER).run()
    (opened,), (ended,) = records(path, "opened"), records(path, "ended")
    seconds: float = ended["time"] - opened["time"]
    return seconds


def simulated(config: RunConfig, learned: Learned) -> Forecast:
    images, _ = images_of(config)
    durations = Durations(config, images, learned.pace, learned.paces)
    return simulate(config, Assumptions(times=FromCosts(durations), chances=learned.chances, delays=learned.delays))


def test_a_simulation_that_has_learned_from_a_run_takes_as_long_within_five_percent(
    local_ray: None, tmp_path: Path
) -> None:
    config = config_of(num_candidates=24, num_workers=2, in_flight=8)
    seconds = really(config, tmp_path / "run")
    forecast = simulated(config, learn(str(tmp_path / "run"), seed=0))
    assert forecast.reason == "budget.max_candidates 24 is reached"
    assert forecast.seconds == pytest.approx(seconds, rel=0.05)
