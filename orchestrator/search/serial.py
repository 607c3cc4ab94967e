"""The serial level: swap, expand, reignite (SP-NAS, section 3.1 and Algorithm 1).

    while i < n_r:                                   num_rounds
        while count < n_stuck:                       Acceptance.propose, until it is stuck
            f, theta <- expand(swap(f_best))         SerialLevel.draw: num_morphs random morphs
            if acc > acc_best: f_best <- f           Acceptance.tell
        theta_best <- reignite(f_best)               a pretrain job, then a refresh job

Algorithm 1 as printed never increments its counter and leaves open what score the search goes on from after a
reignition. Here a candidate that is not better increments the counter, and the reignited network, trained as a
detector (the refresh), sets the baseline whatever its score.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from models.architecture import Architecture, NetworkSpec
from models.families import AnySpec
from models.morphism import Morph, apply, legal_expansions, legal_swaps
from orchestrator.search.acceptance import Acceptance, Ending
from orchestrator.search.protocol import Job, SearchState, Wait, generator_of
from orchestrator.search.settings import SearchSettings

# Draws of a candidate before the whole neighbourhood is listed; a draw that is known is rare until little is left.
MAX_REDRAWS = 100


@dataclass(frozen=True)
class SerialLevel:
    """Proposes the serial level's jobs."""

    settings: SearchSettings
    phase: str = "serial"

    @property
    def n_stuck(self) -> int:
        """Candidates without an improvement until a round is stuck."""
        return self.settings.serial.n_stuck

    @property
    def max_candidates(self) -> int | None:
        """Candidates after which a round ends."""
        return self.settings.serial.max_candidates

    @cached_property
    def acceptance(self) -> Acceptance:
        """The rule that candidates are judged by."""
        return Acceptance(self.settings, self)

    def propose(self, state: SearchState) -> Job | Wait | None:
        """The next job of the level, or None when it is over (then nothing is pending)."""
        if state.baseline is None:
            if self.settings.pretrain_start and state.pretrained is None:
                return self._pretrain(state, self.settings.start_network)
            return self._start(state)
        if not state.refreshed:
            if state.pretrained is not None:
                return self._refresh(state)
            decision = self.acceptance.propose(state)
            if decision is Ending.EXHAUSTED:
                return None
            if decision is not Ending.STUCK:
                return decision
            if self.settings.serial.reignite:
                spec = state.baseline.network
                return self._pretrain(state, NetworkSpec.fresh(spec.architecture, spec.stem, spec.base_channels))
        if state.round < self.settings.serial.num_rounds:
            return self.propose(state.advanced("serial", state.round + 1))
        return None

    def draw(self, state: SearchState, index: int) -> tuple[Morph, ...] | None:
        """`num_morphs` random morphs of the baseline that give an encoding this round has not seen."""
        assert state.baseline is not None
        if self.settings.serial.num_morphs == 0:
            return ()
        rng = generator_of(self.settings.seed, index)
        for _ in range(MAX_REDRAWS):
            spec, morphs = state.baseline.network, list[Morph]()
            for _ in range(self.settings.serial.num_morphs):
                # A swap right after the same swap would only undo it, and waste two of the modifications.
                swaps, expansions = self._legal(spec.architecture)
                kinds = [kind for kind in (tuple(m for m in swaps if m not in morphs[-1:]), expansions) if kind]
                if not kinds:
                    break
                kind = kinds[rng.integers(len(kinds))]
                morphs.append(kind[rng.integers(len(kind))])
                spec = apply(spec, morphs[-1])
            if self._is_new(state, spec.architecture):
                return tuple(morphs)
        every = self._neighbourhood(state.baseline.network)
        remaining = [morphs for encoding, morphs in every if encoding not in state.known]
        return remaining[rng.integers(len(remaining))] if remaining else None

    def _legal(self, architecture: Architecture) -> tuple[tuple[Morph, ...], tuple[Morph, ...]]:
        serial = self.settings.serial
        expansions = legal_expansions(architecture, max_blocks=serial.max_blocks, max_stages=serial.max_stages)
        return legal_swaps(architecture), expansions

    def _is_new(self, state: SearchState, architecture: Architecture) -> bool:
        return str(architecture) not in state.known and self._allows(architecture)

    def _allows(self, architecture: Architecture) -> bool:
        return self.settings.serial.allow(architecture, self.settings.start_network, self.settings.image_size)

    @cached_property
    def _neighbourhood(self) -> Callable[[NetworkSpec], list[tuple[str, tuple[Morph, ...]]]]:
        """Every allowed encoding in reach of a baseline with its morphs; the last baseline's are remembered."""
        return lru_cache(maxsize=1)(self._in_reach)

    def _in_reach(self, baseline: NetworkSpec) -> list[tuple[str, tuple[Morph, ...]]]:
        """One chain of at most `num_morphs` morphs for every allowed encoding, in the encodings' order."""
        reached: dict[NetworkSpec, tuple[Morph, ...]] = {baseline: ()}
        frontier = dict(reached)
        for _ in range(self.settings.serial.num_morphs):
            frontier = {
                apply(spec, morph): (*chain, morph)
                for spec, chain in frontier.items()
                for kind in self._legal(spec.architecture)
                for morph in kind
            }
            frontier = {spec: chain for spec, chain in frontier.items() if spec not in reached}
            reached |= frontier
        chains: dict[Architecture, tuple[Morph, ...]] = {}
        for spec, chain in reached.items():
            chains.setdefault(spec.architecture, chain)
        return [(str(encoding), chains[encoding]) for encoding in sorted(chains) if self._allows(encoding)]

    def _start(self, state: SearchState) -> Job:
        made_by = state.next_index if state.pretrained is None else state.pretrained
        return self._barrier(state, "train_detector", "start", self.settings.start_network, "start", made_by)

    def _pretrain(self, state: SearchState, spec: NetworkSpec) -> Job:
        return self._barrier(state, "pretrain", "pretrain", spec, "reignition", state.next_index)

    def _refresh(self, state: SearchState) -> Job:
        assert state.pretrained is not None
        spec = state.population[state.pretrained].job.spec
        return self._barrier(state, "train_detector", "refresh", spec, "serial", state.pretrained)

    def _barrier(self, state: SearchState, kind: str, role: str, spec: AnySpec, recipe: str, made_by: int) -> Job:
        trains_detector = kind == "train_detector"
        return Job(
            index=state.next_index,
            kind=kind,
            role=role,
            phase=self.phase,
            round=state.round,
            spec=spec,
            recipe=recipe,
            seed=(self.settings.seed, made_by, 0),
            parent=state.baseline.index if trains_detector and state.baseline else None,
            backbone=state.pretrained if trains_detector else None,
            barrier=True,
        )
