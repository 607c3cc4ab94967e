"""The trials table."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.architecture import Architecture, NetworkSpec
from models.costs import backbone_costs
from models.families import network_cost
from models.morphism import Expand, Swap, apply_all
from orchestrator.history import decided_record, dispatched_record, told_record
from orchestrator.journal import Record
from orchestrator.search.protocol import Baseline, Job, Outcome, SearchState
from orchestrator.trials import INCIDENTAL_COLUMNS, SCHEMA, Trials
from workers.run_folder import Result, RunFolder

ISSUED = (
    "index kind phase round architecture parent morphs seed status score metrics gflops parameters seconds worker "
    "attempts error is_best proposed_at finished_at"
).split()
START = NetworkSpec.fresh(Architecture.parse("BB(11,d1)"), "resnet", 8)
MORPHS = (Swap(1), Expand(0))


def job(index: int, **values: Any) -> Job:
    defaults: dict[str, Any] = {
        "kind": "train_detector",
        "role": "candidate",
        "phase": "serial",
        "round": 1,
        "spec": START,
        "recipe": "serial",
        "seed": (0, 0, index),
    }
    return Job(index=index, **defaults | values)


def told(index: int, score: float | None, baseline: int, best: int, attempt: int = 0, **values: Any) -> Record:
    outcome = Outcome(
        index=index,
        status="failed" if score is None else "completed",
        score=score,
        metrics={} if score is None else {"AP": score / 2, "AP50": score},
        error="loss is NaN" if score is None else "",
    )
    result = Result(
        index=index,
        attempt=attempt,
        epoch=1,
        name=f"{index:06d}-{attempt}-1",
        status=outcome.status,
        worker="worker-1",
        started_at=100.0,
        finished_at=110.0,
        seconds=7.5,
        peak_memory_bytes=12345,
        **values,
    )
    state = SearchState(baseline=Baseline(baseline, 0.5, START), best_overall=Baseline(best, 0.5, START))
    return told_record(outcome, result, state, 0.0)


@pytest.fixture
def trials() -> Trials:
    """A start, a better child on its second attempt, a failed child, one that runs and one that waits."""
    table = Trials(lambda spec: network_cost(spec, 64, 96))
    for record in (
        decided_record(job(0, role="start", recipe="start"), 0.0),
        dispatched_record(0, 0, 1, ["worker-0"], 0.0),
        told(0, 0.5, baseline=0, best=0),
        decided_record(job(1, parent=0, morphs=MORPHS, spec=apply_all(START, MORPHS), seed=(7, 0, 0)), 0.0),
        decided_record(job(2, parent=0, backbone=0), 0.0),
        dispatched_record(1, 0, 1, ["worker-0"], 0.0),
        dispatched_record(2, 0, 1, ["worker-1"], 0.0),
        dispatched_record(1, 1, 1, ["worker-1"], 0.0),
        told(1, 0.7, baseline=1, best=1, attempt=1, notes=("a fresh predictor", "clipped")),
        decided_record(job(3), 0.0),
        dispatched_record(3, 0, 1, ["worker-0"], 0.0),
        told(2, None, baseline=1, best=1),
        decided_record(job(4), 0.0),
    ):
        table.apply(record)
    return table


def test_there_is_one_row_per_job_in_order(trials: Trials) -> None:
    assert trials.to_frame()["index"].tolist() == [0, 1, 2, 3, 4]


def test_every_documented_column_is_there(trials: Trials) -> None:
    frame = trials.to_frame()
    assert list(frame.columns) == SCHEMA.names
    assert set(ISSUED) <= set(frame.columns)
    assert set(INCIDENTAL_COLUMNS) <= set(frame.columns)


def test_pandas_reads_the_file_with_the_same_values(trials: Trials, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    trials.write(folder)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(folder.read_trials())), trials.to_frame())


def test_a_row_tells_what_the_job_was(trials: Trials) -> None:
    row = trials.to_frame().loc[1]
    spec = apply_all(START, MORPHS)
    costs = backbone_costs(spec, 64, 96)
    expected = {
        "kind": "train_detector",
        "role": "candidate",
        "phase": "serial",
        "round": 1,
        "architecture": str(spec.architecture),
        "stem": "resnet",
        "base_channels": 8,
        "shortcuts": spec.shortcuts,
        "parent": 0,
        "morphs": "swap(1) expand(0)",
        "seed": "7 0 0",
        "recipe": "serial",
        "gflops": costs.macs / 1e9,
        "parameters": costs.parameters,
    }
    assert {key: row[key] for key in expected} == expected


def test_a_row_tells_how_the_job_ended(trials: Trials) -> None:
    row = trials.to_frame().loc[1]
    expected = {
        "status": "completed",
        "score": 0.7,
        "seconds": 7.5,
        "worker": "worker-1",
        "attempts": 2,
        "peak_memory_bytes": 12345,
        "error": "",
        "notes": "a fresh predictor; clipped",
        "finished_at": pd.Timestamp(110.0, unit="s", tz="UTC"),
    }
    assert {key: row[key] for key in expected} == expected
    assert json.loads(row["metrics"]) == {"AP": 0.35, "AP50": 0.7}


def test_a_failed_job_has_its_reason_and_no_score(trials: Trials) -> None:
    row = trials.to_frame().loc[2]
    assert (row["status"], row["error"]) == ("failed", "loss is NaN")
    assert pd.isna(row["score"])


def test_jobs_that_have_not_ended_have_missing_values(trials: Trials) -> None:
    frame = trials.to_frame()
    assert frame["status"].tolist()[3:] == ["running", "pending"]
    assert frame["attempts"].tolist()[3:] == [1, 0]
    assert frame.loc[3, "worker"] == "worker-0"
    for column in ("score", "metrics", "seconds", "finished_at"):
        assert frame[column].isna().tolist()[3:] == [True, True]
    assert frame["parent"].isna().tolist() == [True, False, False, True, True]


def test_baselines_and_the_best_are_marked(trials: Trials) -> None:
    frame = trials.to_frame()
    assert frame["is_baseline"].tolist() == [True, True, False, False, False]
    assert frame["is_best"].tolist() == [False, True, False, False, False]


def test_times_are_utc(trials: Trials) -> None:
    frame = trials.to_frame()
    assert str(frame["proposed_at"].dtype) == str(frame["finished_at"].dtype) == "datetime64[us, UTC]"
    assert frame["proposed_at"].notna().all()


def test_an_empty_table_has_its_columns_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    Trials(lambda spec: network_cost(spec, 64, 64)).write(folder)
    frame = pd.read_parquet(io.BytesIO(folder.read_trials()))
    assert list(frame.columns) == SCHEMA.names
    assert frame.empty
