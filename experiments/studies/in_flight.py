"""What does it cost in accuracy that several candidates are under way at a time, and what does it gain in time?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import searches
from experiments.studies.study import Run, Runs

ARMS = {"in-flight-1": 1, "paper": 4, "in-flight-16": 16}


class InFlight:
    """The same search with one, four and sixteen candidates under way."""

    name = "in-flight"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search of each."""
        return searches("shapes", tuple(ARMS), seeds)

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))
