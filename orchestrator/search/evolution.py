"""The samples of a generation: random ones, and children of the fittest (MSNAS, section 3.4 and Algorithm 1).

Pure functions of a generator: nothing here knows jobs or remembers anything.

Invariant: what is given are different networks of the space, none of those known, each with a cost within the window;
there may be fewer than were asked for, since the number of attempts is bounded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from models.msnas_encoding import STRIDES, MultiScale, SearchSpace

DRAWS_PER_NETWORK = 1000
"""Random draws for each random network that is asked for; the paper leaves open how many are enough."""

T = TypeVar("T")


@dataclass
class Selection:
    """Gathers networks of a space (the paper's Select and its constraints C).

    Attributes:
        space: what they belong to.
        in_window: whether a network costs what it may.
        known: encodings that are not wanted; grows with what is taken.
        taken: the networks in the order of their drawing.
    """

    space: SearchSpace
    in_window: Callable[[MultiScale], bool]
    known: set[str] = field(default_factory=set)
    taken: list[MultiScale] = field(default_factory=list)

    def offer(self, network: MultiScale | None) -> None:
        """Take a network if it is new and costs what it may; None is a child that the space does not have."""
        if network is not None and (encoding := str(network)) not in self.known and self.in_window(network):
            self.known.add(encoding)
            self.taken.append(network)

    def add_random(self, rng: np.random.Generator, count: int) -> None:
        """Take random networks, each of the space's with the same probability (GetValidRandomSample)."""
        target = len(self.taken) + count
        for _ in range(DRAWS_PER_NETWORK * count):
            if len(self.taken) == target:
                return
            self.offer(self.space.draw(rng))

    def add_children(
        self, rng: np.random.Generator, parents: Sequence[MultiScale], count: int, probability: float, attempts: int
    ) -> None:
        """Take children of a population (lines 5 to 8 of Algorithm 1).

        Args:
            rng: where the draws come from.
            parents: the population.
            count: children that are wanted.
            probability: of each stride to be drawn anew in a mutation.
            attempts: rounds of one crossover and one mutation of each part.
        """
        variation = Variation(self.space, rng, parents, probability)
        target = len(self.taken) + count
        for _ in range(attempts):
            for child in variation.children():
                if len(self.taken) == target:
                    return
                self.offer(child)


@dataclass(frozen=True)
class Variation:
    """Crossover and mutation of a population.

    A crossover takes each stride from one or the other of two parents, a mutation draws each anew with a probability,
    as in single-path one-shot search (Guo et al., 2019), which the paper builds on and which leaves nothing open here.
    The part that is not varied is the first parent's.

    Attributes:
        space: what children have to belong to.
        rng: where the draws come from.
        parents: the population.
        probability: of each stride to be drawn anew in a mutation.
    """

    space: SearchSpace
    rng: np.random.Generator
    parents: Sequence[MultiScale]
    probability: float

    def children(self) -> Iterator[MultiScale | None]:
        """One child of each operator, None where the space does not have it."""
        yield self._encoder_crossover()
        yield self._encoder_mutation()
        if self.space.utilization != "fpn":  # there the heads are given
            yield self._heads_crossover()
            yield self._heads_mutation()

    def _encoder_crossover(self) -> MultiScale | None:
        first, second = self._parent(), self._parent()
        return self._built(self._mixed(first.strides, second.strides), first.heads)

    def _encoder_mutation(self) -> MultiScale | None:
        parent = self._parent()
        return self._built(self._mutated(parent.strides, STRIDES), parent.heads)

    def _heads_crossover(self) -> MultiScale | None:
        first, second = self._parent(), self._parent()
        return self._built(first.strides, self._mixed(first.heads, second.heads))

    def _heads_mutation(self) -> MultiScale | None:
        parent = self._parent()
        return self._built(parent.strides, self._mutated(parent.heads, sorted(set(parent.feature_strides))))

    def _parent(self) -> MultiScale:
        return self.parents[int(self.rng.integers(len(self.parents)))]

    def _mixed(self, first: Sequence[T], second: Sequence[T]) -> tuple[T, ...]:
        chosen = self.rng.integers(2, size=len(first))
        return tuple(pair[which] for pair, which in zip(zip(first, second, strict=True), chosen, strict=True))

    def _mutated(self, values: Sequence[T], choices: Sequence[T]) -> tuple[T, ...]:
        is_redrawn = self.rng.random(len(values)) < self.probability
        redrawn = self.rng.integers(len(choices), size=len(values))
        return tuple(
            choices[new] if changes else old for old, new, changes in zip(values, redrawn, is_redrawn, strict=True)
        )

    def _built(self, strides: tuple[float, ...], heads: tuple[int, ...]) -> MultiScale | None:
        return self.space.architecture(strides, heads) if self.space.allows(strides, heads) else None
