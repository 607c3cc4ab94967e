"""What does each phase of the search add, and what does reignition (SP-NAS, Table 6)?"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import (
    best_row,
    by_seed,
    comparisons,
    outcomes,
    plus_minus,
    shortcomings,
    sign_of,
    spent,
    summary,
    worded,
)
from experiments.studies.shared.scores import metric
from experiments.studies.shared.searches import searches
from experiments.studying.figures import curves, dots, legend
from experiments.studying.statistics import Paired, paired, spread
from experiments.studying.study import Run, Runs
from orchestrator.report.style import new_figure

ARMS = ("reignited", "not-reignited")
CONTROL = "control"
STEPS = ("start", "serial round 1", "reignition 1", "serial round 2", "reignition 2", "parallel")
PHASES = ("start", "serial round 1", "serial round 2", "parallel")
"""The rows of the paper's table."""


class Phases(RecordsJobs):
    """Two serial rounds and the parallel level, with and without reignition."""

    name = "phases"
    question = "What does each phase of the search add, and what does reignition?"
    claim = """SP-NAS, Table 6: from the baseline over serial round 1 and round 2 to the parallel level, VOC goes from
        77.1 to 81.2, 83.5 and 84.1 AP50, BDD from 36.5 to 37.2, 38.0 and 38.7 mAP, and ECP from 0.088 to 0.064, 0.061
        and 0.054 LAMR, less of which is better. A reignition ends each serial round. The paper gives one search a data
        set, no row without reignition, and no control."""
    method = """Two serial rounds and a parallel level, by the paper's rule of acceptance, with a reignition after each
        round (`reignited`) and without (`not-reignited`). A phase's score is the best so far at its end, which can't
        fall, so its gain can't be negative; beside it is the best of the phase's own networks, a reignition's being the
        refresh, the reignited network trained as a detector. `control` is the greedy loop without morphs, in one round;
        it is compared when it has trained detectors for as many epochs, or at its end. Pretraining is not counted among
        these epochs. All arms begin with the same start and end with the same full training. Smaller than the paper's:
        coloured shapes, few candidates a round, a reignition on single shapes for ImageNet, at most one subnet a
        stage."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Both searches of each seed; the control is other studies' as well."""
        return searches("shapes", (*ARMS, CONTROL), seeds)

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The paper's table for each arm; then scores and cost, and the final scores seed by seed."""
        runs, each = outcomes(results, (*ARMS, CONTROL)), steps(results)
        rows = [
            {
                "arm": arm,
                "after": step,
                "seeds": len(rows),
                "best so far": spread(rows["best"]),
                "gain": "" if step == "start" else plus_minus(_mean(rows["gain"])),
                "over control": plus_minus(_mean(rows["over"])),
                "best of its own": spread(rows["own"]),
                "epochs so far": spread(rows["epochs"], 0),
            }
            for (arm, step), rows in each.groupby(["arm", "step"], sort=False)
        ]
        table = {f"Table 6: {metric(runs)} after each phase, mean and deviation of the seeds": pd.DataFrame(rows)}
        return (table if rows else {}) | {
            "What each arm came to": summary(runs),
            f"Final {metric(runs)}, seed by seed": by_seed(runs),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """The arms against the control and each other; each phase's gain; what reignition does to the network."""
        runs, each = outcomes(results, (*ARMS, CONTROL)), steps(results)
        unit = metric(runs)
        said = [
            comparisons(runs, [(arm, CONTROL) for arm in ARMS]),
            comparisons(runs, [ARMS]),
        ]
        for arm, of_arm in each.groupby("arm", sort=False):
            gains = [
                f"{step} {plus_minus(_mean(rows['gain']))}"
                for step in PHASES[1:]
                if len(rows := of_arm[of_arm["step"] == step])
            ]
            if not gains:
                continue
            last = of_arm.groupby("seed").last()
            said.append(
                f"Phase by phase, `{arm}`'s best {unit} gains: {', '.join(gains)}. "
                + worded(_mean(last["over"]), str(arm), CONTROL, f"best {unit} after all phases")
            )
        for step in STEPS:
            rows = each[each["step"] == step]
            if step.startswith("reignition") and len(rows):
                said.append(
                    f"The refresh of {step} scores {spread(rows['own'])} {unit} itself, against the best before it: "
                    f"{_mean(rows['change'])}."
                )
        second = each[each["step"] == "serial round 2"].pivot_table(index="seed", columns="arm", values="signed")
        if set(ARMS) <= set(second.columns):
            difference = paired(second[ARMS[0]], second[ARMS[1]])
            said.append(worded(difference, *ARMS, f"the best {unit} of round 2's own networks"))
        for arm, rows in each[each["step"] == "parallel"].groupby("arm", sort=False):
            better = int((rows["gain"] > 0).sum())
            said.append(f"The parallel level of `{arm}` found a better network with {better} of {len(rows)} seeds.")
        return said + shortcomings(results, runs, (*ARMS, CONTROL))

    def draw(self, results: pd.DataFrame) -> Figure:
        """The best after each phase beside the control's at equal epochs, with the refreshes' own; the final scores."""
        runs, each, unit = outcomes(results, (*ARMS, CONTROL)), steps(results), metric(results)
        label = f"own best {unit}"
        each = each.assign(phase=each["step"].map({step: place for place, step in enumerate(PHASES)}))
        beside = each[each["arm"] == ARMS[0]].assign(arm=f"{CONTROL}, as many epochs", best=each["control"])
        lines = pd.concat([each, beside]).dropna(subset=["phase", "best"]).rename(columns={"best": label})
        figure = new_figure(2.9)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        curves(left, lines, "phase", label)
        left.set_xticks(range(len(PHASES)), [step.replace("serial ", "serial\n") for step in PHASES])
        left.set_xlabel("after")
        refreshed = each[each["step"].str.startswith("reignition")]
        places = refreshed["step"].map({"reignition 1": 1.5, "reignition 2": 2.5})
        left.scatter(places, refreshed["own"], s=14, marker="x", color="black", linewidths=0.8, label="refresh")
        dots(right, runs.rename(columns={"final": f"final {unit}"}), f"final {unit}")
        legend(figure)
        return figure


def steps(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each of `STEPS` that a search with phases has gone through.

    Returns:
        ``arm``, ``seed``, ``step``; ``best`` so far at its end; ``gain`` over the step before, and ``over`` the
        ``control`` after as many ``epochs`` (more is better, whatever the metric); ``own``, the best score of its own
        networks, ``signed`` so that more is better, and by how much that is a ``change`` of the best before.
    """
    columns = ["arm", "seed", "step", "best", "gain", "over", "control", "epochs", "own", "signed", "change"]
    found = []
    for arm in ARMS:
        for seed, rows in results[results["arm"] == arm].groupby("seed"):
            control = results[(results["arm"] == CONTROL) & (results["seed"] == seed) & (results["role"] != "final")]
            sign, before = sign_of(rows), float("nan")
            for step, part in _parts(rows.assign(spent=spent(rows, "epochs"))):
                best, epochs = part["best"].iloc[-1], part["spent"].iloc[-1]
                own = best_row(part, sign)
                score = float("nan") if own is None else float(own["score"])
                beside = _best_after(control, epochs)
                values = (best, sign * (best - before), sign * (best - beside), beside, epochs, score, sign * score)
                found.append((arm, seed, step, *values, sign * (score - before)))
                before = best
    return pd.DataFrame(found, columns=columns)


def _mean(differences: pd.Series) -> Paired:
    """Differences that are there already, as `paired` has them."""
    return paired(differences, 0 * differences)


def _parts(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The jobs of each of `STEPS` that has any."""
    serial, refresh = rows["phase"] == "serial", rows["role"].isin(["pretrain", "refresh"])
    start = serial & (rows["role"] == "start")
    masks = [start]
    for number in (1, 2):
        of_round = serial & (rows["round"] == number) & ~start
        masks += [of_round & ~refresh, of_round & refresh]
    for step, mask in zip(STEPS, [*masks, rows["phase"] == "parallel"], strict=True):
        if mask.any():
            yield step, rows[mask]


def _best_after(rows: pd.DataFrame, epochs: float) -> float:
    """A search's best once its detectors have had so many epochs, or at its end; NaN for none."""
    within = rows["best"].to_numpy()[spent(rows, "epochs") <= epochs]
    return float(within[-1]) if len(within) else float(np.nan)
