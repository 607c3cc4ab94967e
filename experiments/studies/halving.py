"""Does it keep the winner to stop hopeless candidates after their first epoch (successive halving)?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.studies.shared.children import children
from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.scores import MERIT, failures, measured, metric, with_merit
from experiments.studies.shared.searches import start
from experiments.studying.figures import bars, legend
from experiments.studying.statistics import spread, tau
from experiments.studying.study import Run, Runs
from orchestrator.report.style import new_figure

GROUPS = (3, 7, None)
"""Numbers of children that are trained at a time; None is all."""

NUM_DRAWS = 2000
"""Of groups, from the children of a start."""

NUM_CUTS = (1, 2)
"""Times that the worse half is stopped: after the first epoch, or after the second, too."""

KEPT, CHANCE, LOST, TRULY_LOST, SAVED = "kept", "by chance", "lost", "truly lost", "saved"
MEANS = (KEPT, CHANCE, LOST, TRULY_LOST, SAVED)
TRAININGS = "trainings"

Floats = NDArray[np.float64]


class Halving(RecordsJobs):
    """Children of one start, measured after every epoch of the fast scheme."""

    name = "halving"
    question = "Does it keep the winner to stop hopeless candidates after their first epoch?"
    claim = """Beyond the paper. SP-NAS trains every candidate for its three epochs; successive halving would stop the
        worse half of those trained at a time early, and has as many candidates for fewer epochs, or more for as
        many."""
    method = f"""Children of a start, as the search draws them, are trained by the fast scheme with several seeds and
        measured after each epoch. From these trainings, {NUM_DRAWS} groups are drawn; in each the better half (rounded
        up) by the score after the first epoch goes on, in a second variant half of these after the second. The winner
        is the child with the best score in the end. It is partly lucky, so what is lost is told twice: in the score
        with this seed, and in the mean of the other seeds, which the choice has not seen. The learning rate falls over
        all three epochs, so a score on the way is not what an epoch's own training would come to. The seeds of a
        start's children are averaged; what is given beside a mean is the standard deviation between starts."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start, then its children."""
        asked = [start("shapes", seed) for seed in seeds]
        return asked + [children(run.seed, finished[run.name]) for run in asked if run.name in finished]

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What halving keeps, loses and saves, by the size of groups and the number of cuts."""
        unit = metric(results)
        rows = [
            {
                "candidates at a time": size,
                "cut": _epochs(cuts),
                "keeps the winner, %": spread(100 * of_both[KEPT], 0),
                "by chance, %": f"{100 * of_both[CHANCE].mean():.0f}",
                f"{unit} lost": spread(of_both[LOST], 2),
                f"{unit} lost by other seeds": spread(of_both[TRULY_LOST], 2),
                "epochs saved, %": f"{100 * of_both[SAVED].mean():.0f}",
            }
            for (size, cuts), of_both in halved(results).groupby(["size", "cuts"], sort=False)
        ]
        return {
            "Mean over starts, and their standard deviation": pd.DataFrame(rows),
            "The ranks on the way": _ranks(results),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """Whether the winner is kept, and what that is worth."""
        found, unit, said = halved(results), metric(results), []
        for (size, cuts), of_both in found.groupby(["size", "cuts"], sort=False):
            kept, chance = of_both[KEPT].mean(), of_both[CHANCE].mean()
            said.append(
                f"Of {size} candidates at a time, cut {_epochs(cuts)}, the "
                f"winner is kept in {100 * kept:.0f} % of cases, by chance in {100 * chance:.0f} %; "
                f"{spread(of_both[LOST], 2)} points of {unit} are lost, {_truly(of_both)}and "
                f"{100 * of_both[SAVED].mean():.0f} % of the epochs saved "
                f"({_counted(of_both)})."
            )
        return [*(said or ["No children were measured after their first epoch."]), *failures(results)]

    def draw(self, results: pd.DataFrame) -> Figure:
        """How often the winner is kept, and what is lost where it is not."""
        found = halved(results)
        names = {cuts: _epochs(cuts) for cuts in NUM_CUTS}
        figure = new_figure(2.4)
        left, right = figure.subplots(1, 2)
        drawn = found.assign(arm=found["cuts"].map(names), share=100 * found[KEPT])
        chance = found.assign(arm=found["cuts"].map(names) + ", at random", share=100 * found[CHANCE])
        place, kept = "candidates at a time", "winner kept, %"
        both = pd.concat([drawn, chance]).rename(columns={"size": place, "share": kept})
        bars(left, both, place, kept)
        lost = f"{metric(results)} lost"
        bars(right, drawn.rename(columns={"size": place, LOST: lost}), place, lost)
        legend(figure)
        return figure


@dataclass(frozen=True, slots=True)
class Trainings:
    """The children of one start by one seed: merits, of which more is better.

    Attributes:
        on_the_way: (epochs before the last, children).
        end: (children,).
        others: (children,), the mean of the other seeds in the end; NaN without any.
    """

    on_the_way: Floats
    end: Floats
    others: Floats


def halved(results: pd.DataFrame) -> pd.DataFrame:
    """What halving comes to.

    Returns:
        For each start, size of groups and number of cuts a row, the mean of its children's `TRAININGS`: ``seed``,
        ``size``, ``cuts``; `KEPT`: the share of groups whose winner goes on to the end; `CHANCE`: that of a cut at
        random; `LOST`: merit of the winner over the best of those that go on, mean over groups; `TRULY_LOST`: the same,
        by the mean of the other seeds; `SAVED`: the share of epochs.
    """
    rows = []
    for (seed, _), one in _trainings(results).items():
        num = len(one.end)
        for size in dict.fromkeys(num if size is None else size for size in GROUPS):
            if size <= num:
                groups = _groups(num, size)
                rows += [
                    {"seed": seed, "size": size, "cuts": cuts, **_halve(one, groups, cuts)}
                    for cuts in NUM_CUTS
                    if cuts <= len(one.on_the_way)
                ]
    by_start = pd.DataFrame(rows, columns=["seed", "size", "cuts", *MEANS]).groupby(["size", "cuts", "seed"])
    return by_start[list(MEANS)].mean().assign(**{TRAININGS: by_start.size()}).reset_index()


def _halve(one: Trainings, groups: NDArray[np.int64], cuts: int) -> dict[str, float]:
    """What `cuts` come to, mean over groups, (groups, size) of children."""
    num, size = groups.shape
    epochs, left, trained = len(one.on_the_way) + 1, groups, 0
    for cut in range(cuts):
        trained += left.shape[1]
        better = np.argsort(-one.on_the_way[cut][left], axis=1, kind="stable")[:, : ceil(left.shape[1] / 2)]
        left = np.take_along_axis(left, better, axis=1)
    trained += left.shape[1] * (epochs - cuts)
    winner, kept = (each[np.arange(num), one.end[each].argmax(axis=1)] for each in (groups, left))
    return {
        KEPT: float((winner == kept).mean()),
        CHANCE: left.shape[1] / size,
        LOST: float((one.end[winner] - one.end[kept]).mean()),
        TRULY_LOST: float((one.others[winner] - one.others[kept]).mean()),
        SAVED: 1 - trained / (size * epochs),
    }


def _groups(num: int, size: int) -> NDArray[np.int64]:
    """Groups of so many of so many children; the one there is if that is all."""
    if size == num:
        return np.arange(num)[None]
    return np.random.default_rng(0).permuted(np.tile(np.arange(num), (NUM_DRAWS, 1)), axis=1)[:, :size]


def _trainings(results: pd.DataFrame) -> dict[tuple[int, int], Trainings]:
    """By the search's seed and the training's; of children that were measured with all of a start's seeds."""
    rows = with_merit(results)
    rows = rows[(rows["arm"] == "children") & (rows["morphs"] != "") & rows["score"].notna()]
    found = {}
    for seed, of_start in rows.groupby("seed"):
        end = of_start.pivot_table(index="morphs", columns="replicate", values=MERIT).dropna()
        way = measured(of_start[of_start["morphs"].isin(end.index)])
        steps = way.pivot_table(index="morphs", columns=["replicate", "step"], values=MERIT).reindex(end.index).dropna()
        end = end.loc[steps.index]
        if steps.empty or len(end) < 2:
            continue
        for replicate in end.columns:
            found[int(str(seed)), int(replicate)] = Trainings(
                on_the_way=steps[replicate].to_numpy(float).T,
                end=end[replicate].to_numpy(float),
                others=end.drop(columns=replicate).mean(axis=1).to_numpy(float),
            )
    return found


def _ranks(results: pd.DataFrame) -> pd.DataFrame:
    """How far the ranking of all children after an epoch is that of the end."""
    taus = pd.DataFrame(
        [
            (epoch + 1, seed, tau(scores, one.end).tau)
            for (seed, _), one in _trainings(results).items()
            for epoch, scores in enumerate(one.on_the_way)
        ],
        columns=["after epoch", "seed", "tau"],
    )
    of_starts = taus.groupby(["after epoch", "seed"])["tau"].mean()
    rows = [(epoch, spread(each, 2)) for epoch, each in of_starts.groupby("after epoch")]
    return pd.DataFrame(rows, columns=["after epoch", "Kendall's tau with the end"])


def _epochs(cuts: object) -> str:
    """When is cut, for a sentence."""
    return "after epoch 1" if cuts == 1 else "after epochs 1 and 2"


def _counted(of_both: pd.DataFrame) -> str:
    """How many starts there are, and trainings of all of their children."""
    starts, trainings = len(of_both), int(of_both[TRAININGS].sum())
    return f"{starts} start{'s' * (starts > 1)}, {trainings} training{'s' * (trainings > 1)} of all children"


def _truly(of_both: pd.DataFrame) -> str:
    lost = of_both[TRULY_LOST]
    return "" if lost.isna().all() else f"{spread(lost, 2)} by the other seeds, "
