"""What does a morph cost at once, and how soon is the parent's accuracy regained (SP-NAS, section 3.1)?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.lengths import num_steps
from experiments.studies.shared.outcomes import verdict
from experiments.studies.shared.scores import MERIT, failures, measured, metric, with_merit
from experiments.studies.shared.searches import start, trials
from experiments.studying.figures import curves, legend
from experiments.studying.statistics import Paired, paired, spread
from experiments.studying.study import Finished, Run, Runs
from models.morphism import legal_swaps
from orchestrator.report.style import new_figure

STEPS = (0, 5, 10, 20, 40, 80)
"""Of the fast scheme, where the detector is measured, as far as it goes."""

NONE = "none"
KINDS = (NONE, "swap", "expand", "new_stage", "insert")
"""Of morphs; none is the start unchanged, insert a block like that of expand with random weights."""

CLOSE = 1.0
"""Points within which two trainings are level."""

NOTHING = 0.005
"""Points that no table shows."""


class Morphs(RecordsJobs):
    """Every single morph of a start, beside the same block with random weights, measured as it trains on."""

    name = "morphs"
    question = "What does a morph cost at once, and how soon is the parent's accuracy regained?"
    claim = """SP-NAS, section 3.1: swap and expand "maintain the output unchanged as much as possible at
        initialization", so that the effect of pretraining is kept; the paper has no numbers of it."""
    method = f"""Each legal swap of the start, a block expanded after each of its blocks, a new stage, and a block of
        random weights inserted after each of its blocks (what a search without morphisms would do) is trained on by the
        fast scheme from the start's weights, on the same images in the same order. The detector is measured on the
        validation images before steps {", ".join(map(str, STEPS))}, as far as the scheme goes, and at the end. The
        start without a morph trains on in the same way: what it loses itself, since the learning rate rises again, is
        no morph's doing. The accuracy to regain is the start's before step 0. Morphs are single here, those
        of a search are chains of three."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start, then each of its morphs."""
        asked = [start("shapes", seed) for seed in seeds]
        return asked + [_morphed(finished[run.name]) for run in asked if run.name in finished]

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """By kind: at once, on the way, and in the end."""
        found, course, unit = morphed(results), _course(results), metric(results)
        at_once, back, level, kinds = [], [], [], [kind for kind in KINDS if (found["kind"] == kind).any()]
        for kind in kinds:
            rows = found[found["kind"] == kind]
            at_once.append(
                {
                    "morph": kind,
                    "trainings": len(rows),
                    f"{unit} at once": spread(rows["at once"]),
                    "loss at once": spread(rows["loss"], 3),
                    f"{unit} in the end": spread(rows["score"]),
                    "gain over none, in the end": spread(rows["gain"]),
                }
            )
            steps = {f"step {step}, %": step for step in sorted(course["step"].unique())}
            by_step = {name: _share(rows["regained"] <= step) for name, step in steps.items()}
            back.append({"morph": kind, **by_step, "the end, %": _share(rows["ever"])})
            level.append({"morph": kind, **{name: _share(rows["level"] <= step) for name, step in steps.items()}})
        return {
            "Right after a morph, and after the fast scheme": pd.DataFrame(at_once),
            "How many have been as good as the unmorphed start was, by then": pd.DataFrame(back),
            f"How many have been within {CLOSE:.0f} point of the unmorphed start that trains on": pd.DataFrame(level),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """What each kind loses at once, and what is left of that in the end."""
        found, unit = morphed(results), metric(results)
        said = [
            f"At once, {what} loses {_lost(_against(found, kind, NONE, 'lost'), unit)}."
            for kind, what in (
                ("expand", "a block by expand"),
                ("insert", "the same block with random weights"),
                ("swap", "a swap"),
                ("new_stage", "a new stage"),
            )
            if (found["kind"] == kind).any()
        ]
        said += _dip(_course(results), unit)
        for kind in KINDS[1:]:
            rows = found[found["kind"] == kind]
            if len(rows):
                said.append(_regaining(rows, kind))
        against = _against(found, "expand", "insert", "gain")
        match verdict(against):
            case "better" | "worse" as which:
                said.append(
                    f"After the fast scheme, expand is {which} than the random block: {against} points of {unit}."
                )
            case "open":
                said.append(
                    "After the fast scheme no difference between expand and the random block can be told: "
                    f"{against} points of {unit}."
                )
        return [*(said or ["Nothing was morphed."]), *failures(results)]

    def draw(self, results: pd.DataFrame) -> Figure:
        """Score and loss over the first steps, by kind: the mean of a seed's morphs."""
        course = _course(results).assign(arm=lambda rows: rows["kind"]).rename(columns={"score": metric(results)})
        figure = new_figure(2.5)
        for axes, column in zip(figure.subplots(1, 2), (metric(results), "loss"), strict=True):
            by_seed = course.groupby(["arm", "seed", "step"], sort=False)[column].mean().reset_index()
            curves(axes, by_seed, "step", column)
        legend(figure)
        return figure


def morphed(results: pd.DataFrame) -> pd.DataFrame:
    """Every morph's training.

    Returns:
        A row for each that completed: ``seed``, ``morphs``, ``kind`` (of `KINDS`); before step 0 the score ``at once``,
        the ``loss``, and ``lost``, what it is worse by than the start without a morph of the same seed; ``score`` in
        the end and the ``gain`` over that start then; ``regained``, the first measured step at which it was as good as
        that start before step 0, infinite if at none; ``level``, the first at which it was within `CLOSE` of that start
        before the same step; and ``ever``, whether it was as good as that start before step 0 then or in the end.
    """
    ended = with_merit(results[(results["arm"] == "morphed") & results["score"].notna()])
    course = _course(results)
    rows = []
    for seed, of_seed in ended.groupby("seed"):
        then = course[course["seed"] == seed]
        none = of_seed.loc[of_seed["morphs"] == "", MERIT].mean()
        goal = then.loc[(then["morphs"] == "") & (then["step"] == 0), MERIT].mean()
        for job in of_seed.to_dict("records"):
            own = then[then["index"] == job["index"]].sort_values("step")
            first = own[own["step"] == 0]
            back = own.loc[own[MERIT] >= goal, "step"]
            beside = own["step"].map(then[then["morphs"] == ""].groupby("step")[MERIT].mean())
            level = own.loc[own[MERIT] >= beside - CLOSE, "step"]
            rows.append(
                {
                    "seed": seed,
                    "morphs": job["morphs"],
                    "kind": _kind(job["morphs"]),
                    "at once": first["score"].mean(),
                    "loss": first["loss"].mean(),
                    "lost": goal - first[MERIT].mean(),
                    "score": job["score"],
                    "gain": job[MERIT] - none,
                    "regained": back.min() if len(back) else np.inf,
                    "level": level.min() if len(level) else np.inf,
                    "ever": bool(len(back)) or job[MERIT] >= goal,
                }
            )
    columns = ["seed", "morphs", "kind", "at once", "loss", "lost", "score", "gain", "regained", "level", "ever"]
    return pd.DataFrame(rows, columns=columns)


def _course(results: pd.DataFrame) -> pd.DataFrame:
    """See `measured`; with the ``kind``, in the order of `KINDS`."""
    course = measured(results[(results["arm"] == "morphed") & (results["status"] == "completed")])
    course = course.assign(kind=course["morphs"].map(_kind))
    return course.sort_values("kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable")


def _kind(morphs: str) -> str:
    return morphs.partition("(")[0] or NONE


def _against(found: pd.DataFrame, kind: str, other: str, column: str) -> Paired:
    """The means of two kinds, by seed."""
    means = found.pivot_table(index="seed", columns="kind", values=column).reindex(columns=[kind, other])
    return paired(means.iloc[:, 0], means.iloc[:, 1])


def _lost(difference: Paired, unit: str) -> str:
    if difference.num and abs(difference.mean) < NOTHING and not difference.deviation > NOTHING:
        return f"nothing ({difference.num} seed{'s' * (difference.num > 1)})"
    return f"{difference} points of {unit}"


def _regaining(rows: pd.DataFrame, kind: str) -> str:
    """How soon a kind is as good as the start was, and as the start is that trains on."""
    back, level = (_soon(float(rows[column].quantile(0.5, interpolation="higher"))) for column in ("regained", "level"))
    if (rows["regained"] == 0).all():
        back = "at step 0, never having been lost"
    return (
        f"{kind}: the accuracy that the start had is reached {back}, that of the start that trains on, but for "
        f"{CLOSE:.0f} point, {level} (medians of {len(rows)}); by the end {_share(rows['ever'])} % have reached the "
        "former."
    )


def _dip(course: pd.DataFrame, unit: str) -> list[str]:
    """What training on does to the start itself on the way."""
    means = course[course["kind"] == NONE].groupby("step")[[MERIT, "score"]].mean().reset_index().sort_values(MERIT)
    if len(means) < 2 or means[MERIT].isna().any():
        return []
    lowest, first = means.iloc[0], means.sort_values("step").iloc[0]
    return [
        f"The start without a morph goes from {first['score']:.1f} {unit} to {lowest['score']:.1f} at step "
        f"{lowest['step']:.0f} itself, as it trains on."
    ]


def _soon(step: float) -> str:
    return f"at step {step:.0f}" if np.isfinite(step) else "at no measured step"


def _share(which: pd.Series) -> str:
    return f"{100 * which.mean():.0f}" if len(which) else ""


def _morphed(started: Finished) -> Run:
    architecture = started.config.search.start_network.architecture
    blocks = range(architecture.num_blocks)
    chains = [
        "",
        *map(str, legal_swaps(architecture.stages)),
        *(f"expand({after})" for after in blocks),
        *(f"insert({after})" for after in blocks),
        "new_stage()",
    ]
    origin = (started.run.name, None)
    entries = [{"morphs": chain} for chain in chains]
    measured = [step for step in STEPS if step <= num_steps(started.config)]
    return trials("shapes", "morphed", started.run.seed, entries, origin, training__evaluate_at=measured)
