"""How does the search come to its network, and where does that spend its FLOPs (SP-NAS, Figures 3 and 4b)?"""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.studies.shared.jobs import jobs
from experiments.studies.shared.scores import accepted, failures
from experiments.studies.shared.searches import searches
from experiments.studying.figures import bars, legend
from experiments.studying.statistics import Paired, paired, spread
from experiments.studying.study import Finished, Run, Runs
from models.architecture import NetworkSpec
from models.costs import backbone_costs
from orchestrator.report.style import RED, SKY, new_figure

DATA = ("shapes", "bccd")
STAGE_GFLOPS = "stage_gflops"
"""Of each stage with its subnets, JSON; the stem is no stage."""
START, FOUND = "start", "found"
SHARE = "share of multiply-adds, %"


class Trajectory:
    """The paper's search on two data sets: drawn shapes, and photographs of blood cells."""

    name = "trajectory"
    question = "How does the search come to its network, and where does that spend its FLOPs?"
    claim = """SP-NAS, Figures 3 and 4b: on ECP the search keeps finding better networks; the networks
        found differ by data set in where they compute: COCO's more in the last stages, those of VOC, ECP and BDD in
        the first ones."""
    method = """The paper's search on drawn shapes and on photographs of blood cells, from the same start with each data
        set's own weights, serial level alone. A search's best score is the highest of many draws, and its weights are
        trained on and on: how much of the rise is owed to the networks is what the study of the control asks. Where a
        network computes is summed up in one number, its mean stage: the stages' numbers, each weighted with its share
        of the multiply-adds, stem left out. The paper has one search for each data set; here are several, so that
        differences between data sets can be told from those between searches."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search on each, with each seed."""
        return [run for data in DATA for run in searches(data, ("paper",), seeds)]

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`; with `STAGE_GFLOPS`."""
        found = [finished[run.name] for run in self.runs(seeds, finished)]
        return jobs(found).assign(**{STAGE_GFLOPS: [text for each in found for text in _stage_gflops(each)]})

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Every search, and the stages' shares."""
        courses = _courses(results)
        where = shares(results)
        rows = []
        for (data, arm), of_arm in where.groupby(["data", "arm"], sort=False):
            by_stage = {f"stage {stage}, %": spread(each[SHARE]) for stage, each in of_arm.groupby("stage")}
            mean = spread(_mean_stages(of_arm), 2)
            rows.append({"data": data, "network": arm, "searches": of_arm["seed"].nunique(), **by_stage, "mean": mean})
        return {
            "The searches": courses,
            "Where the multiply-adds go, and the mean stage": pd.DataFrame(rows) if rows else where,
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """How scores rose, and whether networks of different data compute elsewhere."""
        where, said = shares(results), []
        for data, courses in _courses(results).groupby("data", sort=False):
            metric = results.loc[results["data"] == data, "metric"].iloc[0]
            said.append(
                f"On {data} the best {metric} went from {spread(courses['start'])} to {spread(courses['best'])} in "
                f"{courses['steps'].mean():.1f} accepted steps of {courses['candidates'].mean():.1f} candidates "
                f"(mean of {len(courses)} search{'es' * (len(courses) > 1)}); {_count(courses['steps'] > 0)} found "
                "something better than its start."
            )
        said += [_moved(where, data) for data in where["data"].unique()]
        return [*(said or ["No search has scored anything."]), *_apart(where), *failures(results)]

    def draw(self, results: pd.DataFrame) -> Figure:
        """Above the paper's Figure 3, for each data set; below its Figure 4b."""
        names = list(results["data"].unique())
        figure = new_figure(4.2)
        above, below = figure.subplots(2, len(names), squeeze=False)
        where = shares(results)
        for number, data in enumerate(names):
            _draw_course(above[number], results[results["data"] == data], data)
            bars(below[number], where[where["data"] == data], "stage", SHARE)
        legend(figure)
        return figure


def shares(results: pd.DataFrame) -> pd.DataFrame:
    """Where the start of each search, and what it found, spend their multiply-adds.

    Returns:
        Rows of ``data``, ``seed``, ``arm`` (`START` or `FOUND`), ``stage`` (from 1) and `SHARE`; as many stages for
        all of a table, 0 % where a network has none.
    """
    networks = {}
    for (data, seed), search in _searches(results):
        steps = accepted(search)
        if not steps.empty:
            for arm, place in ((START, 0), (FOUND, -1)):
                networks[data, seed, arm] = np.array(json.loads(steps[STAGE_GFLOPS].iloc[place]))
    longest = max(map(len, networks.values()), default=0)
    rows = [
        (data, seed, arm, stage + 1, 100 * gflops[stage] / gflops.sum() if stage < len(gflops) else 0.0)
        for (data, seed, arm), gflops in networks.items()
        for stage in range(longest)
    ]
    return pd.DataFrame(rows, columns=["data", "seed", "arm", "stage", SHARE])


def _stage_gflops(finished: Finished) -> list[str]:
    """Of each job's network, in order."""
    height, width = finished.config.image_size
    texts = []
    for network in finished.trials[["architecture", "shortcuts", "stem", "base_channels"]].to_dict("records"):
        spec = NetworkSpec.from_dict({str(name): value for name, value in network.items()})
        costs = backbone_costs(spec, height, width)
        parts = zip(costs.stages, costs.subnets, costs.num_subnets, strict=True)
        texts.append(json.dumps([(stage + subnet * count).macs / 1e9 for stage, subnet, count in parts]))
    return texts


def _searches(results: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    searched = results[(results["arm"] == "paper") & (results["phase"] == "serial")]
    for (data, seed), rows in searched.groupby(["data", "seed"], sort=False):
        yield (str(data), int(str(seed))), rows.sort_values("index")


def _courses(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each search."""
    rows = []
    for (data, seed), search in _searches(results):
        steps = accepted(search)
        if steps.empty:
            continue
        first, last = steps.iloc[0], steps.iloc[-1]
        full = results[(results["data"] == data) & (results["seed"] == seed) & (results["role"] == "final")]
        trained = full.loc[full["arm"] == "paper", "score"]
        rows.append(
            {
                "data": data,
                "seed": seed,
                "candidates": int((search["role"] == "candidate").sum()),
                "steps": len(steps) - 1,
                "start": first["score"],
                "best": last["score"],
                "trained in full": trained.iloc[0] if len(trained) else np.nan,
                "network": last["architecture"],
                "times the FLOPs": last["gflops"] / first["gflops"],
            }
        )
    columns = ["data", "seed", "candidates", "steps", "start", "best", "trained in full", "network", "times the FLOPs"]
    return pd.DataFrame(rows, columns=columns)


def _mean_stages(where: pd.DataFrame) -> pd.Series:
    """By seed: the stages' numbers, each weighted with its share."""
    return (where["stage"] * where[SHARE]).groupby(where["seed"]).sum() / 100


def _moved(where: pd.DataFrame, data: str) -> str:
    """From the start to what was found."""
    start, found = (_mean_stages(where[(where["data"] == data) & (where["arm"] == arm)]) for arm in (START, FOUND))
    difference = paired(found, start)
    return (
        f"On {data} the mean stage of the multiply-adds {_direction(difference, 'moved', 'was not seen to move')}: "
        f"{spread(start, 2)} at the start, {spread(found, 2)} in what was found, a difference of {difference}."
    )


def _apart(where: pd.DataFrame) -> list[str]:
    """What was found on one data set beside what was found on another, with the same seeds."""
    found = where[where["arm"] == FOUND]
    said = []
    for one, other in combinations(where["data"].unique(), 2):
        both = pd.concat([_mean_stages(found[found["data"] == data]) for data in (one, other)], axis=1, join="inner")
        difference = paired(both.iloc[:, 1], both.iloc[:, 0])
        told = _direction(difference, "lie", "can't be told to lie elsewhere")
        said.append(f"Networks found on {other} {told} than those found on {one}: mean stages differ by {difference}.")
    return said


def _direction(difference: Paired, verb: str, none: str) -> str:
    """``moved to later stages``."""
    if not (difference.low > 0 or difference.high < 0):
        return none
    return f"{verb} {'later' if difference.mean > 0 else 'earlier'}"


def _count(which: pd.Series) -> str:
    return f"{int(which.sum())} of {len(which)}"


def _draw_course(axes: Axes, results: pd.DataFrame, data: str) -> None:
    """All candidates of one search, and the best so far; of further searches the best alone."""
    for number, (_, search) in enumerate(_searches(results)):
        best, scored = accepted(search), search[search["score"].notna()]
        if number == 0:
            axes.plot(scored["index"], scored["score"], "o-", color=SKY, markersize=2, linewidth=0.6, label="candidate")
            axes.scatter(best["index"], best["score"], color=RED, s=14, zorder=3, linewidths=0, label="best so far")
        width, alpha = (1.0, 1.0) if number == 0 else (0.5, 0.5)
        axes.step(search["index"], search["best"], where="post", color=RED, zorder=2, linewidth=width, alpha=alpha)
    axes.set(title=data, xlabel="candidate", ylabel=results["metric"].iloc[0])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
