"""Does the fast scheme rank networks as full training does (SP-NAS, Figure 4a)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import search, searches, trials
from experiments.studies.study import Finished, Run, Runs

FULL_EPOCHS = 20


class Ranking:
    """The networks of a search, trained by the fast scheme from scratch and in full, with and without pretraining."""

    name = "ranking"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The paper's search, then all its networks; one seed has twenty of them, so one is enough."""
        asked = searches("shapes", ("paper",), seeds[:1])
        for seed in seeds[:1]:
            found = finished.get(search("shapes", "paper", seed).name)
            if found is not None:
                asked.append(_trained_otherwise(found, seed))
        return asked

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))


def _trained_otherwise(found: Finished, seed: int) -> Run:
    """Every network that a search has scored: in full after pretraining, in full and fast from scratch."""
    completed = found.trials[(found.trials["phase"] == "serial") & (found.trials["status"] == "completed")]
    entries = [
        {"architecture": architecture, **how}
        for architecture in dict.fromkeys(completed["architecture"])
        for how in ({"recipe": "final", "pretrain": True}, {"recipe": "final"}, {"recipe": "serial"})
    ]
    return trials("shapes", "ranked", seed, entries, final__epochs=FULL_EPOCHS)
