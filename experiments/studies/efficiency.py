"""Does SP-NAS find better networks than random search at equal cost (SP-NAS, Table 9)?"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import (
    by_seed,
    comparisons,
    course,
    gain,
    outcomes,
    plus_minus,
    shortcomings,
    summary,
)
from experiments.studies.shared.random_networks import random_networks
from experiments.studies.shared.scores import metric
from experiments.studies.shared.searches import START_EPOCHS, full_training, search, searches, start, trials
from experiments.studying.figures import curves, dots, legend
from experiments.studying.statistics import spread
from experiments.studying.study import Finished, Run, Runs
from models.architecture import Architecture
from orchestrator.report.style import new_figure

ARMS = ("paper", "paired", "control", "fresh")
RANDOM = ("random-many", "random-long")
GIVEN = ("paper", "paired", "control")
"""Arms that begin with the weights of the start."""


class Efficiency(RecordsJobs):
    """Searches beside random networks: as many of them, and as few as can be trained for long at the same cost."""

    name = "efficiency"
    question = "Does a search find better networks than random search at equal cost?"
    claim = """SP-NAS, Table 9, on VOC: 10 random networks with as many blocks and stages as SPNet, each pretrained on
        ImageNet and trained, take 76 GPU days and come to 76.4 AP50 on average, 80.3 at best; SP-NAS looks at 500
        networks in 26 GPU days and comes to 83.5. So the two are not of equal cost, and each is one run."""
    method = """`paper` is Algorithm 1, `fresh` the same with fresh weights in place of inherited ones, `paired` has
        this project's rule of acceptance, and `control` no morphs at all. `random-many` trains as many random networks,
        with the blocks, stages and doublings of what `paper` has found, as `paper` has trained, each from scratch by
        the same fast scheme; `random-long` trains as few of them as can be trained for 30 epochs with as many epochs in
        all. What each comes to gets the same full training, on from the weights it has: so `final` is what a search has
        to show, weights included, and `paper`, `paired` and `control` have the start's 30 epochs beside their own cost,
        as the paper's have ImageNet's weights. `from scratch` is the worth of the network alone: each that was found,
        trained from scratch for 30 epochs with one and the same seed. Minutes are of trainings that share a machine's
        cores. Smaller than the paper's: coloured shapes, no reignition, no parallel level, no pretraining of random
        networks."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Searches; random networks of the size of the paper's find; and all that is found, trained from scratch."""
        asked = searches("shapes", ARMS, seeds)
        for seed in seeds:
            found = finished.get(search("shapes", "paper", seed).name)
            if found is None:
                continue
            drawn = _random_searches(found, seed)
            finals = [full_training("shapes", f"{run.arm}-final", seed, run) for run in drawn]
            asked += [*drawn, *(run for run in finals if run.origin is not None and run.origin[0] in finished)]
            names = [start("shapes", seed).name, *(search("shapes", arm, seed).name for arm in ARMS)]
            names += [run.name for run in finals]
            if all(name in finished for name in names):
                asked.append(_from_scratch([finished[name] for name in names], seed))
        return asked

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The paper's table: scores beside their cost; then the networks' own worth, and scores seed by seed."""
        runs = found(results)
        worth = [
            {
                "arm": arm,
                "from scratch": spread(of_arm["scratch"]),
                "from scratch, over control": ""
                if arm == "control"
                else plus_minus(gain(runs, str(arm), "control", "scratch")),
                "mean of the networks looked at": spread(of_arm["mean"]),
                "best of them": spread(of_arm["best"]),
                "epochs behind the final weights": spread(of_arm["depth"], 0),
                "GFLOPs": spread(of_arm["gflops"], 4),
            }
            for arm, of_arm in runs.groupby("arm", sort=False)
        ]
        return {
            "Table 9: what each came to and what it cost, mean and deviation of the seeds": summary(runs),
            "What was found": pd.DataFrame(worth),
            f"Final {metric(runs)}, seed by seed": by_seed(runs),
            f"{metric(runs)} from scratch, seed by seed": by_seed(runs, "scratch"),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """What each has to show with its weights, and what is behind these; the networks alone; the cost."""
        runs = found(results)
        unit = metric(runs)
        others = ["control", *RANDOM, "fresh"]
        by_control = [(arm, "control") for arm in (*RANDOM, "fresh")]
        behind = [f"`{arm}` {spread(of_arm['depth'], 0)}" for arm, of_arm in runs.groupby("arm", sort=False)]
        reached = [f"`{arm}` {spread(of_arm['final'])}" for arm, of_arm in runs.groupby("arm", sort=False)]
        said = [
            f"With as many epochs of search and the same full training, final {unit} is: {', '.join(reached)}; "
            "`paper`, `paired` and `control` have the start's training beside that.",
            f"{comparisons(runs, [('paper', arm) for arm in others])} A difference in "
            f"final {unit} is one in training, too; so many epochs are behind these weights: {', '.join(behind)}.",
            "The networks alone, trained from scratch alike: "
            + comparisons(runs, [("paper", arm) for arm in others], "scratch", f"{unit} from scratch"),
            f"The paired rule: {comparisons(runs, [('paired', arm) for arm in others])} "
            + comparisons(runs, [("paired", arm) for arm in others], "scratch", f"{unit} from scratch"),
            f"All others against the control: {comparisons(runs, by_control)}",
        ]
        for arm, of_arm in runs.groupby("arm", sort=False):
            given = f", beside the {spread(of_arm['given'], 0)} epochs of the start" if arm in GIVEN else ""
            said.append(
                f"`{arm}` took {spread(of_arm['trainings'], 0)} trainings, {spread(of_arm['epochs'], 0)} epochs and "
                f"{spread(of_arm['seconds'] / 60)} minutes{given}; the networks it looked at have "
                f"{spread(of_arm['mean'])} {unit} on average, {spread(of_arm['best'])} at best."
            )
        return said + shortcomings(results, runs, (*ARMS, *RANDOM))

    def draw(self, results: pd.DataFrame) -> Figure:
        """The best so far over the epochs; final scores; scores of the same networks from scratch."""
        runs, unit = found(results), metric(results)
        label = f"own best {unit}"
        figure = new_figure(4.6)
        axes = figure.subplot_mosaic([["course", "course"], ["final", "scratch"]])
        over = course(results, (*ARMS, *RANDOM), "epochs").rename(columns={"best": label})
        curves(axes["course"], over, "epochs", label)
        for column, title in (("final", f"final {unit}"), ("scratch", f"{unit} from scratch")):
            dots(axes[column], runs.rename(columns={column: title}), title)
        legend(figure)
        return figure


def found(results: pd.DataFrame) -> pd.DataFrame:
    """See `outcomes`; beside these ``scratch``, the score of the architecture trained from scratch, and ``given``.

    The latter are the epochs of the start for those that begin with its weights, else 0; they are in ``depth``, too.
    Multiply-adds are told in those of the start.
    """
    runs = outcomes(results, (*ARMS, *RANDOM))
    scratch = _first(results[results["arm"] == "from-scratch"], ["seed", "architecture"], "score")
    starts = results[results["arm"] == "start"]
    epochs, gflops = _first(starts, ["seed"], "epochs"), _first(starts, ["seed"], "gflops")
    given = runs["seed"].map(epochs).where(runs["arm"].isin(GIVEN), 0.0)
    return runs.assign(
        scratch=[scratch.get(key, float("nan")) for key in zip(runs["seed"], runs["architecture"], strict=True)],
        given=given,
        depth=runs["depth"] + given,
        growth=runs["gflops"] / runs["seed"].map(gflops),
    )


def _first(rows: pd.DataFrame, keys: list[str], column: str) -> "dict[object, float]":
    """What completed jobs have in a column, by key."""
    return rows[rows["status"] == "completed"].groupby(keys[0] if len(keys) == 1 else keys)[column].first().to_dict()


def _random_searches(found: Finished, seed: int) -> list[Run]:
    """As many random networks as the search has trained, each as its candidates were; and few, each for long."""
    like = _architecture(found)
    # The recipe of its jobs but the last is the fast scheme.
    num_jobs = int((found.trials["phase"] == "serial").sum())
    epochs = num_jobs * (found.config.recipe("serial").epochs or 0)
    many = [str(each) for each in random_networks(like, num_jobs, seed)]
    long = many[: max(1, round(epochs / START_EPOCHS))]
    return [
        trials("shapes", "random-many", seed, [{"architecture": each} for each in many]),
        trials(
            "shapes",
            "random-long",
            seed,
            [{"architecture": each, "recipe": "final"} for each in long],
            final__epochs=START_EPOCHS,
        ),
    ]


def _from_scratch(runs: Sequence[Finished], seed: int) -> Run:
    """What runs have come to, trained from scratch for as long as the start was: the networks' worth alone."""
    different = dict.fromkeys(str(_architecture(each)) for each in runs)
    entries = [{"architecture": each, "recipe": "final", "replicate": 1} for each in different]
    return trials("shapes", "from-scratch", seed, entries, final__epochs=START_EPOCHS)


def _architecture(finished: Finished) -> Architecture:
    best = finished.state.best_overall
    assert best is not None, f"{finished.run.name} has come to nothing"
    return best.network.architecture
