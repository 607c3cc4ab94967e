"""The studies of finished runs, against what the papers say of their own."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies import rank_correlation, top_samples
from experiments.studies.networks import COLUMNS, networks, search_gflops
from models.families import read_spec
from models.msnas_zoo import MULTI_SCALE_ZOO, PUBLISHED_GFLOPS
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.errors import UserError
from orchestrator.search.protocol import Job
from tests.conftest import REPOSITORY
from tests.orchestrator.search.fake_driver import FakeDriver
from tests.orchestrator.search.test_folding import Recorder, journal_of
from tests.orchestrator.test_msnas_config import VALUES
from tests.orchestrator.test_msnas_config import config as msnas_config
from workers.run_folder import RunFolder
from workers.storage import open_storage

EXPERIMENTS = REPOSITORY / "experiments"


def rows(*found: tuple[str, str, float]) -> pd.DataFrame:
    """Rows of (role, architecture, score)."""
    return pd.DataFrame(
        [(index, role, 0, name, 1.0, score) for index, (role, name, score) in enumerate(found)], columns=list(COLUMNS)
    )


@pytest.mark.parametrize(
    ("space", "mean", "variance", "best"),
    [("msnas-r18", 36.94, 0.03, 37.2), ("msnas-r34", 38.86, 0.0784, 39.2), ("msnas-r50", 39.3, 0.028, 39.5)],
)
def test_tables_7_to_9_come_to_table_1(space: str, mean: float, variance: float, best: float) -> None:
    scores = [(str(row.architecture), row.published_map) for row in MULTI_SCALE_ZOO.values() if row.space == space]
    found = top_samples.top_samples(rows(*(("final", *row) for row in scores), ("candidate", "another", 50.0)))
    assert (found["networks"], found["mean"], found["max"]) == (5, pytest.approx(mean), best)
    assert found["var"] == pytest.approx(variance, abs=5e-4)  # as the table rounds


@pytest.mark.parametrize(
    ("name", "space"), [("resnet18", "msnas-r18"), ("resnet34", "msnas-r34"), ("resnet50", "msnas-r50")]
)
def test_baselines_cost_what_table_1_says(name: str, space: str) -> None:
    config = load_config(
        EXPERIMENTS / "msnas_coco_r18.yaml",
        ["serial.max_stages=5"],
        {"algorithm": "train", "start.architecture": name},
    )
    assert config.start.spec == read_spec(name)
    assert search_gflops(config, config.start.spec) == pytest.approx(PUBLISHED_GFLOPS[space], rel=0.015)


def test_ranks_correlate_by_the_pairs_in_order() -> None:
    samples = rows(*(("candidate", name, score) for name, score in zip("abcd", (1, 2, 3, 4), strict=True)))
    full = rows(*(("final", name, score) for name, score in zip("dcba", (9, 7, 8, 1), strict=True)))
    found = rank_correlation.rank_correlation(samples, full)
    assert (found["networks"], found["tau"]) == (4, pytest.approx(4 / 6))  # five pairs in order, one not


@given(st.lists(st.integers(0, 3), max_size=5), st.integers(0, 5))
def test_any_scores_have_a_correlation_or_none(scores: list[int], num_full: int) -> None:
    samples = rows(*(("candidate", str(number), score) for number, score in enumerate(scores)))
    full = rows(*(("final", str(number), 5.0 - number) for number in range(num_full)))
    found = rank_correlation.rank_correlation(samples, full)
    alike = len(set(scores[:num_full])) < 2
    assert found["networks"] == min(len(scores), num_full)
    assert (found["tau"] != found["tau"]) == alike
    assert alike or -1 <= found["tau"] <= 1


def finished(folder: Path, config: RunConfig, bonus: float) -> str:
    """A run that has come to its end; full training adds so much to a sample's score."""

    def judge(job: Job) -> float:
        score = (sum(map(ord, str(job.spec.architecture))) % 97) / 400
        return score + bonus * (job.role == "final")

    recorder = Recorder()
    FakeDriver(
        config.search, algorithm_of=lambda _: config.build_algorithm(), judge=judge, num_workers=2, on_change=recorder
    ).run()
    journal_of(folder, recorder.records)
    RunFolder(open_storage(folder)).write_config(config.to_yaml())
    return str(folder)


def test_a_run_is_a_row_and_others_lend_it_their_full_trainings(tmp_path: Path) -> None:
    tuned = finished(tmp_path / "tuned", msnas_config(), 0.5)
    plain = finished(
        tmp_path / "plain", msnas_config(evolution={**VALUES["evolution"], "fine_tune": False}, final=None), 0.0
    )
    (row,) = top_samples.table([tuned]).to_dict("records")
    assert (row["run"], row["algorithm"], row["networks"]) == (tuned, "msnas", 2)
    assert row["mean"] == pytest.approx(row["one-shot"] + 50) and row["min"] <= row["mean"] <= row["max"]
    _, trials = networks(tuned)
    assert set(trials["role"]) == {"candidate", "final"} and (trials["gflops"] > 0).all()
    ranked = rank_correlation.table([tuned, plain])
    assert list(ranked["fine-tuned"]) == [True, False] and list(ranked["networks"]) == [2, 2]
    assert list(ranked["tau"]) == [1, 1]
    with pytest.raises(UserError, match="is not a run's folder"):
        top_samples.table([str(tmp_path / "none")])
