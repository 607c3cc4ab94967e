"""The parallel level: random search over subnets along SerialNet's stages (SP-NAS, section 3.2).

The level starts from SerialNet with ``(0,...,0)`` under its own training recipe. A candidate adds m subnets, m uniform
in 1..K*L, each to a stage drawn with probability proportional to (1/FLOPs)^power of that stage's subnet, which keeps
heavy subnets rare. Ends when it is stuck or when all (K+1)^L encodings are known.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from models.costs import subnet_macs
from models.morphism import Assemble, Morph, apply
from orchestrator.search.acceptance import Acceptance, Ending, afresh
from orchestrator.search.protocol import Baseline, Job, SearchState, Wait, generator_of
from orchestrator.search.settings import ParallelSettings, SearchSettings

MAX_REDRAWS = 100


@dataclass(frozen=True)
class ParallelLevel:
    """Proposes the parallel level's jobs."""

    settings: SearchSettings
    phase: str = "parallel"

    @cached_property
    def parallel(self) -> ParallelSettings:
        """The level's own settings; the level only exists where they do."""
        assert self.settings.parallel is not None
        return self.settings.parallel

    @property
    def n_stuck(self) -> int:
        """Candidates without an improvement until the level ends."""
        return self.parallel.n_stuck

    @property
    def max_candidates(self) -> int | None:
        """Candidates after which the level ends."""
        return self.parallel.max_candidates

    @cached_property
    def acceptance(self) -> Acceptance:
        """The rule that candidates are judged by."""
        return Acceptance(self.settings, self)

    def start(self, state: SearchState, serial_net: Baseline) -> Job:
        """SerialNet with no subnet yet, trained with the level's recipe."""
        spec = serial_net.network
        morph = Assemble((0,) * spec.architecture.num_stages)
        job = Job(
            index=state.next_index,
            kind="train_detector",
            role="start",
            phase=self.phase,
            round=state.round,
            spec=apply(spec, morph),
            recipe="parallel",
            seed=(self.settings.seed, serial_net.index, 0),
            parent=serial_net.index,
            morphs=(morph,),
            barrier=True,
        )
        return job if self.settings.serial.inherit else afresh(job)

    def propose(self, state: SearchState) -> Job | Wait | None:
        """The next job after the start, or None when the level is over."""
        decision = self.acceptance.propose(state)
        return None if isinstance(decision, Ending) else decision

    def draw(self, state: SearchState, index: int) -> tuple[Morph, ...] | None:
        """A random encoding of subnets that the level has not seen."""
        rng = generator_of(self.settings.seed, index)
        weights = self._weights(state)
        num_stages = len(weights)
        for _ in range(MAX_REDRAWS):
            subnets = [0] * num_stages
            for _ in range(rng.integers(1, self.parallel.max_subnets * num_stages + 1)):
                open_stages = [stage for stage in range(num_stages) if self._may_grow(state, subnets, stage)]
                if not open_stages:
                    break
                odds = weights[open_stages] / weights[open_stages].sum()
                subnets[open_stages[int(rng.choice(len(open_stages), p=odds))]] += 1
            if self._is_new(state, tuple(subnets)):
                return (Assemble(tuple(subnets)),)
        every = product(range(self.parallel.max_subnets + 1), repeat=num_stages)
        remaining = [subnets for subnets in every if self._is_new(state, subnets) and self._allows(state, subnets)]
        return (Assemble(remaining[rng.integers(len(remaining))]),) if remaining else None

    def _weights(self, state: SearchState) -> np.ndarray:
        assert state.baseline is not None
        macs = np.array(subnet_macs(state.baseline.network, *self.settings.image_size), dtype=float)
        weights: np.ndarray = (macs.min() / macs) ** self.parallel.inverse_flops_power
        return weights

    def _may_grow(self, state: SearchState, subnets: list[int], stage: int) -> bool:
        if subnets[stage] >= self.parallel.max_subnets:
            return False
        grown = tuple(count + (index == stage) for index, count in enumerate(subnets))
        return self._allows(state, grown)

    def _allows(self, state: SearchState, subnets: tuple[int, ...]) -> bool:
        assert state.baseline is not None
        architecture = state.baseline.network.architecture.with_subnets(subnets)
        return self.parallel.allow(architecture, self.settings.start_network, self.settings.image_size)

    def _is_new(self, state: SearchState, subnets: tuple[int, ...]) -> bool:
        assert state.baseline is not None
        return str(state.baseline.network.architecture.with_subnets(subnets)) not in state.known
