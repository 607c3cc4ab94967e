"""Runs in virtual time: the real driver's history, whatever becomes of the nodes."""

import io
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.simulation.durations import PUBLISHED_IMAGES, Durations, Images, Pace, images_of, published_pace
from orchestrator.simulation.fleet import Delays, FromCosts, Listed
from orchestrator.simulation.forecast import Assumptions, Forecast, simulate
from orchestrator.simulation.luck import Chances
from orchestrator.simulation.memory import MemoryStorage
from orchestrator.trials import INCIDENTAL_COLUMNS
from tests.orchestrator.test_msnas_config import config as msnas_config
from tests.orchestrator.tiny import tiny_config

HOUR = 3600.0
RECIPES = Path(__file__).parents[3] / "experiments"


def long_config(num_candidates: int, num_workers: int, in_flight: int) -> RunConfig:
    """A steady search of so many candidates after the start."""
    return tiny_config(
        start={"architecture": "BNB(111,d111,d11111,d11)"},
        serial={
            "acceptance": "paper",
            "num_morphs": 8,
            "n_stuck": 10**6,
            "reignite": False,
            "in_flight": in_flight,
            "max_blocks": 60,
            "max_stages": 6,
        },
        parallel=None,
        final=None,
        budget={"max_candidates": num_candidates},
        fleet={"num_workers": num_workers},
    )


def hours(config: RunConfig, each: float = 1.0, **chances: Any) -> Assumptions:
    """Every training takes so many hours; nothing but training takes time."""
    return Assumptions(
        times=Listed([each * HOUR] * 10_000),
        chances=Chances(**{"spread": 0.0, **chances}),
        delays=Delays(start_s=0.0, job_s=0.0),
    )


def history_of(storage: MemoryStorage) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(storage.read("trials.parquet"))).drop(columns=list(INCIDENTAL_COLUMNS))


def forecast_of(config: RunConfig, **chances: Any) -> tuple[Forecast, MemoryStorage]:
    storage = MemoryStorage()
    images, _ = images_of(config)
    times = FromCosts(Durations(config, images, Pace.of_tflops(0.001)))
    return simulate(config, Assumptions(times=times, chances=Chances(**chances)), storage), storage


@settings(max_examples=10)
@given(nodes=st.integers(1, 12), loss=st.sampled_from([0.0, 0.2]), spread=st.sampled_from([0.0, 1.0]))
def test_a_search_has_one_history_on_any_number_of_nodes_whoever_is_lost(
    nodes: int, loss: float, spread: float
) -> None:
    _, undisturbed = forecast_of(tiny_config(), failure=0.1)
    config = tiny_config(fleet={"num_workers": nodes, "max_attempts": 100})
    forecast, storage = forecast_of(config, failure=0.1, loss=loss, spread=spread)
    assert forecast.reason == "the search is complete"
    pd.testing.assert_frame_equal(history_of(storage), history_of(undisturbed), check_exact=True)


def test_a_simulated_journal_folds_to_the_table_of_the_run() -> None:
    config = tiny_config()
    _, storage = forecast_of(config, loss=0.2)
    folded = History.fold(config, Journal(storage)).trials.to_frame()
    pd.testing.assert_frame_equal(folded.drop(columns=list(INCIDENTAL_COLUMNS)), history_of(storage))


def test_a_forecast_is_a_function_of_its_seed() -> None:
    config = tiny_config()
    times = {seed: [forecast_of(config, seed=seed)[0].seconds for _ in range(2)] for seed in (0, 1)}
    assert times[0][0] == times[0][1] != times[1][0] == times[1][1]


def test_hours_add_up_and_every_phase_has_its_own() -> None:
    config = tiny_config(fleet={"num_workers": 1})
    forecast = simulate(config, hours(config))
    assert forecast.seconds == forecast.tally.trained_s == forecast.num_jobs * HOUR
    assert {name: part.seconds / HOUR for name, part in forecast.parts.items()} == {
        name: part.num_jobs for name, part in forecast.parts.items()
    }
    assert {"serial 1, start", "serial 1", "serial 1, pretrain", "parallel", "final"} <= forecast.parts.keys()
    assert forecast.utilisation == 1.0


def test_nodes_are_busy_until_no_job_is_left_to_begin() -> None:
    config = long_config(num_candidates=400, num_workers=10, in_flight=40)
    forecast = simulate(config, hours(config, spread=0.1))
    longest_s = 1.5 * HOUR  # four deviations over the mean
    assert forecast.busy >= 1 - longest_s / forecast.parts["serial 1"].seconds
    assert forecast.num_candidates == 400


def test_a_lost_node_costs_what_follows_the_last_checkpoint_and_its_replacement() -> None:
    config = long_config(num_candidates=200, num_workers=10, in_flight=40)
    forecast = simulate(config, hours(config, loss=0.05))
    whole = simulate(config, hours(config))
    assert forecast.tally.num_lost > 0 and forecast.num_jobs == whole.num_jobs
    checkpoint_s = 60 * config.fleet.checkpoint_minutes
    assert 0 < forecast.tally.repeated_s <= forecast.tally.num_lost * checkpoint_s
    assert forecast.tally.trained_s - forecast.tally.repeated_s == pytest.approx(whole.tally.trained_s)


def test_a_run_without_nodes_stops_as_a_real_one_does() -> None:
    config = long_config(num_candidates=8, num_workers=2, in_flight=2)
    delays = Delays(start_s=2 * 60 * config.fleet.wait_minutes)
    forecast = simulate(config, Assumptions(times=Listed([HOUR] * 20), delays=delays))
    assert forecast.reason.startswith("stopped: 0 of 2 workers are up, and for fleet.wait_minutes, 60")
    assert forecast.seconds == pytest.approx(60 * config.fleet.wait_minutes, abs=60)


def test_a_deadline_is_one_in_virtual_time() -> None:
    config = tiny_config(budget={"deadline": "1970-01-01T02:30:00Z"}, fleet={"num_workers": 1})
    forecast = simulate(config, hours(config))
    assert "deadline" in forecast.reason
    assert forecast.seconds == 3 * HOUR  # what is under way is finished


def test_a_run_whose_deadline_is_over_takes_no_time() -> None:
    forecast = simulate(tiny_config(budget={"deadline": "1969-12-31T00:00:00Z"}), hours(tiny_config()))
    assert "deadline" in forecast.reason
    assert (forecast.seconds, forecast.utilisation, forecast.busy, forecast.num_jobs) == (0, 0, 0, 0)


def test_every_node_of_a_gang_trains() -> None:
    config = msnas_config(sample={"num_nodes": 2}, fleet={"num_workers": 4})
    forecast = simulate(config, hours(config))
    assert sum(part.trained_s for part in forecast.parts.values()) == forecast.tally.trained_s


@pytest.mark.parametrize(("name", "long_side", "hours_said"), [("voc", 1000, 0.5), ("coco", 1333, 3.0)])
def test_a_candidate_of_the_paper_takes_the_hours_that_it_says(name: str, long_side: int, hours_said: float) -> None:
    config = load_config(RECIPES / f"{name}.yaml", [f"data.long_side={long_side}"])
    pace, _ = published_pace(config)
    images = Images(detection=PUBLISHED_IMAGES[name])
    seconds = Durations(config, images, pace).seconds("train_detector", config.start.spec, config.recipe("serial"), 1)
    assert seconds == pytest.approx(hours_said * HOUR)


def test_nodes_without_gpus_are_no_v100() -> None:
    config = load_config(RECIPES / "bccd.yaml")
    assert published_pace(config)[0] == published_pace(tiny_config())[0]


def test_a_driver_that_takes_time_for_each_job_bounds_how_many_nodes_it_can_follow() -> None:
    config = long_config(num_candidates=400, num_workers=20, in_flight=80)
    delays = Delays(start_s=0.0, job_s=0.0, driver_s=1.0)
    times = Listed([10.0] * 1000)
    forecast = simulate(config, Assumptions(times=times, chances=Chances(spread=0.0), delays=delays))
    assert forecast.busy == pytest.approx(10.0 / (20 * 1.0), rel=0.05)


def test_a_turn_of_the_driver_costs_the_same_however_many_jobs_are_pending() -> None:
    counts = []
    for in_flight in (64, 512):
        config = long_config(num_candidates=300, num_workers=16, in_flight=in_flight)
        calls = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            forecast = simulate(config, hours(config, improvement=0.0))
        finally:
            sys.setprofile(before)
        num_decided = forecast.num_jobs + in_flight  # those in flight at the end are decided, but never told
        counts.append(calls / num_decided)
    assert counts[1] < 1.1 * counts[0]


def test_nodes_that_run_out_of_work_at_the_end_are_counted_apart() -> None:
    forecast = simulate(long_config(3, num_workers=2, in_flight=3), hours(long_config(3, 2, 3), improvement=0.0))
    assert forecast.last_wave.seconds == forecast.last_wave.trained_s == pytest.approx(HOUR)
    assert forecast.busy == pytest.approx(0.75)
    assert forecast.busy_before_last_wave == pytest.approx(1.0)
