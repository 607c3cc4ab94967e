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

from dataclasses import dataclass
from functools import cached_property

from models.architecture import NetworkSpec
from models.families import AnySpec
from models.morphism import Morph
from orchestrator.search.acceptance import Acceptance, Ending
from orchestrator.search.neighbourhood import Neighbourhood
from orchestrator.search.protocol import Job, SearchState, Wait, generator_of
from orchestrator.search.settings import SearchSettings


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
        return self._neighbourhood.draw(state.baseline.network.architecture, state.known, rng)

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self.settings)

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
