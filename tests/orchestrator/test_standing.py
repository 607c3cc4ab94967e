"""What is read off a journal for people is what its fold says, at every record."""

from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import History, dispatched_record
from orchestrator.journal import Journal, Record
from orchestrator.standing import Standing
from tests.orchestrator.search import test_folding, test_trials
from tests.orchestrator.search.fake_driver import FakeDriver, noise
from tests.orchestrator.search.test_folding import Recorder
from tests.orchestrator.test_msnas_config import config as msnas_config
from tests.orchestrator.tiny import tiny_config
from workers.storage import open_storage


class Kept(Journal):
    """A journal that holds what it is given."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(open_storage("unused"))
        self._records = records

    def read(self) -> list[Record]:
        return self._records


def config_of(name: str) -> RunConfig:
    match name:
        case "paper" | "paired":
            return test_folding.run_config(name)
        case "trials":
            return test_trials.trials_config(*test_trials.MIXED)
        case "train" | "pretrain":
            return tiny_config(algorithm=name)
    return msnas_config(algorithm=name)


def records_of(config: RunConfig) -> list[Record]:
    """A run's records, each job sent off twice, with an end and a new driver every now and then."""
    recorder = Recorder()
    FakeDriver(
        config.search,
        algorithm_of=lambda settings: config.build_algorithm(),
        judge=lambda job: noise(job.index, job.kind),
        num_workers=2,
        on_change=recorder,
    ).run()
    records: list[Record] = []
    for number, record in enumerate(recorder.records):
        records.append(record)
        if record["type"] == "decided":
            sent = partial(dispatched_record, record["job"]["index"], epoch=1, now=0.0)
            records += [sent(0, workers=["worker-0"]), sent(1, workers=["worker-1"])]
        if number % 5 == 4:
            records += [{"type": "ended", "time": 0.0, "reason": "stopped as asked"}, {"type": "opened"}]
    return records


def values(standing: Standing) -> dict[str, Any]:
    shown = {item.name: getattr(standing, item.name) for item in fields(standing) if item.name != "algorithm"}
    return shown | {"rows": list(standing.rows.since(0)), "last": [standing.rows[len(standing.rows) - 1]]}


@pytest.mark.parametrize("name", ["paper", "paired", "msnas", "random", "trials", "train", "pretrain"])
def test_what_is_read_is_what_the_fold_says(name: str) -> None:
    config = config_of(name)
    records = records_of(config)
    folded: list[dict[str, Any]] = []

    def note(history: History, record: Record) -> None:
        folded.append(values(Standing.of(history)) if len(history.trials.rows) else {})

    History.fold(config, Kept(records), note)
    for length in range(1, len(records) + 1, 1 + len(records) // 40):
        assert values(Standing.read(config, Kept(records[:length]))) == folded[length - 1]
    assert values(Standing.read(config, Kept(records))) == folded[-1]


def test_what_does_not_follow_is_one_line_with_its_place() -> None:
    config = config_of("paper")
    records = records_of(config)
    told = next(number for number, record in enumerate(records) if record["type"] == "told")
    with pytest.raises(
        UserError, match=rf"record {told + 2} \('told'\) does not follow .*in the order of their indices"
    ):
        Standing.read(config, Kept([*records[: told + 1], *records[told:]]))


def test_reading_makes_no_row_before_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def decided_values(record: Record, cost: object) -> dict[str, Any]:
        made.append(record["job"]["index"])
        return {"attempts": 0}

    monkeypatch.setattr("orchestrator.standing.decided_values", decided_values)
    config = config_of("paper")
    standing = Standing.read(config, Kept(records_of(config)))
    assert not made
    list(standing.rows.since(len(standing.rows) - 3))
    assert made == [standing.num_told + standing.num_pending - number for number in (3, 2, 1)]
