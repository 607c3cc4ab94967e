"""What passes between a search algorithm and the driver, and what the algorithm remembers.

A search is a state machine. `Algorithm.decide` answers with the next job, with `Wait`, or with `Done`; `tell` takes
one outcome. Outcomes are told in the order of the jobs' indices and `decide` is called until it waits after every
single one, so that the history is a function of settings, seed and outcomes alone, never of the workers' number or
speed.

Invariant: nothing but `enter` and `tell` changes a `SearchState`, so folding a journal's decisions and outcomes in
their order gives the very state that wrote them, without deciding anything again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np

from models.architecture import NetworkSpec
from models.families import AnySpec, spec_from_dict
from models.morphism import Morph, parse_morph
from orchestrator.search.settings import SearchSettings

PHASES_IN_ROUNDS = ("serial", "evolution")
"""Those whose jobs' rounds are their own; others keep the last one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work for one worker (or, later, a gang of them).

    Attributes:
        index: its place in the order of decisions, from 0.
        kind: what a worker does: ``train_detector``, ``pretrain``, ``train_supernet``, ``train_full``, ``score``
            (evaluate alone) or ``evaluate`` (and time it).
        role: what it is for the search: ``start``, ``candidate``, ``control``, ``confirmation``, ``pretrain``,
            ``refresh``, ``supernet``, ``final``, ``evaluation`` or ``trial``.
        phase: ``serial``, ``parallel`` or ``final`` in a search by morphs, ``supernet``, ``evolution`` or ``final`` in
            one of a super-net's paths; beside searches ``train``, ``evaluate``, ``pretrain``
            or ``trials``.
        round: the serial level's round, from 1, or the evolution's generation, from 0, the first population; later
            phases keep the last one's, beside searches it is 0.
        spec: the network it trains.
        parent: the job whose weights it starts from, if any.
        morphs: what makes `spec` of the parent's spec, of a trial's start where there is no parent.
        backbone: the job whose backbone replaces the parent's (after a reignition), if any.
        recipe: which training settings: ``start``, ``serial``, ``parallel``, ``reignition``, ``supernet``, ``sample``
            or ``final``.
        seed: how it trains: (seed, index of the job that made its parent's weights, replicate); of a trial (seed, 0,
            replicate).
        barrier: whether it runs alone, after all before it are told.
    """

    index: int
    kind: str
    role: str
    phase: str
    round: int
    spec: AnySpec
    recipe: str
    seed: tuple[int, int, int]
    parent: int | None = None
    morphs: tuple[Morph, ...] = ()
    backbone: int | None = None
    barrier: bool = False

    @property
    def has_score(self) -> bool:
        """Whether it comes to a detector with a score, not only to weights for others."""
        return self.kind not in ("pretrain", "train_supernet")

    def to_dict(self) -> dict[str, Any]:
        """The job as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "spec": self.spec.to_dict(),
            "seed": list(self.seed),
            "morphs": [str(morph) for morph in self.morphs],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """The inverse of `to_dict`."""
        seed, parent, replicate = values["seed"]
        return cls(
            **dict(values)
            | {
                "spec": spec_from_dict(values["spec"]),
                "seed": (seed, parent, replicate),
                "morphs": tuple(map(parse_morph, values["morphs"])),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended, as far as the search is concerned.

    Attributes:
        index: the job's.
        status: ``completed``, or ``failed`` by the candidate's own fault.
        score: the objective's metric; None if the job failed or gives none.
        metrics: every metric of the validation split, as fractions.
        error: why it failed, else "".
    """

    index: int
    status: str
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def completed(self) -> bool:
        """Whether the job came to its end."""
        return self.status == "completed"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to decide before a further outcome is told."""


@dataclass(frozen=True, slots=True)
class Done:
    """The search is over."""

    reason: str


WAIT = Wait()
Decision = Job | Wait | Done


@dataclass(frozen=True, slots=True)
class Member:
    """A told job with its outcome."""

    job: Job
    outcome: Outcome

    @property
    def score(self) -> float:
        """Its score; only completed detectors have one."""
        assert self.outcome.score is not None, f"job {self.job.index} has no score"
        return self.outcome.score


@dataclass(frozen=True, slots=True)
class Baseline:
    """A network with the weights that children grow from and the score they are judged against."""

    index: int
    score: float
    spec: AnySpec

    @property
    def network(self) -> NetworkSpec:
        """Its spec in a search by morphs, which has no other family's."""
        assert isinstance(self.spec, NetworkSpec), f"{self.spec.architecture} can't be morphed"
        return self.spec

    def to_dict(self) -> dict[str, Any]:
        """The baseline as JSON values."""
        return {"index": self.index, "score": self.score, "architecture": str(self.spec.architecture)}


@dataclass(frozen=True, slots=True)
class Generation:
    """The paired jobs under way: a control with its children, then a winner with its confirmations.

    Attributes:
        control: index of the control, None before it is decided.
        children: indices of the children.
        winner: the child to be confirmed, if one has won.
        confirmations: indices of the winner's further runs.
        controls: indices of the controls beside them.
        control_repeated: whether a failed control has had its second try.
    """

    control: int | None = None
    children: tuple[int, ...] = ()
    winner: int | None = None
    confirmations: tuple[int, ...] = ()
    controls: tuple[int, ...] = ()
    control_repeated: bool = False

    @property
    def members(self) -> tuple[int, ...]:
        """Every job whose weights the decision may still need."""
        control = () if self.control is None else (self.control,)
        return control + self.children + self.confirmations + self.controls


@dataclass(frozen=True, slots=True)
class Evolution:
    """Where an evolution stands (MSNAS, Algorithm 1).

    Attributes:
        first: index of the first sample of the generation under way.
        survivors: the population that it varies, the best first.
    """

    first: int
    survivors: tuple[int, ...] = ()


@dataclass
class SearchState:
    """All that the search remembers; see the module's invariant.

    Attributes:
        phase: as the jobs have it.
        round: likewise.
        counter: candidates since the last improvement.
        num_candidates: candidates decided in this round or level.
        known: encodings of this round, level or evolution, pending ones included.
        baseline: what children grow from and are judged against.
        best_overall: the best baseline there has been.
        next_replicate: the next unused replicate of the training seed for children of the baseline.
        generation: the paired jobs under way.
        pretrained: the reignition of this round that has been told, waiting for its refresh.
        refreshed: whether this round has had its reignition.
        evolution: where an evolution stands, once it has begun.
        failures_in_a_row: failed jobs since the last completed one, by role.
        results: the job that each round and phase came to.
        population: every told job, by index.
        pending: every decided job that is not told, by index.
        next_index: the next job's.
    """

    phase: str = "serial"
    round: int = 1
    counter: int = 0
    num_candidates: int = 0
    known: set[str] = field(default_factory=set)
    baseline: Baseline | None = None
    best_overall: Baseline | None = None
    next_replicate: int = 0
    generation: Generation | None = None
    pretrained: int | None = None
    refreshed: bool = False
    evolution: Evolution | None = None
    failures_in_a_row: dict[str, int] = field(default_factory=dict)
    results: list[tuple[str, int, int]] = field(default_factory=list)
    population: dict[int, Member] = field(default_factory=dict)
    pending: dict[int, Job] = field(default_factory=dict)
    next_index: int = 0

    @property
    def next_told(self) -> int | None:
        """The pending job with the lowest index: the one after the last told, as jobs are told in order."""
        return len(self.population) if self.pending else None

    @property
    def has_pending_barrier(self) -> bool:
        """Whether a job that runs alone is pending."""
        return len(self.pending) == 1 and self.pending[len(self.population)].barrier

    def advanced(self, phase: str, round: int) -> "SearchState":
        """A view of the state at the start of another round or phase; shares the population."""
        assert self.baseline is not None
        return replace(
            self,
            phase=phase,
            round=round,
            counter=0,
            num_candidates=0,
            known={str(self.baseline.spec.architecture)},
            pretrained=None,
            refreshed=False,
            results=[*self.results, (self.phase, self.round, self.baseline.index)],
        )

    def summary(self) -> dict[str, Any]:
        """What a told record carries, so that a fold that comes to anything else is noticed."""
        return {
            "phase": self.phase,
            "round": self.round,
            "counter": self.counter,
            "baseline": self.baseline.to_dict() if self.baseline else None,
            "best_overall": self.best_overall.to_dict() if self.best_overall else None,
            "pending": {"first": len(self.population), "count": len(self.pending)},
        }

    def agrees_with(self, recorded: Mapping[str, Any]) -> bool:
        """Whether this is the state of a summary; those of the first two formats list what is pending."""
        pending = recorded.get("pending")
        if isinstance(pending, list):
            return pending == list(self.pending) and recorded == self.summary() | {"pending": pending}
        return recorded == self.summary()


class Algorithm(Protocol):
    """A search algorithm. No side effects but on the state it is given."""

    @property
    def settings(self) -> SearchSettings:
        """What it was made from."""

    @property
    def title(self) -> str:
        """What it does, for who watches it: ``search from BB(11,d1,d1,d1)``."""

    @property
    def recipes(self) -> tuple[str, ...]:
        """The training recipes that its jobs may have."""

    def initial(self) -> SearchState:
        """The state before the first decision."""

    def decide(self, state: SearchState) -> Decision:
        """The next decision; a job is entered among the state's pending ones."""

    def enter(self, state: SearchState, job: Job) -> None:
        """Enter a job that has been decided, now or in an earlier life of the driver."""

    def objection(self, state: SearchState, outcome: Outcome) -> str | None:
        """Why this outcome can't be told and the run has to stop instead, or None."""

    def tell(self, state: SearchState, outcome: Outcome) -> None:
        """Take the outcome of the pending job with the lowest index."""


def failure(job: Job, outcome: Outcome) -> str:
    """A failed job in words."""
    return f"job {job.index} ({job.role}, {job.spec.architecture}) failed: {outcome.error}"


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The generator from which the job `index` draws what it is."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def live_weights(state: SearchState, *, keep_all: bool = False) -> set[int]:
    """The jobs whose weights must be kept; all others may be deleted.

    Args:
        state: the search.
        keep_all: keep every completed detector's beside what the search may need.
    """
    live = {index for _, _, index in state.results}
    if keep_all:
        live.update(i for i, member in state.population.items() if member.outcome.completed and member.job.has_score)
    live.update(baseline.index for baseline in (state.baseline, state.best_overall) if baseline)
    # The start is the first job, or the second after its pretraining.
    live.update(i for i in (0, 1) if i in state.population and state.population[i].job.role == "start")
    live.update(state.pending)
    for job in state.pending.values():
        live.update(index for index in (job.parent, job.backbone) if index is not None)
    if state.generation:
        live.update(state.generation.members)
    if state.pretrained is not None:
        live.add(state.pretrained)
    return live


def pareto(state: SearchState, costs: Mapping[int, float], mode: str) -> list[int]:
    """Indices of the completed detectors that no other beats in both score and cost, by rising cost.

    Full trainings are left out: they are longer than what the search compares.

    Args:
        state: the search.
        costs: a cost per job index, in any unit.
        mode: ``max`` if more score is better, else ``min``.
    """
    sign = -1.0 if mode == "max" else 1.0
    scored = [
        member
        for member in state.population.values()
        if member.outcome.completed and member.outcome.score is not None and member.job.role != "final"
    ]
    front: list[int] = []
    best = float("inf")
    for member in sorted(scored, key=lambda m: (costs[m.job.index], sign * m.score, m.job.index)):
        if sign * member.score < best:
            best = sign * member.score
            front.append(member.job.index)
    return front
