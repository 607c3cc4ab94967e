"""MSNAS: a super-net, an evolution of its paths, and full training of the best (section 3.4, Algorithm 1).

    train the super-net                              one barrier job, every sample's parent
    pop_0 <- random networks                         generation 0
    for i = 1 .. T:                                  settings.evolution.generations
        pop_i <- children of pop_(i-1), random ones  samples: fine-tuned from the super-net, evaluated
        pop_i <- the best P of pop_i and pop_(i-1)   `survivors`
    retrain the best k of pop_T                      from scratch

A generation is decided whole, since what it consists of depends on nothing but the population before it and on what is
known; only then are its outcomes awaited, on all workers.

Invariant: `decide` and `tell` depend on settings and state alone. The next generation is decided when nothing is
pending; a failed sample is known, but never in a population.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace
from orchestrator.search import bookkeeping
from orchestrator.search.evolution import DRAWS_PER_NETWORK, Selection
from orchestrator.search.protocol import (
    WAIT,
    Baseline,
    Decision,
    Done,
    Evolution,
    Job,
    Member,
    Outcome,
    SearchState,
    failure,
    generator_of,
)
from orchestrator.search.settings import EvolutionSettings, SearchSettings
from orchestrator.search.window import FlopsWindow


class Breeding(Protocol):
    """How the samples of a generation are found: by evolution, or at random."""

    @property
    def name(self) -> str:
        """What a search that does so is called."""

    def fill(
        self, selection: Selection, rng: np.random.Generator, parents: Sequence[MultiScale], generation: int
    ) -> None:
        """Take a generation's networks, given the population before it, the best first."""


@dataclass(frozen=True)
class ByEvolution:
    """Algorithm 1: random networks to begin with, then children and random ones."""

    settings: EvolutionSettings
    name: str = "multi-scale search"

    def fill(
        self, selection: Selection, rng: np.random.Generator, parents: Sequence[MultiScale], generation: int
    ) -> None:
        """Take a generation's networks; without parents all are random."""
        settings = self.settings
        if generation == 0 or not parents:
            selection.add_random(rng, settings.num_samples(generation))
            return
        selection.add_children(
            rng, parents, settings.num_children, settings.mutation_probability, settings.max_attempts
        )
        selection.add_random(rng, settings.num_random)


@dataclass(frozen=True)
class MsNas:
    """The search algorithm of MSNAS, or another search of a super-net's paths.

    Attributes:
        settings: the search's; the start network says which super-net.
        breeding: how samples are found.
    """

    settings: SearchSettings
    breeding: Breeding

    @property
    def title(self) -> str:
        """What it does."""
        return f"{self.breeding.name} at {self.window.target_macs / 1e9:.4g} GFLOPs"

    @property
    def recipes(self) -> tuple[str, ...]:
        """Those of the super-net, of the samples, and of retraining."""
        return ("supernet", "sample", *("final",) * self.settings.train_full)

    @cached_property
    def start(self) -> MultiScaleSpec:
        """The start network, one of the super-net's."""
        assert isinstance(self.settings.start, MultiScaleSpec), f"{self.settings.start.architecture} has no super-net"
        return self.settings.start

    @cached_property
    def space(self) -> SearchSpace:
        """The networks that may be sampled."""
        return space_of(self.settings)

    @cached_property
    def window(self) -> FlopsWindow:
        """What samples may cost."""
        return FlopsWindow.of(self.settings)

    def initial(self) -> SearchState:
        """The state before the first decision."""
        return SearchState(phase="supernet", round=0)

    def decide(self, state: SearchState) -> Decision:
        """The next decision; a job is entered."""
        if state.has_pending_barrier:
            return WAIT
        decision = self._propose(state)
        if isinstance(decision, Job):
            self.enter(state, decision)
        return decision

    def enter(self, state: SearchState, job: Job) -> None:
        """Enter a decided job; its phase and round tell whether a generation or the retraining begins with it."""
        if (job.phase, job.round) != (state.phase, state.round):
            state.evolution = Evolution(job.index, self.survivors(state))
            state.phase, state.round = job.phase, job.round
        bookkeeping.enter(state, job)
        if job.role == "candidate":
            state.known.add(str(job.spec.architecture))
            state.num_candidates += 1

    def objection(self, state: SearchState, outcome: Outcome) -> str | None:
        """Why this outcome stops the run instead of being told; running it again tries the job once more."""
        if outcome.completed:
            return None
        job = state.pending[outcome.index]
        if job.role != "candidate":
            return failure(job, outcome)
        return bookkeeping.streak(state, outcome, self.settings.max_failures_in_a_row)

    def tell(self, state: SearchState, outcome: Outcome) -> None:
        """Take the outcome of the pending job with the lowest index."""
        member = bookkeeping.take(state, outcome)
        bookkeeping.count_failure(state, member)
        job = member.job
        if job.role != "candidate":
            state.results.append((job.phase, job.round, job.index))
        if not member.outcome.completed or not job.has_score:
            return
        best = state.best_overall
        # Retraining gives scores that those of samples are no match for.
        if best is not None and state.population[best.index].job.role != job.role:
            best = None
        if best is None or self.settings.objective.better(member.score, best.score):
            state.best_overall = Baseline(job.index, member.score, job.spec)
            state.counter = 0
        elif job.role == "candidate":
            state.counter += 1

    def survivors(self, state: SearchState) -> tuple[int, ...]:
        """The population after the generation under way: the best P of it and of the one before, the best first."""
        if state.evolution is None or state.phase != "evolution":
            return ()
        born = (index for index in range(state.evolution.first, state.next_index) if index in state.population)
        members = [state.population[index] for index in (*state.evolution.survivors, *born)]
        completed = [member for member in members if member.outcome.completed]
        return tuple(member.job.index for member in self._ranked(completed)[: self.settings.evolution.population])

    def _ranked(self, members: Sequence[Member]) -> list[Member]:
        """The best first; of equal ones the earlier."""
        sign = -1 if self.settings.objective.mode == "max" else 1
        return sorted(members, key=lambda member: (sign * member.score, member.job.index))

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def _propose(self, state: SearchState) -> Decision:
        if state.phase == "supernet":
            if not state.population:
                return self._supernet(state)
            return self._sample(state, 0, 0) or Done("there is no network within evolution.flops_window")
        if state.phase == "evolution":
            assert state.evolution is not None
            position = state.next_index - state.evolution.first
            sample = self._sample(state, state.round, position)
            if sample is not None:
                return sample
            if state.pending:
                return WAIT
            if state.round < self.settings.evolution.generations:
                sample = self._sample(state, state.round + 1, 0)
                if sample is not None:
                    return sample
        if self.settings.train_full:
            retraining = self._retraining(state)
            if retraining is not None:
                return retraining
        return WAIT if state.pending else Done(self._ending(state))

    def _ending(self, state: SearchState) -> str:
        """What there is to say once nothing is left to do."""
        if state.best_overall is None:
            return "none of the samples has been completed"
        if state.round < self.settings.evolution.generations:
            return f"the search is complete; generation {state.round + 1} had nothing new within evolution.flops_window"
        return "the search is complete"

    def _supernet(self, state: SearchState) -> Job:
        return Job(
            index=state.next_index,
            kind="train_supernet",
            role="supernet",
            phase="supernet",
            round=0,
            spec=self.start,
            recipe="supernet",
            seed=(self.settings.seed, state.next_index, 0),
            barrier=True,
        )

    def _sample(self, state: SearchState, generation: int, position: int) -> Job | None:
        """The sample at a position of a generation, None after its last."""
        generation_of = self._generation(state, generation)
        if position >= len(generation_of):
            return None
        supernet = 0  # the first job
        return Job(
            index=state.next_index,
            kind="train_detector" if self.settings.evolution.fine_tune else "score",
            role="candidate",
            phase="evolution",
            round=generation,
            spec=MultiScaleSpec(generation_of[position], self.start.stem),
            recipe="sample",
            seed=(self.settings.seed, supernet, 0),
            parent=supernet,
        )

    def _generation(self, state: SearchState, generation: int) -> tuple[MultiScale, ...]:
        """The networks of the generation under way, or of the one after it."""
        if (state.phase, state.round) == ("evolution", generation):
            assert state.evolution is not None
            first, parents = state.evolution.first, state.evolution.survivors
        else:
            first, parents = state.next_index, self.survivors(state)
        return self._bred(
            first, generation, tuple(_network(state.population[i].job) for i in parents), _known_before(state, first)
        )

    @cached_property
    def _bred(self) -> Callable[[int, int, tuple[MultiScale, ...], frozenset[str]], tuple[MultiScale, ...]]:
        """A generation's networks; the last one's are remembered, as it is asked for each of them."""
        return lru_cache(maxsize=1)(self._breed)

    def _breed(
        self, first: int, generation: int, parents: tuple[MultiScale, ...], known: frozenset[str]
    ) -> tuple[MultiScale, ...]:
        selection = Selection(self.space, self.window.holds, set(known))
        self.breeding.fill(selection, generator_of(self.settings.seed, first), parents, generation)
        return tuple(selection.taken)

    def _retraining(self, state: SearchState) -> Job | None:
        """The next of the best samples from scratch, None after the last."""
        if state.phase == "final":
            assert state.evolution is not None
            best, position = state.evolution.survivors, state.next_index - state.evolution.first
        else:
            best, position = self.survivors(state), 0
        if position >= min(len(best), self.settings.evolution.top_k):
            return None
        sample = state.population[best[position]].job
        return Job(
            index=state.next_index,
            kind="train_full",
            role="final",
            phase="final",
            round=state.round,
            spec=sample.spec,
            recipe="final",
            seed=(self.settings.seed, sample.index, 0),
        )


def space_of(settings: SearchSettings) -> SearchSpace:
    """The networks of the start's super-net with the utilisations that the settings ask for.

    Raises:
        ValueError: if there are none.
    """
    start = settings.start.architecture
    assert isinstance(start, MultiScale), f"{start} has no super-net"
    return SearchSpace.around(start, settings.evolution.utilization)


def check_window(settings: SearchSettings) -> None:
    """See that random networks cost what samples may; it would be late to find out after the super-net.

    Raises:
        ValueError: with what they cost, if none does.
    """
    space, window = space_of(settings), FlopsWindow.of(settings)
    start = settings.start.architecture
    if isinstance(start, MultiScale) and start in space and window.holds(start):
        return
    rng, found = generator_of(settings.seed, 0), []
    for _ in range(DRAWS_PER_NETWORK):
        found.append(window.macs(network := space.draw(rng)))
        if window.holds(network):
            return
    raise ValueError(
        f"{window.target_macs / 1e9:.4g} GFLOPs with evolution.flops_window {window.share:g} are what none of "
        f"{len(found)} random networks has; they have {min(found) / 1e9:.4g} to {max(found) / 1e9:.4g}"
    )


def _network(job: Job) -> MultiScale:
    assert isinstance(job.spec, MultiScaleSpec)
    return job.spec.architecture


def _known_before(state: SearchState, first: int) -> frozenset[str]:
    """The encodings of the generations that end before this job."""
    members = (state.population[index].job for index in range(first, state.next_index) if index in state.population)
    since = {str(job.spec.architecture) for job in (*members, *state.pending.values()) if job.index >= first}
    return frozenset(state.known - since)
