"""What does it cost in accuracy that several candidates are under way at a time, and what does it gain in time?"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import by_seed, comparisons, gain, outcomes, plus_minus, shortcomings
from experiments.studies.shared.schedule import seconds_with_workers
from experiments.studies.shared.scores import metric
from experiments.studies.shared.searches import searches
from experiments.studying.figures import dots
from experiments.studying.statistics import spread
from experiments.studying.study import Run, Runs
from orchestrator.report.style import new_figure

ARMS = {"in-flight-1": 1, "paper": 4, "in-flight-16": 16}
CONTROL = "control"


class InFlight(RecordsJobs):
    """The same search with one, four and sixteen candidates under way."""

    name = "in-flight"
    question = "What do several candidates under way at a time cost in accuracy, and what do they gain in time?"
    claim = """SP-NAS, section 4.1: candidates train in parallel on four nodes. Algorithm 1 is sequential (section 3.1
        has several sets of modifications tried at each iteration), and the paper does not say what its parallel version
        costs: a candidate that is decided before others are told grows from a baseline that may be outdated by the time
        it is scored."""
    method = """The paper's search with 1, 4 (which is `paper`) and 16 candidates under way, all else alike: as many
        candidates, the same start, the same full training at the end. `control` is the search without morphs, 4 under
        way. The time is computed from the seconds that jobs took: with n under way and n workers, job k is decided once
        job k - n is told, outcomes are told in order, and the start runs alone; what passes between jobs is not
        counted. The machine had other work at times, so minutes of two arms can't be compared; how many times as fast
        an arm is as its own jobs on one worker can. A late candidate is one whose parent was no longer the best when it
        was told."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search of each; the control is other studies' as well."""
        return searches("shapes", (*ARMS, CONTROL), seeds)

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What each came to and how long it takes; the final scores seed by seed."""
        runs = timed(results)
        rows = [
            {
                "arm": arm,
                "under way": ARMS[str(arm)],
                "seeds": len(of_arm),
                "own best": spread(of_arm["best"]),
                f"final {metric(runs)}": spread(of_arm["final"]),
                "over the control": plus_minus(gain(runs, str(arm), CONTROL)),
                "over one at a time": "" if ARMS[str(arm)] == 1 else plus_minus(gain(runs, str(arm), "in-flight-1")),
                "late candidates, %": spread(100 * of_arm["late"], 0),
                "minutes, with as many workers": spread(of_arm["minutes"]),
                "times as fast as one worker": spread(of_arm["speedup"]),
                "workers busy, %": spread(100 * of_arm["speedup"] / ARMS[str(arm)], 0),
            }
            for arm, of_arm in runs[runs["arm"] != CONTROL].groupby("arm", sort=False)
        ]
        return {
            "Accuracy and time, mean and deviation of the seeds": pd.DataFrame(rows),
            f"Final {metric(runs)}, seed by seed": by_seed(runs),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """Accuracy against one at a time, with the time; then against the control."""
        runs = timed(results)
        pairs = [(arm, "in-flight-1") for arm in ARMS if ARMS[arm] > 1]
        said = [
            comparisons(runs, pairs),
            comparisons(runs, [(arm, CONTROL) for arm in ARMS]),
            f"By the searches' own best {metric(runs)}, luck included: {comparisons(runs, pairs, 'best')}",
        ]
        for arm, of_arm in runs[runs["arm"] != CONTROL].groupby("arm", sort=False):
            number = ARMS[str(arm)]
            workers = f"{number} under way and as many workers" if number > 1 else "one under way and one worker"
            said.append(
                f"With {workers}, `{arm}` takes {spread(of_arm['minutes'])} minutes, {spread(of_arm['speedup'])} times "
                f"as fast as its own jobs on one worker; {spread(100 * of_arm['late'], 0)} % of its candidates grow "
                "from a parent that is no longer the best once they are told."
            )
        return said + shortcomings(results, runs, (*ARMS, CONTROL))

    def draw(self, results: pd.DataFrame) -> Figure:
        """Final scores, and the time with as many workers."""
        runs, unit = timed(results), metric(results)
        shown = runs.rename(columns={"final": f"final {unit}", "minutes": "minutes, with as many workers"})
        figure = new_figure(2.6)
        left, right = figure.subplots(1, 2)
        dots(left, shown, f"final {unit}")
        dots(right, shown, "minutes, with as many workers")
        right.set_ylim(bottom=0)
        return figure


def timed(results: pd.DataFrame) -> pd.DataFrame:
    """See `outcomes`; beside these ``minutes`` with as many workers, ``speedup`` over one worker, and `late`."""
    runs = outcomes(results, (*ARMS, CONTROL))
    searched = results[results["role"] != "final"]
    found = []
    for arm, seed in zip(runs["arm"], runs["seed"], strict=True):
        rows = searched[(searched["arm"] == arm) & (searched["seed"] == seed)]
        seconds = rows["seconds"].fillna(0).tolist()
        needed = seconds_with_workers(seconds, rows["role"].tolist(), ARMS.get(arm, ARMS["paper"]))
        found.append((needed / 60, sum(seconds) / needed if needed else float("nan"), late(rows)))
    times = pd.DataFrame(found, columns=["minutes", "speedup", "late"], index=runs.index)
    return pd.concat([runs, times], axis=1)


def late(rows: pd.DataFrame) -> float:
    """The share of a steady search's candidates whose parent was no longer the best when they were told."""
    best, num_late, num = float("nan"), 0, 0
    holder = None
    for index, role, parent, now in zip(rows["index"], rows["role"], rows["parent"], rows["best"], strict=True):
        if role == "candidate":
            num += 1
            num_late += parent != holder
        if now != best and not pd.isna(now):
            best, holder = now, index
    return num_late / num if num else float("nan")
