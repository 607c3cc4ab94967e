"""Which rule of acceptance finds the better network at equal cost: the paper's, or one that asks for more proof?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import searches
from experiments.studies.study import Run, Runs

ARMS = ("paper", "paired-unconfirmed", "paired", "paired-thrice", "control")


class Acceptance:
    """The paper's rule, and the paired one with no, one and three confirmations."""

    name = "acceptance"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search of each."""
        return searches("shapes", ARMS, seeds)

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
