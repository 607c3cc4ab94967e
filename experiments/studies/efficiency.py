"""Does SP-NAS find better networks than random search at equal cost (SP-NAS, Table 9)?"""

from collections.abc import Sequence

import pandas as pd

from experiments.studies.jobs import jobs
from experiments.studies.random_networks import random_networks
from experiments.studies.searches import START_EPOCHS, full_training, search, searches, start, trials
from experiments.studies.study import Finished, Run, Runs
from models.architecture import Architecture

ARMS = ("paper", "paired", "control", "fresh")
RANDOM = ("random-many", "random-long")


class Efficiency:
    """Searches beside random networks: as many of them, and as few as can be trained for long at the same cost."""

    name = "efficiency"

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """Searches; random networks of the size of the paper's find; and all that is found, trained from scratch."""
        asked = searches("shapes", ARMS, seeds)
        for seed in seeds:
            found = finished.get(search("shapes", "paper", seed).name)
            if found is None:
                continue
            drawn = _random_searches(found, seed)
            finals = [full_training("shapes", f"{run.arm}-final", seed, run) for run in drawn]
            asked += [*drawn, *(run for run in finals if run.origin is not None and run.origin[0] in finished)]
            names = [start("shapes", seed).name, *(search("shapes", arm, seed).name for arm in ARMS)]
            names += [run.name for run in finals]
            if all(name in finished for name in names):
                asked.append(_from_scratch([finished[name] for name in names], seed))
        return asked

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """See `jobs`."""
        return jobs(finished[run.name] for run in self.runs(seeds, finished))


def _random_searches(found: Finished, seed: int) -> list[Run]:
    """As many random networks as the search has trained, each as its candidates were; and few, each for long."""
    like = _architecture(found)
    # The recipe of its jobs but the last is the fast scheme.
    num_jobs = int((found.trials["phase"] == "serial").sum())
    epochs = num_jobs * (found.config.recipe("serial").epochs or 0)
    many = [str(each) for each in random_networks(like, num_jobs, seed)]
    long = many[: max(1, round(epochs / START_EPOCHS))]
    return [
        trials("shapes", "random-many", seed, [{"architecture": each} for each in many]),
        trials(
            "shapes",
            "random-long",
            seed,
            [{"architecture": each, "recipe": "final"} for each in long],
            final__epochs=START_EPOCHS,
        ),
    ]


def _from_scratch(runs: Sequence[Finished], seed: int) -> Run:
    """What runs have come to, trained from scratch for as long as the start was: the networks' worth alone."""
    different = dict.fromkeys(str(_architecture(each)) for each in runs)
    entries = [{"architecture": each, "recipe": "final", "replicate": 1} for each in different]
    return trials("shapes", "from-scratch", seed, entries, final__epochs=START_EPOCHS)


def _architecture(finished: Finished) -> Architecture:
    best = finished.state.best_overall
    assert best is not None, f"{finished.run.name} has come to nothing"
    return best.network.architecture
