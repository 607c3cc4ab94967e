"""A run's driver stays small and quick however long the run becomes.

Counted, not timed: bytes that are held for good, and calls that are made, between two points of a long run.
"""

import sys
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.console import status_table, summary_table
from orchestrator.history import MOST_WEIGHTS, History, decided_record, dispatched_record, told_record
from orchestrator.journal import Journal, Record
from orchestrator.rows import CHUNK_ROWS
from orchestrator.search.protocol import Job, Outcome, live_weights
from orchestrator.standing import Standing
from tests.orchestrator.search.fake_driver import noise
from workers.run_folder import Result, WeightsFile
from workers.storage import open_storage
from workers.task import attempt_name

# What COCO's evaluation gives for a data set of 20 classes.
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100", *(f"AP/class {n}" for n in range(20)))


def run_config(acceptance: str) -> RunConfig:
    values: dict[str, Any] = {
        "start": {"architecture": "BB(11,d1,d1,d1)", "base_channels": 4},
        "objective": {"metric": "AP"},
        # Enough morphs that the encodings in reach never become rare.
        "serial": {"acceptance": acceptance, "n_stuck": 10**6, "num_morphs": 8, "in_flight": 16},
        "parallel": None,
        "final": None,
        "data": {"format": "shapes"},
        "reignition": {"data": {"format": "shapes"}},
    }
    return parse_config(values, "test")


@dataclass
class LongRun:
    """Does what the driver does with a history, with made-up outcomes; nothing beats the start.

    Attributes:
        history: of the run.
        keeps_records: whether to remember the journal's records.
        records: these.
    """

    history: History
    keeps_records: bool = False
    records: list[Record] = field(default_factory=list)

    def tell_until(self, num_told: int) -> None:
        """Go on until so many jobs are told."""
        history = self.history
        while len(history.state.population) < num_told:
            while isinstance(job := history.algorithm.decide(history.state), Job):
                self._take(decided_record(job, 0.0))
                self._take(dispatched_record(job.index, 0, 1, [f"worker-{job.index % 16}"], 0.0))
            result = self._result(min(history.state.pending))
            score = result.metrics["AP"]
            outcome = Outcome(index=result.index, status="completed", score=score, metrics=result.metrics)
            assert history.algorithm.objection(history.state, outcome) is None
            history.algorithm.tell(history.state, outcome)
            self._take(told_record(outcome, result, history.state, 0.0))
            live_weights(history.state)

    def _take(self, record: Record) -> None:
        self.history.apply(record)
        if self.keeps_records:
            self.records.append(record)

    @staticmethod
    def _result(index: int) -> Result:
        name = attempt_name(index, 0, 1)
        metrics = {metric: 0.4 * noise(metric, index) for metric in METRICS} | ({"AP": 0.5} if index == 0 else {})
        return Result(
            index=index,
            attempt=0,
            epoch=1,
            name=name,
            status="completed",
            worker=f"worker-{index % 16}",
            started_at=1e9 + index,
            finished_at=1e9 + index + 100,
            seconds=100 + noise(index),
            metrics=metrics,
            notes=("the class predictors are fresh",),
            weights=WeightsFile(name=f"{name}.safetensors", sha256=f"{index:064x}", size_bytes=10**8 + index),
        )


def long_run(tmp_path: Path, acceptance: str = "paper", keeps_records: bool = False) -> LongRun:
    journal = Journal(open_storage(str(tmp_path / "new")))
    return LongRun(History.fold(run_config(acceptance), journal), keeps_records)


def test_a_candidate_adds_little_memory_for_good(tmp_path: Path) -> None:
    run = long_run(tmp_path)
    held = []
    tracemalloc.start()
    try:
        for num_chunks in (2, 4):  # as many rows are not packed yet at both
            run.tell_until(num_chunks * CHUNK_ROWS)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # A job with its network, morphs and encoding: some 20 objects of 50 to 100 bytes. A packed row: half a kilobyte.
    assert (held[1] - held[0]) / (2 * CHUNK_ROWS) < 3000


def test_an_event_takes_no_more_calls_late_in_a_run(tmp_path: Path) -> None:
    run = long_run(tmp_path)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    counts = []
    for num_told in (CHUNK_ROWS, 2 * CHUNK_ROWS, 3 * CHUNK_ROWS, 4 * CHUNK_ROWS):
        calls, before = 0, sys.getprofile()
        sys.setprofile(count)
        try:
            run.tell_until(num_told)
        finally:
            sys.setprofile(before)
        counts.append(calls)
    assert max(counts[2:]) < 1.1 * max(counts[:2])


def test_only_so_many_dead_weights_are_remembered(tmp_path: Path) -> None:
    run = long_run(tmp_path, "paired")
    for num_told in range(100, 1500, 100):
        run.tell_until(num_told)
        history = run.history
        assert len(history.weights) <= MOST_WEIGHTS + 4 * 16
        live = live_weights(history.state)
        assert live & history.state.population.keys() <= history.weights.keys()


def test_a_folded_long_run_has_the_same_state_and_the_same_table(tmp_path: Path) -> None:
    run = long_run(tmp_path, "paired", keeps_records=True)
    run.tell_until(3 * CHUNK_ROWS + 100)
    journal = Journal(open_storage(str(tmp_path / "run")))
    journal.open_epoch()
    journal.append(run.records)
    journal.close()
    folded = History.fold(run_config("paired"), Journal(open_storage(str(tmp_path / "run"))))
    assert folded.state == run.history.state
    table = run.history.trials.to_frame()
    assert table["index"].tolist() == list(range(len(run.history.trials.rows)))
    pd.testing.assert_frame_equal(folded.trials.to_frame(), table)


def test_the_tables_for_people_show_packed_rows_too(tmp_path: Path) -> None:
    run = long_run(tmp_path)
    run.tell_until(2 * CHUNK_ROWS + 1)
    config, history = run_config("paper"), run.history
    indices = list(status_table(config, Standing.of(history), last=2 * CHUNK_ROWS).columns[0].cells)
    assert indices == [str(index) for index in range(len(history.trials.rows))][-2 * CHUNK_ROWS :]
    start, *_ = zip(*(column.cells for column in summary_table(config, Standing.of(history)).columns), strict=True)
    assert start[:3] == ("start", "0", "BB(11,d1,d1,d1)")
