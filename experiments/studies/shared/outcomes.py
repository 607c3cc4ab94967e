"""What searches have come to and what that cost: a row for each, made of its jobs, and how arms are compared.

Invariant: arms are compared seed by seed, and a difference is called one only if its interval leaves out zero. A
`final` score is of a further training with a seed of its own; `best` is the highest of many draws, and lucky.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.studies.shared.scores import failures, metric
from experiments.studying.statistics import Paired, paired, spread

FINAL = "-final"
"""Ends the arm whose one training is the full training of what another arm has found."""

COLUMNS = {
    "data": "the data set",
    "arm": "",
    "seed": "",
    "metric": "the objective's name",
    "sign": "1 if more of it is better, else -1",
    "start": "score of its first network",
    "mean": "of all scores before the full training",
    "best": "the search's own best score",
    "final": "score of what it has found, after the full training",
    "architecture": "of what it has found",
    "gflops": "of the same",
    "growth": "how many times the first network's multiply-adds that is",
    "steps": "morphed ancestors of what it has found, itself among them",
    "depth": "epochs behind the weights of what it has found, within the run and with the full training",
    "trainings": "of detectors, completed, without the full training",
    "epochs": "of these",
    "seconds": "of all its jobs but the full training",
    "failed": "jobs",
}


def outcomes(results: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """What these arms have come to: `COLUMNS`, by arm, in their order, then by seed.

    Args:
        results: see `jobs`.
        arms: those that have no run are left out.
    """
    runs = {key: rows for key, rows in results.groupby(["data", "arm", "seed"])}
    found = [
        _outcome(runs[data, arm, seed], runs.get((data, arm + FINAL, seed)))
        for wanted in arms
        for data, arm, seed in runs
        if arm == wanted and (runs[data, arm, seed]["role"] != "final").any()
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _outcome(rows: pd.DataFrame, full: pd.DataFrame | None) -> dict[str, object]:
    searched = rows[rows["role"] != "final"]
    completed = searched[(searched["status"] == "completed") & (searched["role"] != "pretrain")]
    first, sign = rows.iloc[0], sign_of(rows)
    whole = rows if full is None else full
    final = whole[(whole["role"] == "final") & (whole["status"] == "completed")]
    found = best_row(searched, sign) if final.empty else final.iloc[0]
    ancestors = list(_lineage(rows, rows.iloc[0] if found is None else found))
    if full is not None and not final.empty and (best := best_row(searched, sign)) is not None:
        ancestors += _lineage(rows, best)  # its own table has the full training alone
    return {
        **{name: first[name] for name in ("data", "arm", "seed", "metric")},
        "sign": sign,
        "start": first_score(searched),
        "mean": completed["score"].mean(),
        "best": searched["best"].dropna().iloc[-1] if searched["best"].notna().any() else np.nan,
        "final": np.nan if final.empty else final["score"].iloc[0],
        "architecture": None if found is None else found["architecture"],
        "gflops": np.nan if found is None else found["gflops"],
        "growth": np.nan if found is None else found["gflops"] / first["gflops"],
        "steps": sum(bool(each["morphs"]) for each in ancestors),
        "depth": float(np.nansum([each["epochs"] for each in ancestors])),
        "trainings": len(completed),
        "epochs": completed["epochs"].sum(),
        "seconds": searched["seconds"].sum(),
        "failed": int((rows["status"] == "failed").sum()),
    }


def best_row(rows: pd.DataFrame, sign: int) -> pd.Series | None:
    """The completed job with the best score, the first of them; None without any."""
    scores = (sign * rows["score"]).where(rows["status"] == "completed")
    return None if scores.isna().all() else rows.iloc[int(np.nanargmax(scores))]


def first_score(rows: pd.DataFrame) -> float:
    """The score of a search's start; NaN for what has none."""
    started = rows.loc[(rows["role"] == "start") & (rows["phase"] == "serial"), "score"]
    return float("nan") if started.empty else float(started.iloc[0])


def _lineage(rows: pd.DataFrame, job: pd.Series) -> Iterator[Mapping[Hashable, Any]]:
    """A job, its parent, and so on."""
    by_index = {row["index"]: row for row in rows[["index", "parent", "morphs", "epochs"]].to_dict("records")}
    link: Mapping[Hashable, Any] | None = job.to_dict()
    while link is not None:
        yield link
        link = by_index.get(link["parent"])


def sign_of(rows: pd.DataFrame) -> int:
    """1 if more of the objective is better, else -1."""
    return 1 if rows["mode"].iloc[0] == "max" else -1


# ---- arms beside each other --------------------------------------------------------------------------------------


def gain(runs: pd.DataFrame, arm: str, than: str, column: str = "final") -> Paired:
    """What an arm has over another, seed by seed; more is better, whatever the metric."""
    values = (runs["sign"] * runs[column]).groupby([runs["arm"], runs["data"], runs["seed"]]).first()
    sides = [values.xs(name) if name in values.index else values.iloc[:0].droplevel(0) for name in (arm, than)]
    both = pd.concat(sides, axis=1, keys=("a", "b"))
    return paired(both["a"], both["b"])


def verdict(difference: Paired) -> str:
    """Which way a difference goes: ``better``, ``worse``, ``open``; ``none`` without a pair to tell by."""
    if difference.num == 0:
        return "none"
    if difference.num == 1 or (difference.num == 2 and difference.deviation == 0):  # two equal ones are chance, too
        return "open"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "open"


def compared(runs: pd.DataFrame, arm: str, than: str, column: str = "final", what: str = "") -> str:
    """How an arm does against another, as a sentence with its numbers.

    Args:
        runs: see `outcomes`.
        arm: that is judged.
        than: what it is judged against.
        column: of `runs`.
        what: it is of, such as ``final AP``; by default the column with the metric.
    """
    return worded(gain(runs, arm, than, column), arm, than, what or f"{column} {metric(runs)}")


def comparisons(runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], column: str = "final", what: str = "") -> str:
    """A sentence of `compared` for each pair of arms that have a seed in common; the first pair's in any case."""
    there = [pair for pair in pairs if gain(runs, *pair, column).num]
    return " ".join(compared(runs, *pair, column, what) for pair in there or pairs[:1])


def worded(difference: Paired, arm: str, than: str, what: str) -> str:
    """A difference as a sentence with its numbers."""
    match verdict(difference):
        case "better":
            return f"In {what}, `{arm}` is better than `{than}`: {difference}."
        case "worse":
            return f"In {what}, `{arm}` is worse than `{than}`: {difference}."
        case "none":
            return f"In {what}, nothing can be said of `{arm}` against `{than}`: no seed has both."
    number = f"{difference.num} seed{'s' * (difference.num > 1)}"
    return f"In {what}, no gain of `{arm}` over `{than}` can be told from {number}: {difference}."


def plus_minus(difference: Paired) -> str:
    """A difference for a table: ``+0.82 ± 1.10``."""
    if difference.num == 0:
        return ""
    return f"{difference.mean:+.2f}" + (f" ± {difference.deviation:.2f}" if difference.num > 1 else "")


def summary(runs: pd.DataFrame, than: str = "control") -> pd.DataFrame:
    """A row for each arm: means and deviations of its seeds, and what it has over another."""
    rows = []
    for arm, of_arm in runs.groupby("arm", sort=False):
        rows.append(
            {
                "arm": arm,
                "seeds": len(of_arm),
                "start": spread(of_arm["start"]) if of_arm["start"].notna().any() else "",
                "own best": spread(of_arm["best"]),
                f"final {metric(runs)}": spread(of_arm["final"]),
                f"over {than}": "" if arm == than else plus_minus(gain(runs, str(arm), than)),
                "multiply-adds, times the start's": spread(of_arm["growth"], 2),
                "trainings": spread(of_arm["trainings"], 0),
                "epochs": spread(of_arm["epochs"], 0),
                "minutes": spread(of_arm["seconds"] / 60),
            }
        )
    return pd.DataFrame(rows)


def by_seed(runs: pd.DataFrame, column: str = "final") -> pd.DataFrame:
    """A row for each seed, with a column for each arm."""
    table = runs.pivot_table(index="seed", columns="arm", values=column, aggfunc="first", dropna=False, sort=False)
    return table.reindex(columns=list(dict.fromkeys(runs["arm"]))).sort_index().rename_axis(columns=None).reset_index()


def shortcomings(results: pd.DataFrame, runs: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """What failed and what is missing, as sentences: none if nothing did and is."""
    said = failures(results)
    if missing := [f"`{arm}`" for arm in arms if arm not in set(runs["arm"])]:
        said.append(f"There is no run of {', '.join(missing)}.")
    seeds = results["seed"].nunique()
    short = [f"`{arm}` {len(of_arm)}" for arm, of_arm in runs.groupby("arm", sort=False) if len(of_arm) < seeds]
    if short:
        said.append(f"Not every arm has all {seeds} seeds: {', '.join(short)}.")
    if seeds == 1:
        said.append("All this is of one seed, which says nothing of chance.")
    return said


# ---- over the course of a search ---------------------------------------------------------------------------------


def course(results: pd.DataFrame, arms: Sequence[str], by: str) -> pd.DataFrame:
    """The search's best so far, in steps: rows of ``arm``, ``seed``, `by`, ``best``.

    A search that is over keeps its best to the end of the longest, so that a mean is always of the same seeds.

    Args:
        results: see `jobs`.
        arms: in the order in which they are to be drawn.
        by: ``trainings`` or ``epochs``, of detectors, so far.
    """
    searched = results[results["role"] != "final"]
    lines = {}
    for arm in arms:
        for seed, rows in searched[searched["arm"] == arm].groupby("seed"):
            line = pd.Series(rows["best"].to_numpy(), index=spent(rows, by))
            lines[arm, seed] = line[(line.index > 0) & ~line.index.duplicated(keep="last")]
    places = sorted({float(place) for line in lines.values() for place in line.index})
    drawn = []
    for (arm, seed), line in lines.items():
        steps = line.reindex(places, method="ffill").dropna()
        drawn.append(pd.DataFrame({"arm": arm, "seed": seed, by: steps.index, "best": steps.to_numpy()}))
    columns = ["arm", "seed", by, "best"]
    return pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame(columns=columns)


def spent(rows: pd.DataFrame, by: str) -> np.ndarray:
    """What a search's detectors had cost once each of its jobs was told, ``trainings`` or ``epochs``."""
    counts = (rows["status"] == "completed") & (rows["role"] != "pretrain")
    each = counts * (1.0 if by == "trainings" else rows["epochs"].fillna(0))
    return np.asarray(each.cumsum(), float)
