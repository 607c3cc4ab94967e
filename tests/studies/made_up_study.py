"""A study that needs no run: two arms, three seeds."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studying.figures import bars, curves, dots, legend, points
from experiments.studying.records import Provenance
from experiments.studying.statistics import paired, spread
from experiments.studying.study import Run, Runs
from orchestrator.report.style import new_figure

RESULTS = pd.DataFrame(
    [
        (arm, seed, step, seed + 10.0 * (arm == "search") + step)
        for arm in ("random", "search")
        for seed in (0, 1, 2)
        for step in (0, 1)
    ],
    columns=["arm", "seed", "step", "AP"],
)


class MadeUp:
    """Random search, beside one that is better by ten."""

    name = "made-up"
    question = "Is ten more than nothing?"
    claim = """The paper's Table 0 says so,
        on other data."""
    method = "Numbers were made up."

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        return []

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        return RESULTS[RESULTS["seed"].isin(seeds)]

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        rows = [(arm, spread(rows["AP"]), len(rows)) for arm, rows in results[results["step"] == 1].groupby("arm")]
        return {"By arm": pd.DataFrame(rows, columns=["arm", "AP", "runs"])}

    def findings(self, results: pd.DataFrame) -> list[str]:
        last = results[results["step"] == 1].pivot(index="seed", columns="arm", values="AP")
        return [f"It is more by {paired(last['search'], last['random'])}."]

    def draw(self, results: pd.DataFrame) -> Figure:
        figure = new_figure(2.0)
        over, by_arm, by_step, each = figure.subplots(1, 4)
        curves(over, results, "step", "AP")
        dots(by_arm, results[results["step"] == 1], "AP")
        bars(by_step, results, "step", "AP")
        points(each, results, "step", "AP")
        legend(figure)
        return figure


PROVENANCE = Provenance(
    study="made-up",
    command="spnas study made-up --seeds 3",
    date="2026-11-21T08:00:00+00:00",
    seeds=(0, 1, 2),
    versions={"python": "3.11.9", "spnas": "0.1.0"},
    machine="an abacus",
    num_cores=2,
    num_runs=6,
    training_seconds=5400.0,
    wall_hours=0.75,
    configs={"made-up-random-s0": "0123456789abcdef"},
)
