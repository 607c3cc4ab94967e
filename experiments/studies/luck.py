"""How noisy is the fast scheme, and how often is "better" luck?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.children import children
from experiments.studies.jobs import jobs
from experiments.studies.searches import search, searches, start, trials
from experiments.studies.study import Finished, Run, Runs

REPLICATES = (1, 2, 3)
"""Seeds beside the one by which a step was accepted, which is 0."""


class Luck:
    """Children of one start with several seeds; and the steps that a search has accepted, taken again."""

    name = "luck"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The paper's search, then its steps with further seeds, beside as much training without a morph."""
        asked = searches("shapes", ("paper",), seeds)
        for seed in seeds:
            if (started := finished.get(start("shapes", seed).name)) is not None:
                asked.append(children(seed, started))
            if (found := finished.get(search("shapes", "paper", seed).name)) is not None:
                asked += steps_again(found)
        return asked

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))


def steps_again(found: Finished) -> list[Run]:
    """A run for each step that a search has accepted: the child and its parent unchanged, with further seeds."""
    accepted = found.trials[found.trials["is_baseline"] & (found.trials["role"] == "candidate")]
    return [
        trials(
            "shapes",
            f"step-{index}",
            found.run.seed,
            [{"morphs": morphs, "replicate": each} for each in REPLICATES for morphs in (text, "")],
            (found.run.name, int(parent)),
        )
        for index, parent, text in zip(accepted["index"], accepted["parent"], accepted["morphs"], strict=True)
    ]
