"""`spnas simulate`: what it says, what it refuses, and what it learns of a run."""

import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.simulation.command import _advice
from orchestrator.simulation.durations import Durations, Pace, images_of
from orchestrator.simulation.fleet import Delays, FromCosts, Tally
from orchestrator.simulation.forecast import Assumptions, Forecast, Part, simulate
from orchestrator.simulation.learning import learn
from orchestrator.simulation.luck import Chances
from tests.orchestrator.test_msnas_config import config as msnas_config
from tests.orchestrator.tiny import tiny_config, write_config
from workers.storage import LocalFolder

RECIPES = Path(__file__).parents[3] / "experiments"


def spnas_simulate(*arguments: str) -> Result:
    environment = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"}
    return CliRunner().invoke(app, ["simulate", *arguments], env=environment)


def test_it_says_where_the_time_goes_and_which_in_flight_to_take(tmp_path: Path) -> None:
    answer = spnas_simulate(str(write_config(tmp_path / "config.yaml")), "--nodes", "3")
    assert answer.exit_code == 0, answer.output
    assert "on 3 nodes of 1 CPUs" in answer.output
    assert "serial 1, pretrain" in answer.output
    assert "take in_flight" in answer.output
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


def test_a_search_whose_deadline_is_over_is_said_to_take_no_time(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", budget={"deadline": "2020-01-01T00:00:00Z"})
    answer = spnas_simulate(str(config))
    assert answer.exit_code == 0, answer.output
    assert "is over" in answer.output and "0 jobs" in answer.output
    assert "take in_flight" not in answer.output


def test_it_says_how_many_seeds_come_to_a_stop(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", fleet={"max_attempts": 1})
    answer = spnas_simulate(str(config), "--losses-per-100-jobs", "50", "--in-flight", "3")
    assert answer.exit_code == 0, answer.output
    assert re.search(r"^[1-5] of them stopped: job \d+ .* was lost 1 times", answer.output, re.MULTILINE)


def test_nothing_is_simulated_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def counted(config: RunConfig, assumptions: Assumptions) -> Forecast:
        asked.append((config.serial.in_flight, assumptions.chances.seed))
        return simulate(config, assumptions)

    monkeypatch.setattr("orchestrator.simulation.command.simulate", counted)
    answer = spnas_simulate(str(write_config(tmp_path / "config.yaml")), "--in-flight", "3", "--in-flight", "2")
    assert answer.exit_code == 0, answer.output
    assert sorted(asked) == [(in_flight, seed) for in_flight in (2, 3) for seed in range(5)]


def test_the_advice_says_where_the_search_would_end_sooner_with_another_in_flight() -> None:
    config = load_config(RECIPES / "voc.yaml")

    def forecast(days: float, busy: float) -> Forecast:
        part = Part(runs_alone=False, seconds=1.0, trained_s=busy * config.fleet.num_workers)
        return Forecast(
            config=config,
            reason="",
            is_stopped=False,
            seconds=days * 86400,
            tally=Tally(),
            parts={"serial 1": part},
            num_jobs=1,
            num_candidates=1,
            num_late=0,
            last_wave=part,
            driver_s=0.0,
        )

    slow = {4: [forecast(18, 0.86)], 8: [forecast(32, 0.98)]}
    assert re.search(
        r"take in_flight 8: .*\. The search ends soonest with 4, after 18 d 0 h in place of 32 d", _advice(slow)
    )
    assert "soonest" not in _advice({4: [forecast(18, 0.86)], 8: [forecast(16, 0.98)]})


def test_data_that_are_elsewhere_count_as_the_benchmark(tmp_path: Path) -> None:
    answer = spnas_simulate(str(RECIPES / "msnas_coco_r50.yaml"), "evolution.generations=1", "evolution.population=4")
    assert answer.exit_code == 0, answer.output
    assert "counted as 118287 training and 5000 validation images" in answer.output
    assert "3 hours for a candidate on 8 V100" in answer.output
    assert "in_flight" not in answer.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pace", "fast"), "--pace: 'fast' is no pace of a device"),
        (("--pace", "0"), "--pace: '0' is no pace of a device"),
        (("--pace", "0.0000001"), "--pace: '0.0000001' is no pace of a device; .* an image may take 1000 s"),
        (("--pace", "5", "--like", "missing"), "--pace: '5', but --like has the pace from missing; leave one out"),
        (("--like", "missing"), "run .*missing: is not a run's folder"),
        (("algorithm=nas",), "algorithm"),
    ],
)
def test_what_it_can_not_use_is_refused_in_a_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    answer = spnas_simulate(str(write_config(tmp_path / "config.yaml")), *arguments)
    assert (answer.exit_code, answer.stdout) == (2, ""), answer.output
    assert answer.stderr.count("\n") == 1
    assert re.search(message, answer.stderr)


def test_in_flight_is_refused_where_there_is_none() -> None:
    answer = spnas_simulate(str(RECIPES / "msnas_shapes.yaml"), "--in-flight", "4")
    assert answer.exit_code == 2
    assert "--in-flight: msnas has no in_flight; leave it out" in answer.stderr


def test_a_run_without_a_completed_training_teaches_nothing(tmp_path: Path) -> None:
    config = tiny_config()
    LocalFolder(tmp_path / "run").write("config.yaml", config.to_yaml().encode())
    answer = spnas_simulate(str(write_config(tmp_path / "config.yaml")), "--like", str(tmp_path / "run"))
    assert answer.exit_code == 2
    assert "has no completed training to learn from" in answer.stderr


def test_what_a_run_was_simulated_with_is_learned_back_from_it(tmp_path: Path) -> None:
    config = tiny_config(serial={"n_stuck": 12}, parallel={"n_stuck": 8, "in_flight": 4})
    images, _ = images_of(config)
    pace = Pace(per_image_s=0.5, per_gmac_s=40.0)
    made_with = Assumptions(
        times=FromCosts(Durations(config, images, pace)),
        chances=Chances(spread=0.01, loss=0.05, failure=0.1),
        delays=Delays(start_s=30.0, job_s=2.0),
        begins_at=1e9,
    )
    forecast = simulate(config, made_with, LocalFolder(tmp_path / "run"))
    learned = learn(str(tmp_path / "run"), seed=0)
    durations = Durations(config, images, learned.pace, learned.paces)
    again = simulate(
        config, Assumptions(times=FromCosts(durations), chances=learned.chances, delays=learned.delays, begins_at=1e9)
    )
    assert learned.delays.job_s == pytest.approx(2.0, rel=1e-3)
    assert learned.delays.start_s == pytest.approx(30.0, rel=1e-3)
    assert learned.chances.spread == pytest.approx(0.01, rel=0.5)
    assert 0 < learned.chances.loss < 0.2 and 0 < learned.chances.failure < 0.3
    assert config.serial.paired  # where a candidate becomes the baseline only once it is confirmed
    assert 0.1 < learned.chances.improvement < 0.6
    start = config.start.spec
    expected = Durations(config, images, pace).seconds("train_detector", start, config.recipe("serial"), 1)
    found = durations.seconds("train_detector", start, config.recipe("serial"), 1)
    assert found == pytest.approx(expected, rel=0.02)
    assert again.reason == forecast.reason


def test_a_search_without_baselines_says_nothing_of_improvements(tmp_path: Path) -> None:
    config = msnas_config()
    images, _ = images_of(config)
    times = FromCosts(Durations(config, images, Pace(per_gmac_s=1.0)))
    simulate(config, Assumptions(times=times, begins_at=1e9), LocalFolder(tmp_path / "run"))
    assert learn(str(tmp_path / "run"), seed=0).chances.improvement == Chances().improvement


def test_the_time_of_lost_nodes_is_none_between_trainings(tmp_path: Path) -> None:
    config = tiny_config(serial={"acceptance": "paper", "n_stuck": 30, "in_flight": 8}, fleet={"max_attempts": 100})
    images, _ = images_of(config)
    times = FromCosts(Durations(config, images, Pace(per_gmac_s=1000.0)))
    chances, delays = Chances(spread=0.0, loss=0.2), Delays(job_s=2.0)
    forecast = simulate(
        config,
        Assumptions(times=times, chances=chances, delays=delays, begins_at=1e9),
        LocalFolder(tmp_path / "run"),
    )
    assert forecast.tally.num_lost > 5
    assert learn(str(tmp_path / "run"), seed=0).delays.job_s == pytest.approx(2.0, rel=1e-3)
