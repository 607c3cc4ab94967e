"""Configs of searches among the paths of a super-net, and what a run of one shows."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.msnas_encoding import MultiScaleSpec
from orchestrator.config import RunConfig
from orchestrator.config_files import differences, may_change, parse_config
from orchestrator.console import in_one_line, phases
from orchestrator.environment import advice
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.search.protocol import SearchState
from orchestrator.sources import best_job
from orchestrator.standing import Standing
from tests.orchestrator.search.fake_driver import FakeDriver, noise
from tests.orchestrator.search.test_folding import Recorder, journal_of

START = "MS(BB,4;1,2,2,0.5,1,2,2,2,0.5;4,8,16,32,64)"
VALUES: dict[str, Any] = {
    "algorithm": "msnas",
    "start": {"architecture": START},
    "evolution": {"population": 4, "generations": 2, "num_children": 3, "num_random": 1, "top_k": 2},
    "supernet": {"epochs": 7, "num_nodes": "all"},
    "sample": {"lr": 0.004},
    "final": {"epochs": 9},
    "data": {"format": "shapes"},
    "fleet": {"num_workers": 2},
    "training": {"normalization": "sync"},
}


def config(**changes: Any) -> RunConfig:
    return parse_config({**VALUES, **changes}, "test")


def test_a_config_gives_the_super_nets_the_samples_and_the_retrainings_recipes() -> None:
    given = config()
    assert given.recipe_names() == ("supernet", "sample", "final")
    assert [given.recipe(name).epochs for name in given.recipe_names()] == [7, 3, 9]
    assert [given.recipe(name).lr for name in given.recipe_names()] == [0.02, 0.004, 0.02]
    assert [given.num_nodes(name) for name in given.recipe_names()] == [2, 1, 1]
    assert given.start.spec == given.search.start and isinstance(given.start.spec, MultiScaleSpec)
    assert given.start.stem == MultiScaleSpec(given.start.spec.architecture).stem
    assert not given.pretrains and given.data_keys == ("data",)


def test_a_resolved_config_is_read_back_as_it_was() -> None:
    given = config()
    assert parse_config(yaml.safe_load(given.to_yaml()), "test") == given
    changed = differences(given, config(supernet={"epochs": 7}))
    assert list(changed) == ["supernet.num_nodes"] and may_change("supernet.num_nodes")
    assert not may_change("evolution.population")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": {"architecture": "resnet18"}}, r"start\.architecture: .* is no network of a super-net; msnas asks"),
        ({"algorithm": "spnas"}, r"start\.architecture: .* is a multi-scale network; spnas asks for one such as"),
        ({"start": {"architecture": START, "weights": "torchvision:resnet18"}}, r"start\.weights: .*leave it out"),
        ({"start": {"architecture": START, "base_channels": 8}}, r"start: .*neither shortcuts nor base_channels"),
        ({"evolution": {"image_size": [800, 1333]}}, r"evolution\.image_size: \[800, 1333\] are not two positive mult"),
        ({"evolution": {"flops_window": 0}}, r"evolution\.flops_window: 0"),
        (
            {"evolution": {"target_gflops": 500}},
            r"evolution\.target_gflops: 500 GFLOPs with evolution\.flops_window 0\.01 are what none of 1000 random ",
        ),
        ({"evolution": {"populaton": 3}}, r"evolution\.populaton: unknown key; did you mean population\?"),
        ({"sample": {"epochs": 0}}, r"sample\.epochs: 0"),
        (
            {"start": {"architecture": "MS(BB,4;2,1,1;8,8,8,8,8)"}, "evolution": {"utilization": "fpn"}},
            r"evolution\.utilization: .*",
        ),
    ],
)
def test_what_can_not_be_searched_is_answered_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config(**changes)
    assert "\n" not in str(caught.value)


def test_workers_that_would_idle_while_the_super_net_is_trained_are_mentioned() -> None:
    assert not advice(config())
    (note,) = advice(config(supernet={}))
    assert "supernet.num_nodes: all" in note


def test_populations_and_generations_that_give_less_than_is_asked_for_are_mentioned() -> None:
    (note,) = advice(config(evolution={"population": 4}))
    assert "evolution.top_k is 5, but no more are retrained than survive, evolution.population 4" in note
    assert not advice(config(evolution={"population": 4}, final=None))
    (note,) = advice(config(evolution={"num_children": 0, "num_random": 0}))
    assert "none of evolution.generations 20 has a sample" in note


def test_keys_of_another_search_are_said_to_change_nothing() -> None:
    (note,) = advice(config(serial={"n_stuck": 3}, parallel=None, reignition={"data": {"format": "shapes"}}))
    assert note.startswith("msnas has no use for serial, reignition;")
    start = {"architecture": "BB(11,d1,d1,d1)"}
    one = {"fleet": {"num_workers": 1}, "training": {}, "supernet": {"epochs": 7}, "evolution": {}}
    searched = {"algorithm": "spnas", "start": start, "serial": {"reignite": False}}
    (note,) = advice(config(**one, **searched))
    assert note.startswith("spnas has no use for supernet, sample;")
    assert not advice(config(**one, algorithm="train", start=start))


@pytest.mark.parametrize("name", ["msnas", "random"])
def test_a_journal_folds_into_the_state_that_wrote_it_and_shows_every_generation(tmp_path: Path, name: str) -> None:
    given = config(algorithm=name)
    recorder = Recorder()
    driver = FakeDriver(
        given.search,
        algorithm_of=lambda settings: given.build_algorithm(),
        judge=lambda job: noise(job.spec.architecture, job.kind),
        num_workers=2,
        on_change=recorder,
    ).run()
    states: list[SearchState] = recorder.states
    for length in range(1, len(states), 5):
        history = History.fold(given, journal_of(tmp_path / str(length), recorder.records[:length]))
        assert history.state == states[length - 1]
    history = History.fold(given, journal_of(tmp_path / "whole", recorder.records))
    assert history.state == driver.state
    assert history.candidates == [job.index for job in driver.with_role("candidate")]
    best = best_job(history.state)
    assert driver.jobs[best or 0].role == "final" and history.trials.rows[best or 0]["is_best"]
    shown = dict((row[0], row[1:]) for row in phases(Standing.of(history)))
    assert {"evolution", "full training", "best"} <= set(shown)
    assert shown["full training"] == shown["best"]
    assert in_one_line(Standing.of(history)).startswith("final 2")
    target, window = given.build_algorithm().window.target_macs / 1e9, given.evolution.flops_window
    samples = (history.trials.rows[index] for index in history.candidates)
    assert all(abs(row["gflops"] - target) <= window * target for row in samples)
