"""Do samples rank as the networks do that are trained in full: Kendall's tau (MSNAS, Tables 2 and 4)?

    python -m experiments.studies.rank_correlation RUN...

A row for each run with samples. Full trainings may be another run's: those of a run with fine-tuning serve the same
networks without it, too.
"""

import argparse
from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import kendalltau

from experiments.studies.networks import networks, print_table


def rank_correlation(samples: pd.DataFrame, full: pd.DataFrame) -> dict[str, float]:
    """Kendall's tau of samples and full trainings of the same networks.

    Args:
        samples: of one run, see `networks`.
        full: of any runs; a network that was trained several times counts with its mean.

    Returns:
        How many networks have both, tau (b, which knows ties) and the probability of one that is as far from 0 if the
        ranks have nothing to do with each other. Both are NaN for less than two networks, or if all are alike.
    """
    one_shot, stand_alone = (scores.groupby("architecture")["score"].mean() for scores in (samples, full))
    both = pd.concat({"one-shot": one_shot, "stand-alone": stand_alone}, axis=1, join="inner")
    tau, p_value = kendalltau(both["one-shot"], both["stand-alone"]) if len(both) > 1 else (float("nan"), float("nan"))
    return {"networks": len(both), "tau": float(tau), "p": float(p_value)}


def table(runs: Sequence[str]) -> pd.DataFrame:
    """A row of `rank_correlation` for each run that has samples."""
    found = {run: networks(run) for run in runs}
    full = _with_role({run: trials for run, (_, trials) in found.items()}, "final")
    rows = []
    for run, (config, trials) in found.items():
        samples = _with_role({run: trials}, "candidate")
        if len(samples):
            settings = {"utilization": config.evolution.utilization, "fine-tuned": config.evolution.fine_tune}
            rows.append({"run": run, **settings, **rank_correlation(samples, full)})
    return pd.DataFrame(rows)


def _with_role(trials: Mapping[str, pd.DataFrame], role: str) -> pd.DataFrame:
    return pd.concat([frame[frame["role"] == role] for frame in trials.values()])


if __name__ == "__main__":
    print_table(argparse.ArgumentParser(description=__doc__.splitlines()[0]), table)
