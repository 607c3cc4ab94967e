"""How does the search come to its network, and where does that spend its FLOPs (SP-NAS, Figures 3 and 4b)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import searches
from experiments.studies.study import Run, Runs

DATA = ("shapes", "bccd")


class Trajectory:
    """The paper's search on two data sets: drawn shapes, and photographs of blood cells."""

    name = "trajectory"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search on each, with each seed."""
        return [run for data in DATA for run in searches(data, ("paper",), seeds)]

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
