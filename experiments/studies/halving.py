"""Does it keep the winner to stop hopeless candidates after their first epoch (successive halving)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.children import children
from experiments.studies.jobs import jobs
from experiments.studies.searches import start
from experiments.studies.study import Run, Runs


class Halving:
    """Children of one start, measured after every epoch of the fast scheme."""

    name = "halving"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start, then its children."""
        asked = [start("shapes", seed) for seed in seeds]
        return asked + [children(run.seed, finished[run.name]) for run in asked if run.name in finished]

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
