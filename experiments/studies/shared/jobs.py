"""What most studies record: every job of their runs, in one table.

Invariant: scores are the objective's metric in percent, and comparable within a data set alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.studying.study import Finished, Run, Runs

COLUMNS = {
    "data": "the data set",
    "arm": "what sets the run apart",
    "seed": "the run's",
    "index": "the job's place in its run",
    "role": "as in the trials table, as the following",
    "phase": "",
    "round": "",
    "architecture": "",
    "parent": "",
    "backbone": "",
    "morphs": "",
    "replicate": "the last number of the training's seed",
    "recipe": "",
    "status": "",
    "metric": "the objective's name",
    "mode": "`max` if more of it is better, else `min`",
    "score": "the objective in percent",
    "best": "the score of the search's best once this job was told, in percent; its own first score until confirmed",
    "gflops": "10^9 multiply-adds of the backbone on one image",
    "parameters": "",
    "seconds": "of training, evaluation included",
    "epochs": "that it has trained for; missing where it is iterations",
    "metrics": "every metric by its name, as JSON, fractions",
}


def jobs(runs: Iterable[Finished]) -> pd.DataFrame:
    """The jobs of runs, in order: `COLUMNS`."""
    return pd.concat([_jobs(each) for each in runs], ignore_index=True)


def _jobs(finished: Finished) -> pd.DataFrame:
    run, trials = finished.run, finished.trials
    return trials.assign(
        data=run.data,
        arm=run.arm,
        seed=run.seed,
        replicate=[int(text.split()[-1]) for text in trials["seed"]],
        metric=finished.config.objective.metric,
        mode=finished.config.objective.mode,
        score=100 * trials["score"],
        best=100 * trials["best"],
        epochs=[finished.config.recipe(recipe).epochs or float("nan") for recipe in trials["recipe"]],
    )[list(COLUMNS)]


class RecordsJobs(ABC):
    """A study that records the jobs of all its runs."""

    @abstractmethod
    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """See `Study`."""

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
