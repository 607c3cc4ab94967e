"""What is said of networks trained elsewhere than where they were found."""

import numpy as np
import pandas as pd
import pytest

from experiments.studies.transfer import DATA, Transfer, transferred
from tests.studies.made_up_jobs import jobs_of, search_of

STUDY = Transfer()


def studied(native: float, noise: float = 0.3, seeds: int = 5, mode: str = "max") -> pd.DataFrame:
    """Searches that find a network of their own each; it has so much over the other's where it was found."""
    rng, parts = np.random.default_rng(0), []
    sign = 1 if mode == "max" else -1
    for seed in range(seeds):
        for data in DATA:
            search = search_of([50.0, 50.0 + sign * 5.0], maximize=mode == "max", data=data, seed=seed, mode=mode)
            search["architecture"] = ["BB(1,d,d,d)", f"BB(1,d,{data},d)"]
            rows = [
                {"architecture": architecture, "score": 40 + sign * gain + rng.normal(0, noise), "gflops": gflops}
                for architecture, gain, gflops in (
                    ("BB(1,d,d,d)", -2.0, 1.0),
                    *((f"BB(1,d,{found},d)", native * (found == data), 1.5) for found in DATA),
                )
            ]
            parts += [search, jobs_of("transferred", rows, data=data, seed=seed, recipe="final", mode=mode)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_network_that_is_best_where_it_was_found_is_said_to_be(mode: str) -> None:
    said = STUDY.findings(studied(3.0, mode=mode))
    assert said[0].startswith("On shapes, what was found there is better than what bccd found: by +")
    assert said[1].startswith("On bccd, what was found there is better than what shapes found: by +")
    assert said[2].startswith("On shapes, what was found there is better than the start")
    assert "found on shapes 1.50 ± 0.00 times its" in said[-1]


def test_networks_that_are_worth_the_same_everywhere_are_not_told_apart() -> None:
    said = STUDY.findings(studied(0.0, noise=2.0))
    assert said[0].startswith(
        "On shapes, no gain of what was found there over what bccd found can be told from 5 seeds"
    )


def test_the_table_has_a_row_for_each_origin_and_the_start() -> None:
    table, networks = STUDY.tables(studied(3.0)).values()
    assert list(table["found on"]) == ["the start", *DATA]
    assert len(networks) == 15
    STUDY.draw(studied(3.0))


def test_a_network_found_on_both_counts_for_both() -> None:
    results = studied(0.0, seeds=1)
    results["architecture"] = results["architecture"].str.replace("bccd", "shapes")
    found = transferred(results.drop_duplicates(["data", "arm", "seed", "architecture"]))
    assert found.groupby("trained on")["found on"].apply(list).to_dict() == {
        data: ["the start", *DATA] for data in DATA
    }


def test_what_is_missing_is_said() -> None:
    results = studied(3.0, seeds=1)
    (single, *_) = STUDY.findings(results)
    assert "no gain" in single and "1 seed:" in single and "nan" not in single
    searches = results[results["arm"] == "paper"]
    assert STUDY.findings(searches)[0] == "Nothing was trained elsewhere."
    STUDY.tables(searches), STUDY.draw(searches)
    results.loc[results.index[-1], ["status", "score"]] = ["failed", None]
    *_, last = STUDY.findings(results)
    assert last == "Of 10 jobs 1 failed (1 of `transferred`); they count as no score."
