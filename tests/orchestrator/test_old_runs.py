"""Runs of every format there has been, as they were written, still open and go on to their end.

`tests/assets/run-format-N` are folders of the tiny search: of format 1 one that was stopped, of 2 and 3 ones whose
driver was killed in the middle of a line, with attempts under way. A new format adds a folder; none is ever changed.
"""

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config_files import load_config
from orchestrator.driver import Driver
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import SCHEMA_VERSION, Journal
from orchestrator.runs import open_run
from orchestrator.trials import INCIDENTAL_COLUMNS
from tests.orchestrator.test_driver import Watcher
from workers.run_folder import RESULT_VERSION, RunFolder
from workers.storage import open_storage

ASSETS = Path(__file__).parent.parent / "assets"
FORMATS = sorted(ASSETS.glob("run-format-*"))


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def old_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "run"))


def told_jobs(path: Path) -> pd.DataFrame:
    config = load_config(path / "config.yaml")
    table = History.fold(config, Journal(open_storage(path))).trials.to_frame()
    return table[table["status"].isin(["completed", "failed"])].drop(columns=list(INCIDENTAL_COLUMNS))


def test_there_is_a_run_of_every_format() -> None:
    assert [path.name for path in FORMATS] == [f"run-format-{number + 1}" for number in range(SCHEMA_VERSION)]


def test_an_old_run_can_be_looked_at(old_run: Path) -> None:
    before = {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()}
    answer = CliRunner().invoke(app, ["status", str(old_run)])
    assert answer.exit_code == 0, answer.output
    assert "not running" in answer.output
    assert {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()} == before


@pytest.mark.ray
def test_an_old_run_goes_on_to_its_end_and_keeps_what_it_had(old_run: Path, local_ray: None) -> None:
    before = told_jobs(old_run)
    assert len(before)
    config = load_config(old_run / "config.yaml")
    folder, changed = open_run(config, open_storage(old_run))
    assert changed == {}
    watcher = Watcher()
    assert Driver(config, folder, watcher).run() == "the search is complete"
    assert min(watcher.told_indices) == len(before)
    after = told_jobs(old_run)
    columns = [name for name in after.columns if name not in ("is_baseline", "is_best")]
    pd.testing.assert_frame_equal(after.loc[before.index, columns], before[columns], check_exact=True)


def test_a_journal_of_a_newer_format_is_refused_with_that_reason(tmp_path: Path) -> None:
    path = Path(shutil.copytree(FORMATS[-1], tmp_path / "run"))
    log = path / "journal" / "000001.jsonl"
    first, rest = log.read_bytes().split(b"\n", 1)
    record = json.loads(first.partition(b" ")[2]) | {"schema_version": SCHEMA_VERSION + 1}
    text = json.dumps(record).encode()
    damaged = b"%08x %s\n" % (zlib.crc32(text), text) + rest
    log.write_bytes(damaged)
    with pytest.raises(UserError, match=f"format {SCHEMA_VERSION + 1}, this version reads up to {SCHEMA_VERSION}"):
        told_jobs(path)
    assert log.read_bytes() == damaged


def test_a_result_of_a_newer_format_is_refused_with_that_reason(tmp_path: Path) -> None:
    path = Path(shutil.copytree(FORMATS[-1], tmp_path / "run"))
    file = next((path / "results").glob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": RESULT_VERSION + 1}))
    with pytest.raises(ValueError, match=f"format {RESULT_VERSION + 1}, this version reads up to {RESULT_VERSION}"):
        RunFolder(path).read_result(file.stem)
