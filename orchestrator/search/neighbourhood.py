"""What swaps and expansions of a baseline reach (SP-NAS, section 3.1).

Invariant: what is drawn depends on the baseline, on what is known and on the generator alone.
"""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from numpy.random import Generator

from models.architecture import Architecture
from models.morphism import Expand, Morph, NewStage, Swap, legal_expansions, legal_swaps, restaged
from orchestrator.search.settings import SearchSettings

# Draws of a candidate before the neighbourhood is listed; a draw that is known is rare until little is left.
MAX_REDRAWS = 100

# Encodings, forbidden ones among them, after which none still further away are listed; checked after each distance.
# It takes some seconds. From ResNet-50, within the default limits, three morphs reach 417 encodings, ten 542,537.
MAX_LISTED = 100_000

Stages = tuple[str, ...]


@dataclass(frozen=True)
class Neighbourhood:
    """The encodings that at most `num_morphs` morphs reach within the limits."""

    settings: SearchSettings

    def draw(self, baseline: Architecture, known: Container[str], rng: Generator) -> tuple[Morph, ...] | None:
        """`num_morphs` random morphs that give an encoding that is not known, or None where nothing new is left.

        Where nearly all are known, the neighbourhood is listed from the baseline outwards, and one of the nearest that
        are not known is taken, with as few morphs as it needs. Where more than `MAX_LISTED` are nearer than the next
        ones, known or beyond the limits of cost, nothing new counts as left.
        """
        for _ in range(MAX_REDRAWS):
            stages, morphs = self._random_walk(baseline.stages, rng)
            encoding = Architecture(baseline.block, stages)
            if str(encoding) not in known and self._allows(encoding):
                return morphs
        listed = 0
        for distance in range(1, self.settings.serial.num_morphs + 1):
            remaining = [morphs for encoding, morphs in self._allowed(baseline, distance) if encoding not in known]
            if remaining:
                return remaining[rng.integers(len(remaining))]
            listed += len(self._reached(baseline.stages, distance))
            if listed > MAX_LISTED:
                break
        return None

    def _random_walk(self, stages: Stages, rng: Generator) -> tuple[Stages, tuple[Morph, ...]]:
        """Where random morphs lead to, each a swap or an expansion with the same probability."""
        morphs: list[Expand | NewStage | Swap] = []
        for _ in range(self.settings.serial.num_morphs):
            swaps, expansions = self._legal(stages)
            # A swap right after the same swap would only undo it, and waste two of the modifications.
            kinds = [kind for kind in (tuple(m for m in swaps if m not in morphs[-1:]), expansions) if kind]
            if not kinds:
                break
            kind = kinds[rng.integers(len(kinds))]
            morphs.append(kind[rng.integers(len(kind))])
            stages = restaged(stages, morphs[-1])
        return stages, tuple(morphs)

    def _legal(self, stages: Stages) -> tuple[tuple[Swap, ...], tuple[Expand | NewStage, ...]]:
        serial = self.settings.serial
        expansions = legal_expansions(stages, max_blocks=serial.max_blocks, max_stages=serial.max_stages)
        return legal_swaps(stages), expansions

    def _allows(self, architecture: Architecture) -> bool:
        return self.settings.serial.allow(architecture, self.settings.start_network, self.settings.image_size)

    @cached_property
    def _allowed(self) -> Callable[[Architecture, int], list[tuple[str, tuple[Morph, ...]]]]:
        """`_list_allowed`, which remembers the last baseline's."""
        return lru_cache(maxsize=self.settings.serial.num_morphs)(self._list_allowed)

    @cached_property
    def _reached(self) -> Callable[[Stages, int], dict[Stages, tuple[Morph, ...]]]:
        """`_reach`, which remembers the last baseline's."""
        return lru_cache(maxsize=self.settings.serial.num_morphs + 1)(self._reach)

    def _list_allowed(self, baseline: Architecture, distance: int) -> list[tuple[str, tuple[Morph, ...]]]:
        """Every allowed encoding that takes so many morphs, in order, with one chain of them."""
        reached = sorted(self._reached(baseline.stages, distance).items())
        encodings = [(Architecture(baseline.block, stages), morphs) for stages, morphs in reached]
        return [(str(encoding), morphs) for encoding, morphs in encodings if self._allows(encoding)]

    def _reach(self, baseline: Stages, distance: int) -> dict[Stages, tuple[Morph, ...]]:
        """All stages that take so many morphs and no fewer, with one chain of them."""
        if distance == 0:
            return {baseline: ()}
        nearer = [self._reached(baseline, each) for each in range(distance)]
        found: dict[Stages, tuple[Morph, ...]] = {}
        for stages, morphs in nearer[-1].items():
            for morph in self._distinct(stages):
                reached = restaged(stages, morph)
                if not any(reached in each for each in nearer):
                    found.setdefault(reached, (*morphs, morph))
        return found

    def _distinct(self, stages: Stages) -> Iterator[Expand | NewStage | Swap]:
        """The legal morphs, but of expansions only one for each run of plain blocks: all of these give the same."""
        swaps, expansions = self._legal(stages)
        yield from swaps
        blocks, firsts = "".join(stages), set(accumulate(map(len, stages)))
        for morph in expansions:
            if not (
                isinstance(morph, Expand) and blocks.startswith("1", morph.after + 1) and morph.after + 1 not in firsts
            ):
                yield morph
