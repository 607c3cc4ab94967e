"""Does the fast scheme rank networks as full training does (SP-NAS, Figure 4a)?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import sign_of
from experiments.studies.shared.scores import accepted, failures, metric
from experiments.studies.shared.searches import search, searches, trials
from experiments.studying.figures import legend, points
from experiments.studying.statistics import Correlation, partial_tau, spread, tau
from experiments.studying.study import Finished, Run, Runs
from orchestrator.report.style import GREY, SERIES, new_figure

FULL_EPOCHS = 48
"""Above the most that lie behind the weights of a search's candidate; with 16, deep networks had not yet learned."""

INHERITED, PRETRAINED, FULL, FAST = "inherited", "pretrained", "full", "fast"
WAYS = {
    INHERITED: "fast, with inherited weights",
    PRETRAINED: "in full, after pretraining",
    FULL: "in full, from scratch",
    FAST: "fast, from scratch",
}
"""How a network was trained, by its column."""

CLEAR = 0.5
"""A tau from which on three pairs of four are in the same order."""

BEHIND = "behind"
PAIRS = (
    (INHERITED, PRETRAINED),
    (INHERITED, FULL),
    (FAST, PRETRAINED),
    (FAST, FULL),
    (FULL, PRETRAINED),
)


class Ranking(RecordsJobs):
    """The networks of a search, trained by the fast scheme from scratch and in full, with and without pretraining."""

    name = "ranking"
    question = "Does the fast scheme rank networks as full training does?"
    claim = """SP-NAS, Figure 4a and section 4.1 (VOC): the networks that the serial level went through keep their rank
        when they are trained in full after ImageNet pretraining, while full training from random weights "can only
        yield confusion results"."""
    method = f"""Every network that a search scored (the paper's: its steps alone) is trained three more times, on the
        same images in the same order: in full ({FULL_EPOCHS} epochs) after a pretraining of its own, in full from
        scratch, and by the fast scheme from scratch. Rankings are compared by Kendall's tau. The candidates of a search
        differ in more than their networks: the weights of later ones have been trained for longer, a fast training
        more with each accepted step. Kendall's partial tau takes out how many lie behind. Smaller than the
        paper's: images, networks, and a pretraining on classified shapes in place of ImageNet; every network is
        trained in full once each way, so the luck of its seed is in the ranking."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The paper's search, then all its networks; one seed has twenty of them, so one is enough."""
        asked = searches("shapes", ("paper",), seeds[:1])
        for seed in seeds[:1]:
            found = finished.get(search("shapes", "paper", seed).name)
            if found is not None:
                asked.append(_trained_otherwise(found, seed))
        return asked

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Every pair of rankings, and every network."""
        found = networks(results)
        taus = pd.DataFrame(
            [
                {
                    "one ranking": WAYS[one],
                    "the other": WAYS[other],
                    "networks": (plain := tau(found[one], found[other])).num,
                    "tau": plain.tau,
                    "95 % interval": _interval(plain),
                    "tau without the training behind": _partial(found, other) if one == INHERITED else "",
                }
                for one, other in PAIRS
            ]
        )
        shown = found.assign(accepted=np.where(found["accepted"], "yes", "")).rename(
            columns={name: f"{metric(results)} {way}" for name, way in WAYS.items()}
        )
        return {
            "How far two rankings agree (Kendall's tau; 1: the same, 0: nothing in common)": taus,
            "The networks, in the order of the search": shown.rename(columns={BEHIND: "fast trainings behind it"}),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """Whether the rankings agree, and what of it is left once the training behind them is taken out."""
        found = networks(results)
        inherited = tau(found[INHERITED], found[PRETRAINED])
        scratch = tau(found[FULL], found[PRETRAINED])
        said = [
            f"{_verdict(inherited)} between the fast scheme with inherited weights and full training after "
            f"pretraining: tau {inherited}.",
            *_without_the_training_behind(found, inherited),
            *_of_its_steps(found),
            f"{_verdict(tau(found[FAST], found[PRETRAINED]))} between the fast scheme from scratch and full training "
            f"after pretraining: tau {tau(found[FAST], found[PRETRAINED])}.",
            f"{_verdict(scratch)} between full training from scratch and after pretraining: tau {scratch}. "
            "No fast ranking can be expected to agree with one of them more than they do with each other.",
        ]
        spreads = found[list(WAYS)].std()
        said.append(
            f"How far apart the networks are (standard deviation in points of {metric(results)}): "
            + ", ".join(f"{spreads[name]:.1f} {way}" for name, way in WAYS.items() if spreads[name] == spreads[name])
            + "."
        )
        return _too_short(found, results) + said + failures(results)

    def draw(self, results: pd.DataFrame) -> Figure:
        """Left the paper's figure, in the order of the search; right full trainings over the fast scheme's score."""
        found, label = networks(results), metric(results)
        figure = new_figure(2.6)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        drawn = found.melt(["index"], [PRETRAINED, FULL, INHERITED, FAST], "arm", label).replace({"arm": WAYS})
        points(left, drawn, "index", label)
        steps = found[found["accepted"]]
        left.plot(steps["index"], steps[INHERITED], color=SERIES[2], linewidth=1, zorder=0)
        left.set_xlabel("candidate; the line joins the steps that the search took")
        both = found.melt([INHERITED], [PRETRAINED, FULL], "arm", label).replace({"arm": WAYS})
        points(right, both.rename(columns={INHERITED: WAYS[INHERITED]}), WAYS[INHERITED], label)
        for axes in (left, right):
            axes.grid(color=GREY, alpha=0.2, linewidth=0.4)
        legend(figure)
        return figure


def _too_short(found: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """What to hold against the study first: full training that falls behind the weights it is to judge."""
    sign = sign_of(results)
    scores = found[[INHERITED, PRETRAINED]].dropna()
    behind = int((sign * scores[PRETRAINED] < sign * scores[INHERITED]).sum())
    if 2 * behind <= len(scores):
        return []
    return [
        f"Full training is too short here to be a judge: after it {behind} of {len(scores)} networks have a worse "
        f"{metric(results)} ({spread(scores[PRETRAINED])}) than with inherited weights "
        f"({spread(scores[INHERITED])}). So what follows tells which networks learn soon, as deep ones don't, and not "
        "which are good."
    ]


def networks(results: pd.DataFrame) -> pd.DataFrame:
    """The networks of the search.

    Returns:
        A row for each that it scored: the candidate's ``index``, ``architecture``, whether it was ``accepted``, how
        many fast trainings lie behind its weights (`BEHIND`), and its score in percent by each of `WAYS`, missing
        where it was not trained so.
    """
    whole, ranked = results[results["arm"] == "paper"], results[results["arm"] == "ranked"]
    searched = whole[(whole["phase"] == "serial") & whole["score"].notna()]
    parents = {int(job): parent for job, parent in zip(searched["index"], searched["parent"], strict=True)}
    again = {
        PRETRAINED: ranked[(ranked["recipe"] == "final") & ranked["backbone"].notna()],
        FULL: ranked[(ranked["recipe"] == "final") & ranked["backbone"].isna()],
        FAST: ranked[ranked["recipe"] == "serial"],
    }
    found = pd.DataFrame(
        {
            "index": searched["index"].astype(int),
            "architecture": searched["architecture"],
            "accepted": searched["index"].isin(accepted(whole)["index"]),
            BEHIND: [_trainings_behind(index, parents) for index in searched["index"]],
            INHERITED: searched["score"],
        }
    )
    for way, rows in again.items():
        found[way] = found["architecture"].map(rows.groupby("architecture")["score"].mean()).astype(float)
    return found.sort_values("index").reset_index(drop=True)


def _trainings_behind(job: int, parents: Mapping[int, float]) -> int:
    """How many fast trainings of the search its weights come from; none of the start's."""
    steps, parent = 0, parents.get(job)
    while parent is not None and not pd.isna(parent):
        steps, parent = steps + 1, parents.get(int(parent))
    return steps


def _without_the_training_behind(found: pd.DataFrame, inherited: Correlation) -> list[str]:
    if pd.isna(inherited.tau):
        return []
    behind = tau(found[INHERITED], found[BEHIND])
    left = partial_tau(found[INHERITED], found[PRETRAINED], found[BEHIND])
    said = f"The fast score and the number of accepted steps before a candidate: tau {behind}. "
    if pd.isna(left.tau):
        return [f"{said}With that taken out, nothing is left to compare."]
    lost = inherited.low > 0 >= left.low
    return [
        f"{said}With that taken out of both rankings, tau {left} is left"
        f"{': what they have in common may be no more than how long a network had been trained' * lost}."
    ]


def _of_its_steps(found: pd.DataFrame) -> list[str]:
    """The paper's own comparison."""
    steps = found[found["accepted"]]
    agreement = tau(steps[INHERITED], steps[PRETRAINED])
    if pd.isna(agreement.tau):
        return []
    return [
        f"Of the {agreement.num} networks that the search went through alone, as in the paper's figure, tau is "
        f"{agreement.tau:.2f} after pretraining and {tau(steps[INHERITED], steps[FULL]).tau:.2f} from scratch; their "
        "fast scores rise by construction."
    ]


def _verdict(agreement: Correlation) -> str:
    if pd.isna(agreement.tau):
        return "Nothing can be said of the agreement"
    if agreement.high < 0:
        return "There is disagreement"
    if agreement.low <= 0:
        return "No agreement can be told"
    return "There is clear agreement" if agreement.tau >= CLEAR else "There is some agreement"


def _partial(found: pd.DataFrame, other: str) -> str:
    left = partial_tau(found[INHERITED], found[other], found[BEHIND])
    return "" if pd.isna(left.tau) else f"{left.tau:.2f} ({_interval(left)})"


def _interval(found: Correlation) -> str:
    return "" if pd.isna(found.low) else f"{found.low:.2f} to {found.high:.2f}"


def _trained_otherwise(found: Finished, seed: int) -> Run:
    """Every network that a search has scored: in full after pretraining, in full and fast from scratch."""
    completed = found.trials[(found.trials["phase"] == "serial") & (found.trials["status"] == "completed")]
    entries = [
        {"architecture": architecture, **how}
        for architecture in dict.fromkeys(completed["architecture"])
        for how in ({"recipe": "final", "pretrain": True}, {"recipe": "final"}, {"recipe": "serial"})
    ]
    return trials("shapes", "ranked", seed, entries, final__epochs=FULL_EPOCHS)
