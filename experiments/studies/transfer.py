"""Is a network that was found on one data set worth as much on another (SP-NAS, supplement, Table 2)?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import plus_minus, verdict
from experiments.studies.shared.scores import MERIT, accepted, failures, with_merit
from experiments.studies.shared.searches import START_EPOCHS, search, searches, start, trials
from experiments.studying.figures import dots
from experiments.studying.statistics import Paired, paired, spread
from experiments.studying.study import Run, Runs
from orchestrator.report.style import new_figure

DATA = ("shapes", "bccd")
START = "the start"


class Transfer(RecordsJobs):
    """What was found on each data set, and the start, trained from scratch on each."""

    name = "transfer"
    question = "Is a network that was found on one data set worth as much on another?"
    claim = """SP-NAS, supplement, Table 2: what was searched on the data set itself is best there, what was searched on
        another has "a small performance drop": 0.9 to 1.3 mAP on COCO and BDD, 0.005 to 0.006 of LAMR
        on ECP."""
    method = f"""With each seed the paper's search runs on both data sets. Then the start network, and what was found on
        each, are trained from random weights on each data set: {START_EPOCHS} epochs, the same images in the same
        order. So a score has nothing of the weights that a search came to, and the start's own tells what any search
        was worth. The paper pretrains on ImageNet, finds its networks in searches that are hundreds of times longer,
        and gives one number for each."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Searches on both, then trainings of what they have found."""
        asked = [run for data in DATA for run in searches(data, ("paper",), seeds)]
        for seed in seeds:
            names = [search(data, "paper", seed).name for data in DATA]
            if not all(name in finished for name in names):
                continue
            best = [finished[name].state.best_overall for name in names]
            found = [str(each.spec.architecture) for each in best if each is not None]
            origin = finished[start(DATA[0], seed).name].config.start.architecture
            entries = [
                {"architecture": each, "recipe": "final", "replicate": 1} for each in dict.fromkeys([origin, *found])
            ]
            asked += [trials(data, "transferred", seed, entries, final__epochs=START_EPOCHS) for data in DATA]
        return asked

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The supplement's Table 2, and the networks."""
        found = transferred(results)
        rows = []
        for origin, by_origin in found.groupby("found on", sort=False):
            row = {"found on": origin}
            for target in found["trained on"].unique():
                there = by_origin[by_origin["trained on"] == target]
                row[f"{target}, {_metric(results, target)}"] = spread(there["score"])
                row[f"what {target} found is better by"] = (
                    plus_minus(_native_over(found, str(target), str(origin))) if origin != target else ""
                )
            rows.append(row)
        networks = found.drop_duplicates(["seed", "found on"])[["seed", "found on", "architecture", "growth"]]
        return {
            "Rows: where a network was found; columns: where it was trained": pd.DataFrame(rows),
            "The networks": networks.rename(columns={"growth": "times the start's multiply-adds"}),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """For each data set what its own network has over that of another, and over the start."""
        found, said = transferred(results), []
        targets = [str(target) for target in found["trained on"].unique()]
        for target in targets:
            unit = _metric(results, target)
            for origin in targets:
                if origin != target:
                    said.append(_worded(_native_over(found, target, origin), target, f"what {origin} found", unit))
        for target in targets:
            said.append(_worded(_native_over(found, target, START), target, "the start", _metric(results, target)))
        grown = found[found["found on"] != START].drop_duplicates(["seed", "found on"]).groupby("found on", sort=False)
        if len(grown):
            said.append(
                "The networks cost more or less than the start, which a score does not show: "
                + "; ".join(f"found on {origin} {spread(each['growth'], 2)} times its" for origin, each in grown)
                + " multiply-adds."
            )
        return [*(said or ["Nothing was trained elsewhere."]), *failures(results)]

    def draw(self, results: pd.DataFrame) -> Figure:
        """For each data set, the scores by where the network was found, joined by seed."""
        found = transferred(results).rename(columns={"found on": "arm"})
        figure = new_figure(2.3)
        targets = list(found["trained on"].unique())
        for axes, target in zip(figure.subplots(1, max(1, len(targets)), squeeze=False)[0], targets, strict=False):
            dots(axes, found[found["trained on"] == target], "score")
            axes.set(title=f"trained on {target}", xlabel="found on", ylabel=_metric(results, target))
        return figure


def transferred(results: pd.DataFrame) -> pd.DataFrame:
    """The scores of networks by where they were found and trained.

    Returns:
        Rows of ``seed``, ``found on`` (a data set, or `START`), ``trained on``, ``architecture``, ``score``, `MERIT`,
        and ``growth``: its multiply-adds in those of the start. A network found twice has a row for each.
    """
    scored = with_merit(results)
    searched = scored[scored["arm"] == "paper"]
    networks = []
    for seed, of_seed in searched.groupby("seed"):
        for number, (data, rows) in enumerate(of_seed.groupby("data", sort=False)):
            steps = accepted(rows)
            if len(steps):
                origins = ((START, 0), (data, -1)) if number == 0 else ((data, -1),)
                networks += [(seed, origin, steps["architecture"].iloc[place]) for origin, place in origins]
    found = pd.DataFrame(networks, columns=["seed", "found on", "architecture"])
    trained = scored[(scored["arm"] == "transferred") & scored["score"].notna()]
    trained = trained.rename(columns={"data": "trained on"})
    both = found.merge(
        trained[["seed", "trained on", "architecture", "score", MERIT, "gflops"]], on=["seed", "architecture"]
    )
    starts = both[both["found on"] == START].set_index(["seed", "trained on"])["gflops"]
    keys = pd.MultiIndex.from_frame(both[["seed", "trained on"]])
    growth = both["gflops"].to_numpy() / starts.reindex(keys).to_numpy() if len(both) else np.array([])
    return both.assign(growth=growth).drop(columns="gflops")


def _native_over(found: pd.DataFrame, target: str, origin: str) -> Paired:
    """What the network found on the target has there over another, by seed."""
    there = found[found["trained on"] == target]
    merits = there.pivot_table(index="seed", columns="found on", values=MERIT).reindex(columns=[target, origin])
    return paired(merits.iloc[:, 0], merits.iloc[:, 1])


def _worded(difference: Paired, target: str, other: str, unit: str) -> str:
    match verdict(difference):
        case "better":
            return f"On {target}, what was found there is better than {other}: by {difference} points of {unit}."
        case "worse":
            return f"On {target}, what was found there is worse than {other}: by {difference} points of {unit}."
        case "none":
            return f"On {target}, nothing can be said of what was found there against {other}."
    seeds = f"{difference.num} seed{'s' * (difference.num > 1)}"
    return (
        f"On {target}, no gain of what was found there over {other} can be told from {seeds}: {difference} points of "
        f"{unit}."
    )


def _metric(results: pd.DataFrame, data: str) -> str:
    return str(results.loc[results["data"] == data, "metric"].iloc[0])
