"""What does a morph cost at once, and how soon is the parent's accuracy regained (SP-NAS, section 3.1)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.searches import start, trials
from experiments.studies.study import Finished, Run, Runs
from models.morphism import legal_swaps

STEPS = (0, 5, 10, 20, 40, 80)
"""Of the fast scheme, where the detector is measured."""


class Morphs:
    """Every single morph of a start, beside the same block with random weights, measured as it trains on."""

    name = "morphs"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start, then each of its morphs."""
        asked = [start("shapes", seed) for seed in seeds]
        return asked + [_morphed(finished[run.name]) for run in asked if run.name in finished]

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))


def _morphed(started: Finished) -> Run:
    architecture = started.config.search.start_network.architecture
    blocks = range(architecture.num_blocks)
    chains = [
        "",
        *map(str, legal_swaps(architecture)),
        *(f"expand({after})" for after in blocks),
        *(f"insert({after})" for after in blocks),
        "new_stage()",
    ]
    origin = (started.run.name, None)
    entries = [{"morphs": chain} for chain in chains]
    return trials("shapes", "morphed", started.run.seed, entries, origin, training__evaluate_at=list(STEPS))
