"""What the table of jobs says of scores: what is better, what a search has accepted, what was measured on the way.

Invariant: a gain is positive where it is one, of a metric of which less is better, too; what failed has no score and is
counted.
"""

import json

import numpy as np
import pandas as pd

from workers.metric_names import LOSS, split_step

MERIT = "merit"
"""The score with the sign that makes more of it better."""


def with_merit(results: pd.DataFrame) -> pd.DataFrame:
    """Jobs, with their `MERIT`."""
    signs = np.where(results["mode"] == "min", -1.0, 1.0)
    return results.assign(**{MERIT: signs * results["score"].astype(float)})


def metric(results: pd.DataFrame) -> str:
    """What scores are of, for a sentence or an axis: ``AP``, or ``AP or LAMR`` where data sets differ."""
    return " or ".join(dict.fromkeys(results["metric"].astype(str))) or "score"


def accepted(search: pd.DataFrame) -> pd.DataFrame:
    """The jobs of one search by which its best changed: the start, then every step it has taken, in order."""
    rows = search[search["phase"] == "serial"].sort_values("index")
    told = rows[rows["best"].notna()]
    return told[told["best"].ne(told["best"].shift()) & (told["status"] == "completed")]


def measured(results: pd.DataFrame) -> pd.DataFrame:
    """What jobs were measured to be at steps of their training.

    Args:
        results: jobs.

    Returns:
        A row for each job and step: the job's columns, but in `score` (percent) and `MERIT` the objective before that
        step, missing where it was not measured; ``step``, and ``loss``, the detector's on the validation images.
    """
    rows = []
    for job in results.to_dict("records"):
        at: dict[int, dict[str, float]] = {}
        for name, value in json.loads(job["metrics"] or "{}").items():
            if (split := split_step(name)) is not None:
                at.setdefault(split[0], {})[split[1]] = value
        for step in sorted(at):
            score = 100 * at[step].get(job["metric"], np.nan)
            rows.append({**job, "step": step, "score": score, "loss": at[step].get(LOSS, np.nan)})
    return with_merit(pd.DataFrame(rows, columns=[*results.columns, "step", "loss"]))


def failures(results: pd.DataFrame) -> list[str]:
    """A sentence on the jobs that failed, if any."""
    failed = results[results["status"] != "completed"]
    if failed.empty:
        return []
    where = ", ".join(f"{count} of `{arm}`" for arm, count in failed.groupby("arm", sort=False).size().items())
    return [f"Of {len(results)} jobs {len(failed)} failed ({where}); they count as no score."]
