"""How good are the networks that were trained in full, and how alike (MSNAS, Tables 1 to 3 and 5)?

    python -m experiments.studies.top_samples RUN...

A row for each run: a search's best samples; random networks, where the run has retrained all that it has drawn; one
network of `spnas train`, such as the FPN baseline of the same cost.
"""

import argparse
from collections.abc import Sequence

import pandas as pd

from experiments.studies.networks import networks, print_table


def top_samples(trials: pd.DataFrame) -> dict[str, float]:
    """What a run's full trainings come to, in percent of the objective.

    Args:
        trials: see `networks`.

    Returns:
        How many networks there are, their mean 10^9 multiply-adds, the mean of their scores as samples (Table 5), and
        mean, variance (of the population, as the paper's), least and greatest of their scores after full training.
    """
    full = trials[trials["role"] == "final"]
    samples = trials[(trials["role"] == "candidate") & trials["architecture"].isin(full["architecture"])]
    return {
        "networks": len(full),
        "GFLOPs": full["gflops"].mean(),
        "one-shot": samples["score"].mean(),
        "mean": full["score"].mean(),
        "var": full["score"].var(ddof=0),
        "min": full["score"].min(),
        "max": full["score"].max(),
    }


def table(runs: Sequence[str]) -> pd.DataFrame:
    """A row of `top_samples` for each run."""
    rows = []
    for run in runs:
        config, trials = networks(run)
        rows.append({"run": run, "algorithm": config.algorithm, **top_samples(trials)})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print_table(argparse.ArgumentParser(description=__doc__.splitlines()[0]), table)
