"""The recipes in experiments/, shortened, on the real data where it is there."""

from pathlib import Path

import pandas as pd
import pytest

from tests.orchestrator.test_cli import spnas

REPOSITORY = Path(__file__).parent.parent
DATA = REPOSITORY.parent / "shared" / "data"
SHORT = (
    "training.epochs=1",
    "start.training={epochs: 1}",
    "reignition.epochs=1",
    "reignition.data.image_size=48",
    "data.short_side=96",
    "data.long_side=128",
    "serial.confirmations=0",
    "serial.in_flight=2",
    "serial.n_stuck=1",
    "serial.max_candidates=1",
    "parallel.in_flight=2",
    "parallel.n_stuck=1",
    "parallel.max_candidates=1",
)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the folder shared/data with bccd and trashnet beside the repository"
)
def test_the_blood_cells_go_through_all_phases(tmp_path: Path) -> None:
    answer = spnas("search", "experiments/bccd.yaml", "--run", tmp_path / "run", *SHORT, cwd=REPOSITORY)
    assert answer.returncode == 0, answer.stderr
    assert "Platelets" in answer.stdout and "RBC" in answer.stdout and "WBC" in answer.stdout
    assert "data: left out: 2 x box without area" in answer.stdout  # the two boxes without area
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert set(trials["status"]) == {"completed"}
    assert {"start", "control", "candidate", "pretrain", "refresh"} <= set(trials["role"])
    assert set(trials["phase"]) == {"serial", "parallel"}
