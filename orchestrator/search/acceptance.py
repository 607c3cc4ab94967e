"""When a candidate becomes the new baseline: the paper's rule and the paired one.

Both levels of SP-NAS share these rules. A `Level` draws candidates; the rule decides in which order candidates,
controls and confirmations run, and what an outcome does to the baseline and to the counter of Algorithm 1.

- *Steady* (``acceptance: paper``): a candidate better than the baseline is the new one; a completed child of the
  current baseline that is not better adds one to the counter; a late child of an older baseline adds nothing.
  Without morphs (``num_morphs: 0``) candidates are the baseline's network trained on, each with a seed of its own.
- *Paired* (``acceptance: paired``): continued training alone lifts scores, so a generation is one control (the
  baseline's own network, trained on) and its children, all with one training seed. The best child that beats both
  control and baseline runs again beside a control on further seeds, and has to win on average there too.

Invariant: nothing is accepted or counted without a completed control (paired), and a failed candidate is never counted.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from models.architecture import NetworkSpec
from models.families import AnySpec
from models.morphism import Morph, apply_all
from orchestrator.search.protocol import WAIT, Baseline, Generation, Job, Member, SearchState, Wait
from orchestrator.search.settings import SearchSettings


class Ending(Enum):
    """Why a round has no further candidate; only given when nothing is pending."""

    STUCK = "stuck"
    EXHAUSTED = "exhausted"


class Level(Protocol):
    """Where candidates come from: the serial or the parallel level."""

    @property
    def phase(self) -> str:
        """Its name, which is its recipe's too."""

    @property
    def n_stuck(self) -> int:
        """Candidates without an improvement until it is stuck."""

    @property
    def max_candidates(self) -> int | None:
        """Candidates after which it ends."""

    def draw(self, state: SearchState, index: int) -> tuple[Morph, ...] | None:
        """The morphs that make candidate `index` of the baseline, or None if nothing new is left."""


@dataclass(frozen=True)
class Acceptance:
    """Proposes a level's jobs and judges their outcomes."""

    settings: SearchSettings
    level: Level

    def propose(self, state: SearchState) -> Job | Wait | Ending:
        """The next job of this round, without entering it."""
        return self._propose_paired(state) if self.settings.serial.paired else self._propose_steady(state)

    def tell(self, state: SearchState, member: Member) -> None:
        """Judge the outcome of a candidate, control or confirmation that is no longer pending."""
        if self.settings.serial.paired:
            self._tell_paired(state)
        else:
            self._tell_steady(state, member)

    # ---- the paper's rule ------------------------------------------------------------------------------------------

    def _propose_steady(self, state: SearchState) -> Job | Wait | Ending:
        if self._over(state):
            return WAIT if state.pending else Ending.STUCK
        candidate = self._candidate(state, state.next_index, replicate=0)
        if candidate is None:
            return WAIT if state.pending else Ending.EXHAUSTED
        return candidate

    def _tell_steady(self, state: SearchState, member: Member) -> None:
        assert state.baseline is not None
        if not member.outcome.completed:
            return
        if self.settings.objective.better(member.score, state.baseline.score):
            set_baseline(state, self.settings, member)
            state.counter = 0
        elif member.job.seed[1] == state.baseline.index:
            state.counter += 1

    # ---- the paired rule -------------------------------------------------------------------------------------------

    def _propose_paired(self, state: SearchState) -> Job | Wait | Ending:
        generation = state.generation
        if generation is None:
            if self._over(state):
                return Ending.STUCK
            if self.level.draw(state, state.next_index + 1) is None:
                return Ending.EXHAUSTED
            return self._control(state, state.next_replicate)
        if generation.winner is not None:
            return self._propose_confirmation(state, generation)
        if generation.control is None:  # it failed, and has one more try
            return self._control(state, state.next_replicate)
        forming = len(state.pending) == len(generation.members)  # nothing of it is told yet
        full = len(generation.members) == self.settings.in_flight(self.level.phase) or self._has_max_candidates(state)
        if forming and not full:
            replicate = state.pending[generation.control].seed[2]
            return self._candidate(state, state.next_index, replicate) or WAIT
        return WAIT

    def _propose_confirmation(self, state: SearchState, generation: Generation) -> Job | Wait:
        assert generation.winner is not None
        if len(generation.controls) < len(generation.confirmations):
            if generation.control_repeated:
                return self._control(state, state.next_replicate)
            partner = _job(state, generation.confirmations[len(generation.controls)])
            return self._control(state, partner.seed[2])
        if len(generation.confirmations) < self.settings.serial.confirmations:
            winner = state.population[generation.winner].job
            return self._job(state, "confirmation", winner.spec, winner.morphs, state.next_replicate)
        return WAIT

    def _tell_paired(self, state: SearchState) -> None:
        generation = state.generation
        assert generation is not None
        if any(index in state.pending for index in generation.members):
            return
        if generation.winner is None:
            self._judge_children(state, generation)
        elif len(generation.controls) == len(generation.confirmations) == self.settings.serial.confirmations:
            self._judge_confirmations(state, generation)

    def _judge_children(self, state: SearchState, generation: Generation) -> None:
        assert state.baseline is not None and generation.control is not None
        better = self.settings.objective.better
        control = state.population[generation.control]
        if not control.outcome.completed:
            if generation.control_repeated:
                state.generation = None
            else:
                state.generation = replace(generation, control=None, control_repeated=True)
            return
        winner: Member | None = None
        for child in _completed(state, generation.children):
            beaten = [control.score, state.baseline.score] + ([winner.score] if winner else [])
            if all(better(child.score, score) for score in beaten):
                winner = child
        if winner is None:
            self._reject(state, generation)
        elif self.settings.serial.confirmations == 0:
            self._accept(state, winner, winner.score)
        else:
            state.generation = replace(generation, winner=winner.job.index, control_repeated=False)

    def _judge_confirmations(self, state: SearchState, generation: Generation) -> None:
        assert generation.winner is not None
        controls = _completed(state, generation.controls)
        if len(controls) < len(generation.controls):
            if generation.control_repeated:
                state.generation = None
            else:
                kept = tuple(member.job.index for member in controls)
                state.generation = replace(generation, controls=kept, control_repeated=True)
            return
        runs = _completed(state, generation.confirmations)
        if len(runs) == len(generation.confirmations) and self.settings.objective.better(_mean(runs), _mean(controls)):
            winner = state.population[generation.winner]
            self._accept(state, winner, _mean([winner, *runs]))
        else:
            self._reject(state, generation)

    def _accept(self, state: SearchState, winner: Member, score: float) -> None:
        set_baseline(state, self.settings, winner, score)
        state.counter = 0
        state.generation = None

    def _reject(self, state: SearchState, generation: Generation) -> None:
        assert state.baseline is not None and generation.control is not None
        state.counter += len(_completed(state, generation.children))
        control = state.population[generation.control]
        if self.settings.objective.better(control.score, state.baseline.score):
            set_baseline(state, self.settings, control)
        state.generation = None

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def _over(self, state: SearchState) -> bool:
        return state.counter >= self.level.n_stuck or self._has_max_candidates(state)

    def _has_max_candidates(self, state: SearchState) -> bool:
        return self.level.max_candidates is not None and state.num_candidates >= self.level.max_candidates

    def _candidate(self, state: SearchState, index: int, replicate: int) -> Job | None:
        assert state.baseline is not None
        morphs = self.level.draw(state, index)
        if morphs is None:
            return None
        if not morphs:  # nothing but its seed tells it from the ones before
            replicate = state.next_replicate
        return self._job(state, "candidate", apply_all(state.baseline.network, morphs), morphs, replicate)

    def _control(self, state: SearchState, replicate: int) -> Job:
        assert state.baseline is not None
        return self._job(state, "control", state.baseline.network, (), replicate)

    def _job(self, state: SearchState, role: str, spec: AnySpec, morphs: tuple[Morph, ...], replicate: int) -> Job:
        assert state.baseline is not None
        job = Job(
            index=state.next_index,
            kind="train_detector",
            role=role,
            phase=state.phase,
            round=state.round,
            spec=spec,
            recipe=self.level.phase,
            seed=(self.settings.seed, state.baseline.index, replicate),
            parent=state.baseline.index,
            morphs=morphs,
        )
        return job if self.settings.serial.inherit else afresh(job)


def afresh(job: Job) -> Job:
    """The job with its network built anew, with no weights to morph; its seed still says whose child it is."""
    assert isinstance(job.spec, NetworkSpec), f"{job.spec.architecture} can't be morphed"
    spec = NetworkSpec.fresh(job.spec.architecture, job.spec.stem, job.spec.base_channels)
    return replace(job, spec=spec, parent=None, morphs=())


def enter_generation(state: SearchState, job: Job) -> None:
    """Enter a paired job into the generation under way, or begin one with a control."""
    generation = state.generation or Generation()
    match job.role:
        case "candidate":
            generation = replace(generation, children=(*generation.children, job.index))
        case "confirmation":
            generation = replace(generation, confirmations=(*generation.confirmations, job.index))
        case "control" if generation.winner is None:
            generation = replace(generation, control=job.index)
        case "control":
            generation = replace(generation, controls=(*generation.controls, job.index))
    state.generation = generation


def set_baseline(state: SearchState, settings: SearchSettings, member: Member, score: float | None = None) -> None:
    """Make a told job the baseline, and the best overall if it is."""
    baseline = Baseline(member.job.index, member.score if score is None else score, member.job.spec)
    state.baseline = baseline
    state.next_replicate = 0
    if state.best_overall is None or settings.objective.better(baseline.score, state.best_overall.score):
        state.best_overall = baseline


def _job(state: SearchState, index: int) -> Job:
    return state.pending[index] if index in state.pending else state.population[index].job


def _completed(state: SearchState, indices: tuple[int, ...]) -> list[Member]:
    return [state.population[index] for index in indices if state.population[index].outcome.completed]


def _mean(members: list[Member]) -> float:
    return sum(member.score for member in members) / len(members)
