"""Is a network that was found on one data set worth as much on another (SP-NAS, supplement, Table 2)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import START_EPOCHS, search, searches, start, trials
from experiments.studies.study import Run, Runs

DATA = ("shapes", "bccd")


class Transfer:
    """What was found on each data set, and the start, trained from scratch on each."""

    name = "transfer"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Searches on both, then trainings of what they have found."""
        asked = [run for data in DATA for run in searches(data, ("paper",), seeds)]
        for seed in seeds:
            names = [search(data, "paper", seed).name for data in DATA]
            if not all(name in finished for name in names):
                continue
            best = [finished[name].state.best_overall for name in names]
            found = [str(each.spec.architecture) for each in best if each is not None]
            origin = finished[start(DATA[0], seed).name].config.start.architecture
            entries = [
                {"architecture": each, "recipe": "final", "replicate": 1} for each in dict.fromkeys([origin, *found])
            ]
            asked += [trials(data, "transferred", seed, entries, final__epochs=START_EPOCHS) for data in DATA]
        return asked

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
