"""What does each phase of the search add, and what does reignition (SP-NAS, Table 6)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import searches
from experiments.studies.study import Run, Runs

ARMS = ("reignited", "not-reignited")


class Phases:
    """Two serial rounds and the parallel level, with and without reignition."""

    name = "phases"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Both searches of each seed."""
        return searches("shapes-phases", ARMS, seeds)

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
