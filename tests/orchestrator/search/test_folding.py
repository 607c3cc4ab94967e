"""Resuming: a folded journal gives the very state that went on."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.errors import UserError
from orchestrator.history import History, decided_record, dispatched_record, told_record
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import SearchState
from tests.orchestrator.search.fake_driver import START, FakeDriver
from workers.run_folder import Result, WeightsFile
from workers.storage import open_storage

RULES = ("paper", "paired")


def run_config(acceptance: str, seed: int = 3) -> RunConfig:
    values: dict[str, Any] = {
        "seed": seed,
        "start": {"architecture": START, "base_channels": 4, "weights": "pretrain"},
        "serial": {"acceptance": acceptance, "n_stuck": 2, "in_flight": 3, "num_rounds": 2},
        "parallel": {"n_stuck": 2, "in_flight": 2},
        "data": {"format": "shapes"},
        "reignition": {"data": {"format": "shapes"}},
        "final": {},
        "fleet": {"max_failures_in_a_row": 50},
    }
    return parse_config(values, "test")


@dataclass
class Recorder:
    """Writes down what a search decides and is told, with the state after every record."""

    records: list[Record] = field(default_factory=list)
    states: list[SearchState] = field(default_factory=list)
    num_jobs: int = 0
    num_told: int = 0

    def __call__(self, driver: FakeDriver) -> None:
        for job in driver.jobs[self.num_jobs :]:
            self.records.append(decided_record(job, 0.0))
        for told in driver.told[self.num_told :]:
            index = told.job.index
            result = Result(
                index=index,
                attempt=0,
                epoch=1,
                name=f"{index:06d}-0-1",
                status=told.outcome.status,
                worker="worker-0",
                started_at=index,
                finished_at=index + 2,
                seconds=2,
                weights=WeightsFile(name=f"{index}", sha256="", size_bytes=1) if told.outcome.completed else None,
            )
            self.records.append(told_record(told.outcome, result, driver.state, 0.0))
        self.num_jobs, self.num_told = len(driver.jobs), len(driver.told)
        self.states += [deepcopy(driver.state)] * (len(self.records) - len(self.states))


def recorded(config: RunConfig) -> tuple[FakeDriver, Recorder]:
    recorder = Recorder()
    return FakeDriver(config.search, num_workers=3, on_change=recorder).run(), recorder


def journal_of(folder: Path, records: list[Record]) -> Journal:
    journal = Journal(open_storage(folder))
    journal.open_epoch()
    journal.append(records)
    journal.close()
    return journal


@pytest.mark.parametrize("acceptance", RULES)
def test_folding_any_prefix_gives_the_state_that_went_on(tmp_path: Path, acceptance: str) -> None:
    config = run_config(acceptance)
    driver, recorder = recorded(config)
    assert {"pretrain", "start", "candidate", "refresh", "final"} <= set(driver.roles)
    for length, state in enumerate(recorder.states, start=1):
        history = History.fold(config, journal_of(tmp_path / str(length), recorder.records[:length]))
        assert history.state == state
        assert history.candidates == [
            job.index for job in driver.with_role("candidate") if job.index < state.next_index
        ]
    assert history.state == driver.state


@pytest.mark.parametrize("acceptance", RULES)
def test_a_search_resumed_at_any_record_ends_in_the_same_history(tmp_path: Path, acceptance: str) -> None:
    config = run_config(acceptance)
    undisturbed, recorder = recorded(config)
    for length in range(0, len(recorder.records), 5):
        history = History.fold(config, journal_of(tmp_path / str(length), recorder.records[:length]))
        resumed = FakeDriver(config.search, num_workers=2)
        resumed.state = history.state
        resumed.decide()
        assert resumed.run().state == undisturbed.state


def test_an_empty_journal_gives_the_state_before_the_first_decision(tmp_path: Path) -> None:
    history = History.fold(run_config("paper"), Journal(open_storage(tmp_path / "missing")))
    assert history.state == SearchState()


def test_a_fold_that_comes_to_another_state_stops_with_the_job(tmp_path: Path) -> None:
    config = run_config("paper")
    _, recorder = recorded(config)
    told = [position for position, record in enumerate(recorder.records) if record["type"] == "told"]
    for key, value in (("counter", 17), ("round", 9), ("phase", "parallel"), ("baseline", None), ("pending", [99])):
        records = deepcopy(recorder.records)
        records[told[6]]["state"][key] = value
        index = records[told[6]]["outcome"]["index"]
        with pytest.raises(UserError, match=rf"after job {index} the search comes to .* was recorded"):
            History.fold(config, journal_of(tmp_path / key, records))


def test_a_tampered_score_is_noticed_where_it_changes_the_search(tmp_path: Path) -> None:
    config = run_config("paper")
    _, recorder = recorded(config)
    records = deepcopy(recorder.records)
    position = next(p for p, record in enumerate(records) if record["type"] == "told" and record["state"]["baseline"])
    records[position]["outcome"]["score"] += 0.5
    with pytest.raises(UserError, match=rf"after job {records[position]['outcome']['index']} the search comes to"):
        History.fold(config, journal_of(tmp_path, records))


def test_folding_remembers_attempts_rejections_weights_and_baselines(tmp_path: Path) -> None:
    config = run_config("paper")
    driver, recorder = recorded(config)
    records = recorder.records
    cut = next(p for p, record in enumerate(records) if record["type"] == "told" and record["outcome"]["index"] == 2)
    extra = [
        dispatched_record(2, 0, 1, ["worker-0"], 0.0),
        dispatched_record(2, 1, 1, ["worker-1"], 0.0),
        {"type": "rejected", "time": 0.0, "index": 2, "attempt": 0},
        {"type": "ended", "time": 0.0, "reason": "stopped as asked"},
    ]
    history = History.fold(config, journal_of(tmp_path / "cut", [*records[:cut], *extra]))
    assert history.attempts == {2: ["000002-0-1", "000002-1-1"]}
    assert history.rejected == {2: 0}
    history = History.fold(config, journal_of(tmp_path / "whole", [*records[:cut], *extra, *records[cut:]]))
    assert not history.attempts and not history.rejected  # only pending jobs have another attempt
    assert history.weights.keys() == {told.job.index for told in driver.told if told.outcome.completed}
    assert history.candidates == [job.index for job in driver.with_role("candidate")]
    assert history.worker_seconds == 2 * len(driver.told)
    assert history.ended == "stopped as asked"
    assert history.baselines[0] == (1, driver.state.population[1].score)
    assert history.baselines[-1][0] == driver.baseline.index
