"""`spnas report` as its user meets it."""

import secrets
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from experiments.s3_server import S3Server
from orchestrator.cli import app
from orchestrator.report import figures
from orchestrator.runs import RunLock
from tests.orchestrator.made_up_runs import made_up_run, search_config
from workers.storage import open_storage

ASSETS = Path(__file__).parents[2] / "assets"
SERIAL = {"n_stuck": 4, "num_rounds": 1, "in_flight": 4, "max_candidates": 6}


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def written(*arguments: str | Path) -> list[str]:
    answer = report(*arguments)
    assert answer.exit_code == 0, answer.output
    return answer.stdout.splitlines()


def refused(*arguments: str | Path) -> str:
    answer = report(*arguments)
    assert (answer.exit_code, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    return str(line)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    made_up_run(path, search_config(serial=SERIAL, parallel=None, final=None))
    return path


def test_a_runs_page_is_written_into_its_folder_and_nothing_else_is(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (line,) = written(run, "--detections", "0")
    assert line.startswith(f"{run}/report.html: ") and line.endswith(" MB")
    page = run / "report.html"
    assert "BNB(111,d11,d111,d11)" in page.read_text()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path != page} == before
    assert written(run, "--detections", "0") == [line]  # a page that is there is no obstacle


def test_a_report_without_weights_is_made_without_detections(run: Path) -> None:
    lines = written(run)
    assert lines[0].startswith("without detections: run ") and "no job has weights" in lines[0]
    assert (run / "report.html").exists()


def test_a_run_that_goes_on_can_be_reported(tmp_path: Path) -> None:
    made_up_run(tmp_path / "going", search_config(serial=SERIAL), (3,), killed=True)
    lock = RunLock(open_storage(tmp_path / "going"))
    assert lock.acquire()
    try:
        written(tmp_path / "going", "--detections", "0", "--out", tmp_path / "page.html")
    finally:
        lock.release()
    assert "running" in (tmp_path / "page.html").read_text()
    assert not (tmp_path / "going" / "report.html").exists()


def test_figures_go_to_their_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PNG_DPI", 20)
    lines = written(run, "--detections", "0", "--figures", tmp_path / "figures")
    assert [Path(line).name for line in lines[1:3]] == ["trajectory.svg", "trajectory.png"]
    assert sorted(Path(line) for line in lines[1:]) == sorted((tmp_path / "figures").iterdir())


def test_several_runs_are_compared_here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "PNG_DPI", 20)
    made_up_run(tmp_path / "other", search_config(seed=1, serial=SERIAL, parallel=None, final=None))
    lines = written(run, tmp_path / "other", "--figures", "figures")
    assert lines[0].startswith(f"{tmp_path}/comparison.html: ")
    assert [Path(line).name for line in lines[1:]] == ["candidates.svg", "candidates.png", "hours.svg", "hours.png"]


def test_the_page_of_a_run_in_a_bucket_is_written_here(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"run-{secrets.token_hex(4)}"
    address = s3_server.address(f"bucket/{name}")
    made_up_run(address, search_config(serial=SERIAL, parallel=None, final=None), (4,))
    (line,) = written(address, "--detections", "0")
    assert line.startswith(f"{tmp_path}/{name}-report.html: ")


def test_what_is_no_run_is_one_line(run: Path, tmp_path: Path) -> None:
    assert "is not a run's folder (no config.yaml)" in refused(tmp_path)
    assert "is not a run's folder (no config.yaml)" in refused(run, tmp_path / "gone")
    assert refused("gs://bucket/run").startswith("run gs://bucket/run: has the scheme gs;")


def test_a_run_of_which_nothing_is_told_is_one_line(tmp_path: Path) -> None:
    made_up_run(tmp_path / "run", search_config(serial=SERIAL), (0,))
    assert "nothing of it is finished, so there is nothing to report yet" in refused(tmp_path / "run")


def test_a_damaged_run_is_one_line(run: Path) -> None:
    log = run / "journal" / "000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b"completed", b"COMPLETED", 1))
    assert "is damaged; restore it from a copy, nothing was changed" in refused(run)


@pytest.mark.parametrize("name", ["folder", "none/page.html"])
def test_a_page_that_cannot_be_written_is_one_line(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    assert f"--out {tmp_path}/{name}: " in refused(run, "--detections", "0", "--out", tmp_path / name)


def test_a_page_that_is_no_file_stands_in_the_way_in_one_line(run: Path) -> None:
    (run / "report.html").mkdir()
    assert "is a folder; name a file" in refused(run, "--detections", "0")


@pytest.mark.parametrize("path", sorted(ASSETS.glob("run-format-*")), ids=lambda path: path.name)
def test_runs_of_every_format_can_be_reported(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "run")
    written(tmp_path / "run", "--detections", "0")
