"""How noisy is the fast scheme, and how often is "better" luck?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from experiments.studies.shared.children import children
from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.noise import Scores, best_is_good, better_than_control, scores_of, variance_shares
from experiments.studies.shared.scores import MERIT, failures, metric, with_merit
from experiments.studies.shared.searches import search, searches, start, trials
from experiments.studying.figures import legend, points
from experiments.studying.statistics import CONFIDENCE, spread
from experiments.studying.study import Finished, Run, Runs
from orchestrator.report.style import BLUE, GREY, new_figure

REPLICATES = (1, 2, 3)
"""Seeds beside the one by which a step was accepted, which is 0."""

STEP = "step-"
"""Begins the arm of an accepted step, the candidate's index ends it."""

GROUPS = (2, 4, 8, None)
"""Numbers of children of which one is chosen; None is all."""

NUM_ERRORS = 2
"""Standard errors from which on a gain is taken to be real."""

SHOWN = {
    "seed": "search",
    "index": "candidate",
    "morphs": "morphs",
    "accepted by": "accepted by",
    "training on": "training on alone",
    "gain": "gain over that",
    "error": "its standard error",
    "pairs": "further seeds",
}


class Luck(RecordsJobs):
    """Children of one start with several seeds; and the steps that a search has accepted, taken again."""

    name = "luck"
    question = 'How noisy is the fast scheme, and how often is "better" luck?'
    claim = """Beyond the paper. SP-NAS (section 4.1) trains a candidate once and takes it if its score is better than
        its parent's: "training with 3 epochs already can separate good models from bad models"."""
    method = """Children of a start, as the search draws them, are trained by the fast scheme from its weights with
        several seeds each, and so is the start itself without a morph, the control. With a seed all see the same images
        in the same order; a child that lacks a score by one of the control's seeds is left out. Then every step that
        the searches accepted is taken again from the same parent's weights with further seeds, beside the parent
        without a morph. What was chosen by one seed is judged by the others alone, so the luck of the choice is not in
        the judgement. Validation sets are small here, which makes scores noisier than the paper's; its seeds are not
        given."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The paper's search, then its steps with further seeds, beside as much training without a morph."""
        asked = searches("shapes", ("paper",), seeds)
        for seed in seeds:
            if (started := finished.get(start("shapes", seed).name)) is not None:
                asked.append(children(seed, started))
            if (found := finished.get(search("shapes", "paper", seed).name)) is not None:
                asked += steps_again(found)
        return asked

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The noise, what it does to a choice, and every step that was taken again."""
        found = of_children(results)
        noise = [{"search": seed, **_noise_row(one)} for seed, one in found.items()]
        choices = [
            {
                "the best of": "all" if num is None else str(num),
                "is in the better half by the other seeds, %": _percent(*best_is_good(list(found.values()), num)),
                "by chance, %": f"{100 * _by_chance(found, num):.0f}",
            }
            for num in GROUPS
            if found
        ]
        taken = steps_taken(results)
        return {
            f"How far scores are apart, in points of {metric(results)} (standard deviations)": pd.DataFrame(noise),
            "The best of some children by one seed": pd.DataFrame(choices),
            "The steps that were accepted": taken.rename(columns=SHOWN)[list(SHOWN.values())],
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """How much of a score is the network's, and how many accepted steps were."""
        return [*_said_of_noise(results), *_said_of_steps(results), *failures(results)]

    def draw(self, results: pd.DataFrame) -> Figure:
        """Left each child's gain over the control by seed; right what accepted steps are worth with further seeds."""
        label = f"gain over the control, {metric(results)}"
        figure = new_figure(2.6)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        found = of_children(results)
        for one in list(found.values())[:1]:
            gains = one.children - one.control
            ordered = gains[np.argsort(gains.mean(axis=1))]
            drawn = pd.DataFrame(ordered).rename(columns=lambda number: f"seed {number}")
            drawn["child, ordered by its mean"] = range(len(drawn))
            points(
                left,
                drawn.melt("child, ordered by its mean", var_name="arm", value_name=label),
                "child, ordered by its mean",
                label,
            )
            left.xaxis.set_major_locator(MaxNLocator(integer=True))
            left.axhline(0, color=GREY, linewidth=0.6)
        taken = steps_taken(results)
        right.errorbar(
            taken["accepted by"],
            taken["gain"],
            yerr=taken["error"].fillna(0),
            fmt="o",
            color=BLUE,
            markersize=3,
            linewidth=0.8,
        )
        right.axhline(0, color=GREY, linewidth=0.6)
        right.set(xlabel="gain by which it was accepted", ylabel="gain with further seeds")
        legend(figure)
        return figure


def of_children(results: pd.DataFrame) -> dict[int, Scores]:
    """What is needed of the children of each start, by the search's seed; starts without any are left out."""
    scored = with_merit(results)
    found = {}
    for seed, rows in scored[scored["arm"] == "children"].groupby("seed"):
        starts = scored.loc[(scored["arm"] == "start") & (scored["seed"] == seed), MERIT]
        one = scores_of(rows, starts.iloc[0] if len(starts) else np.nan)
        if one is not None:
            found[int(str(seed))] = one
    return found


def steps_taken(results: pd.DataFrame) -> pd.DataFrame:
    """The steps that searches accepted, taken again.

    Returns:
        A row for each that has a further seed: the search's ``seed``, ``index`` and ``morphs``; ``accepted by``, the
        merit it had over its parent then; ``training on``, what its parent without a morph has gained on the further
        seeds; ``gain``, the mean of what the child has over that, with its standard ``error``; ``pairs``.
    """
    scored = with_merit(results)
    whole = scored[scored["arm"] == "paper"].to_dict("records")
    searched = {(int(job["seed"]), int(job["index"])): job for job in whole}
    rows = []
    again = scored[scored["arm"].str.startswith(STEP) & scored[MERIT].notna()]
    for (seed, arm), trained in again.groupby(["seed", "arm"], sort=False):
        key = int(str(seed)), int(str(arm).removeprefix(STEP))
        child = trained[trained["morphs"] != ""].set_index("replicate")[MERIT]
        control = trained[trained["morphs"] == ""].set_index("replicate")[MERIT]
        gains = (child - control).dropna()
        if key not in searched or gains.empty:
            continue
        step = searched[key]
        parent = np.nan if pd.isna(step["parent"]) else searched[key[0], int(step["parent"])][MERIT]
        rows.append(
            {
                "seed": key[0],
                "index": key[1],
                "morphs": step["morphs"],
                "accepted by": step[MERIT] - parent,
                "training on": (control - parent).mean(),
                "gain": gains.mean(),
                "error": gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.nan,
                "pairs": len(gains),
            }
        )
    return pd.DataFrame(
        rows, columns=["seed", "index", "morphs", "accepted by", "training on", "gain", "error", "pairs"]
    )


def _said_of_noise(results: pd.DataFrame) -> list[str]:
    found = list(of_children(results).values())
    shares = variance_shares(found)
    unit = metric(results)
    if np.isnan(shares.share):
        return [
            "How much of a score is the network's can't be told: no start has children with two seeds and a control."
        ]
    said = [
        f"Of the variance of scores by one seed {100 * shares.share:.0f} % is the network's ({100 * CONFIDENCE:.0f} % "
        f"interval {max(0.0, 100 * shares.low):.0f} to {100 * shares.high:.0f} %): a child's scores differ by "
        f"{shares.seeds:.2f} points of {unit} between seeds (standard deviation), children by {shares.children:.2f} "
        f"({sum(len(one.children) for one in found)} children of {len(found)} start{'s' * (len(found) > 1)}, "
        f"{_range([one.children.shape[1] for one in found])} seeds)."
    ]
    for num in GROUPS:
        share, judged = best_is_good(found, num)
        if judged and num in (4, None):
            name = "all children" if num is None else f"{num} children"
            said.append(
                f"The best of {name} by one seed is in their better half by the others in {100 * share:.0f} % of "
                f"cases; by chance it would be {100 * _by_chance(of_children(results), num):.0f} %."
            )
    better = {than: better_than_control(found, than) for than in ("parent", "control", "nothing")}
    base = _of(*better["nothing"])
    for than, name in (("parent", "the start was before"), ("control", "the control with the same seed")):
        if better[than][1]:
            said.append(
                f"Of the children that are better than {name}, by one seed, {_of(*better[than])} are better than the "
                f"control on average of the other seeds; of all children {base}."
            )
    return said


def _said_of_steps(results: pd.DataFrame) -> list[str]:
    taken = steps_taken(results)
    if taken.empty:
        return ["No accepted step was taken again."]
    unit, num = metric(results), len(taken)
    real = int((taken["gain"] > 0).sum())
    said = [f"Of the accepted steps {_of(real, num)} are better than their parent without a morph on further seeds."]
    judged = taken[taken["error"].notna()]
    if len(judged):
        sure = int((judged["gain"] > NUM_ERRORS * judged["error"]).sum())
        chance = stats.t.sf(NUM_ERRORS, judged["pairs"] - 1).mean()
        said.append(
            f"{_of(sure, len(judged))} are so by more than {NUM_ERRORS} standard errors, where {100 * chance:.0f} % "
            "would be if no morph did anything."
        )
    means = taken[["accepted by", "training on", "gain"]].mean()
    if not means.isna().any():
        luck = means["accepted by"] - means["training on"] - means["gain"]
        said.append(
            f"A step was accepted by {means['accepted by']:+.2f} points of {unit} on average. On further seeds "
            f"training on alone gives {means['training on']:+.2f}, the morph {means['gain']:+.2f} more "
            f"({spread(taken['gain'], 2)} over steps); the remaining {luck:+.2f} were the luck of the seed."
        )
    return said


def _noise_row(one: Scores) -> dict[str, object]:
    shares = variance_shares([one])
    return {
        "children": one.children.shape[0],
        "seeds": one.children.shape[1],
        "between seeds": shares.seeds,
        "between children": shares.children,
        "the network's share of the variance, %": _percent(shares.share, 1),
        "mean gain over the control": spread((one.children - one.control).mean(axis=1), 2),
    }


def _by_chance(found: dict[int, Scores], num: int | None) -> float:
    sizes = [len(one.children) for one in found.values()] if num is None else [num]
    return float(np.mean([-(-size // 2) / size for size in sizes]))


def _percent(share: float, judged: int) -> str:
    return f"{100 * share:.0f}" if judged and not np.isnan(share) else ""


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(most) if least == most else f"{least} to {most}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "none of none"


def steps_again(found: Finished) -> list[Run]:
    """A run for each step that a search has accepted: the child and its parent unchanged, with further seeds."""
    accepted = found.trials[found.trials["is_baseline"] & (found.trials["role"] == "candidate")]
    return [
        trials(
            "shapes",
            f"{STEP}{index}",
            found.run.seed,
            [{"morphs": morphs, "replicate": each} for each in REPLICATES for morphs in (text, "")],
            (found.run.name, int(parent)),
        )
        for index, parent, text in zip(accepted["index"], accepted["parent"], accepted["morphs"], strict=True)
    ]
