"""Many children of one start, each trained with several seeds: what the fast scheme's scores are worth.

Invariant: a child's trainings differ in their seed alone, and all children of a replicate see the same images in the
same order, as those of a search do.
"""

from collections.abc import Sequence

from experiments.studies.shared.lengths import ends_of_epochs
from experiments.studies.shared.searches import start, trials
from experiments.studying.study import Finished, Run
from models.morphism import Morph, apply_all
from orchestrator.search.protocol import Baseline, SearchState
from orchestrator.search.serial import SerialLevel

NUM_CHILDREN = 20
REPLICATES = 3


def children(seed: int, started: Finished) -> Run:
    """The start without a morph and its children, each `REPLICATES` times, measured after each epoch."""
    chains = ["", *(" ".join(map(str, morphs)) for morphs in draw_children(started))]
    entries = [{"morphs": chain, "replicate": replicate} for replicate in range(REPLICATES) for chain in chains]
    origin = (start("shapes", seed).name, None)
    return trials("shapes", "children", seed, entries, origin, training__evaluate_at=ends_of_epochs(started.config))


def draw_children(started: Finished) -> Sequence[tuple[Morph, ...]]:
    """Morphs as the serial level draws them, for different networks."""
    search = started.config.search
    level = SerialLevel(search)
    state = SearchState(baseline=Baseline(0, 0.0, search.start_network), known={str(search.start_network.architecture)})
    drawn = []
    for index in range(1, NUM_CHILDREN + 1):
        morphs = level.draw(state, index)
        if morphs is None:
            break
        drawn.append(morphs)
        state.known.add(str(apply_all(search.start_network, morphs).architecture))
    return drawn
