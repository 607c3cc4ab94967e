"""Random search, what an evolution has to beat: as many samples, all drawn at random (MSNAS, section 3.4).

Invariant: all but how samples are found is as in `msnas`: the super-net, the window, the generations and their sizes,
the retraining of the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.msnas_encoding import MultiScale
from orchestrator.search.evolution import Selection
from orchestrator.search.settings import EvolutionSettings


@dataclass(frozen=True)
class AtRandom:
    """Every sample is a random network of the space."""

    settings: EvolutionSettings
    name: str = "random search"

    def fill(
        self, selection: Selection, rng: np.random.Generator, parents: Sequence[MultiScale], generation: int
    ) -> None:
        """Take a generation's networks, whatever came before it."""
        selection.add_random(rng, self.settings.num_samples(generation))
