"""Is there a gain that more training of the very same network would not have given?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import searches
from experiments.studies.study import Run, Runs

ARMS = ("paper", "paired", "control")


class Control:
    """The greedy loop with morphs, beside the same loop without any."""

    name = "control"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start of each seed, and three searches from it."""
        return searches("shapes", ARMS, seeds)

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
