"""What is said of the course of searches, and of where their networks compute."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.trajectory import STAGE_GFLOPS, Trajectory, shares
from experiments.studying.study import Finished
from models.costs import backbone_costs
from orchestrator.config_files import load_config
from tests.studies.made_up_jobs import search_of

STUDY = Trajectory()
EVEN, EARLY, LATE = [1.0, 1.0, 1.0, 1.0], [4.0, 2.0, 1.0, 1.0], [1.0, 1.0, 2.0, 4.0, 1.0]


def search(data: str, seed: int, scores: list[float], last: list[float], metric: str = "AP") -> pd.DataFrame:
    """A search whose steps all compute where `last` does."""
    found = search_of(scores, data=data, seed=seed, metric=metric)
    return found.assign(**{STAGE_GFLOPS: [json.dumps(EVEN), *[json.dumps(last)] * (len(scores) - 1)]})


def both(shapes: list[float], bccd: list[float]) -> pd.DataFrame:
    """Five searches on each data set."""
    return pd.concat(
        [
            search(data, seed, [40.0 + seed, 39.0, 45.0, 44.0, 50.0 + seed], [last[0], last[1] + seed / 10, *last[2:]])
            for data, last in (("shapes", shapes), ("bccd", bccd))
            for seed in range(5)
        ],
        ignore_index=True,
    )


def test_networks_that_compute_later_on_one_data_set_are_said_to() -> None:
    results = both(EARLY, LATE)
    said = STUDY.findings(results)
    assert "from 42.0 ± 1.6 to 52.0 ± 1.6 in 2.0 accepted steps of 4.0 candidates (mean of 5 searches)" in said[0]
    assert "5 of 5 found" in said[0]
    assert any(each.startswith("On shapes the mean stage of the multiply-adds moved earlier") for each in said)
    assert any(each.startswith("Networks found on bccd lie later than those found on shapes") for each in said)
    STUDY.draw(results)


def test_networks_that_compute_alike_are_said_not_to_be_told_apart() -> None:
    said = STUDY.findings(both(EVEN, EVEN))
    assert any("can't be told to lie elsewhere" in each for each in said)


def test_shares_of_a_network_sum_to_all_and_a_stage_that_is_not_there_has_none() -> None:
    found = shares(both(EARLY, LATE))
    sums = found.groupby(["data", "seed", "arm"])["share of multiply-adds, %"].sum()
    assert sums.tolist() == pytest.approx([100.0] * 20)
    assert set(found["stage"]) == {1, 2, 3, 4, 5}
    assert (found.loc[(found["stage"] == 5) & (found["data"] == "shapes"), "share of multiply-adds, %"] == 0).all()


def test_a_search_that_found_nothing_is_counted_as_such() -> None:
    said = STUDY.findings(search("shapes", 0, [50.0, 40.0, 30.0], LATE))
    assert "0 of 1 found something better than its start" in said[0]
    courses, where = STUDY.tables(search("shapes", 0, [50.0, 40.0, 30.0], LATE)).values()
    assert courses["steps"].tolist() == [0] and len(where) == 2


def test_what_is_recorded_of_stages_sums_to_the_backbone_without_its_stem() -> None:
    config = load_config(Path(__file__).parents[2] / "experiments" / "studies" / "configs" / "shapes.yaml", (), {})
    spec = config.search.start_network
    trials = search_of([40.0]).assign(seed="0 0 0", **spec.to_dict())
    runs = {
        run.name: Finished(run=run, config=config, state=config.build_algorithm().initial(), trials=trials)
        for run in STUDY.runs([0], {})
    }
    recorded = STUDY.results([0], runs)
    costs = backbone_costs(spec, *config.image_size)
    assert sum(json.loads(recorded[STAGE_GFLOPS].iloc[0])) == pytest.approx((costs.macs - costs.stem.macs) / 1e9)


def test_without_a_search_that_is_said() -> None:
    results = search("shapes", 0, [50.0], LATE).assign(arm="start")
    assert STUDY.findings(results) == ["No search has scored anything."]
    STUDY.tables(results), STUDY.draw(results)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.sampled_from([30.0, 40.0]), min_size=1, max_size=3), min_size=1, max_size=3))
def test_any_searches_have_an_answer(scores: list[list[float]]) -> None:
    results = pd.concat([search("shapes", seed, each, LATE) for seed, each in enumerate(scores)], ignore_index=True)
    assert all(said.endswith(".") and "nan" not in said for said in STUDY.findings(results))
    STUDY.tables(results)
