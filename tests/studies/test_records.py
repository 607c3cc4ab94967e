"""A study's record: what is read is what was written, and who made it is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from experiments.studying.records import busy_hours, provenance, read_record, write_record
from experiments.studying.study import Finished, Run
from orchestrator.errors import UserError
from tests.orchestrator.test_config import config
from tests.studies.made_up_study import PROVENANCE, RESULTS

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_record_has_the_rows_and_what_made_them(tmp_path: Path) -> None:
    path = tmp_path / "made" / "up.parquet"
    frame = RESULTS.assign(note=["", None] * 6, rank=[1, None] * 6)
    write_record(path, frame, PROVENANCE)
    rows, found = read_record(path)
    pd.testing.assert_frame_equal(rows, frame)
    assert found == PROVENANCE
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_record(tmp_path / name, RESULTS.copy(), PROVENANCE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_record(tmp_path / "b", *read_record(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_record_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "made-up.parquet"
    with pytest.raises(UserError, match=r"made-up.parquet: there is no such record; spnas study makes it$"):
        read_record(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"^.*made-up.parquet: can't be read \(.*\); spnas study makes it again$"):
        read_record(path)
    RESULTS.to_parquet(path)
    with pytest.raises(UserError, match="is no record of a study"):
        read_record(path)
    write_record(path, RESULTS, replace(PROVENANCE, schema_version=2))
    with pytest.raises(UserError, match="has form 2, this version reads 1"):
        read_record(path)
    with pytest.raises(UserError, match=r"made-up.parquet/x: can't be written \(File exists\)"):
        write_record(path / "x", RESULTS, PROVENANCE)


def jobs(*spans: tuple[float, float]) -> pd.DataFrame:
    """Jobs by their beginning and end, in hours after noon."""
    rows = [(3600 * (end - start), NOON + timedelta(hours=end)) for start, end in spans]
    return pd.DataFrame(rows, columns=["seconds", "finished_at"])


def test_hours_in_which_no_job_was_under_way_do_not_count() -> None:
    assert busy_hours(jobs((0, 2), (1, 3), (1, 1.5), (10, 10.5))) == pytest.approx(3.5)
    assert busy_hours(jobs()) == 0


def test_provenance_adds_up_the_runs() -> None:
    runs = []
    for seed in (0, 1):
        trials = pd.concat([jobs((seed, 1 + seed)), pd.DataFrame([(None, None)], columns=["seconds", "finished_at"])])
        run = Run(data="shapes", config="shapes", arm="paper", seed=seed)
        runs.append(Finished(run=run, config=config({"seed": seed}), state=SimpleNamespace(), trials=trials))
    there = timezone(timedelta(hours=2))
    found = provenance("control", "spnas study control", [0, 1], runs, NOON.astimezone(there))
    assert (found.training_seconds, found.wall_hours, found.num_runs) == (7200, pytest.approx(2), 2)
    assert (found.date, found.seeds) == ("2026-11-21T12:00:00+00:00", (0, 1))
    assert set(found.configs) == {"shapes-paper-s0", "shapes-paper-s1"}
    assert len(set(found.configs.values())) == 2
    assert {"spnas", "torch", "ray", "python"} <= set(found.versions) and found.machine and found.num_cores
