"""One network trained, evaluated or pretrained: a plan of one or two jobs, in the manner of a search.

Invariant: job i is the plan's step i, and runs alone; so the state is a function of how many outcomes were told.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.search import bookkeeping
from orchestrator.search.protocol import WAIT, Baseline, Decision, Done, Job, Outcome, SearchState, failure
from orchestrator.search.settings import SearchSettings

Purpose = Literal["train", "evaluate", "pretrain"]


@dataclass(frozen=True, slots=True)
class _Step:
    """What a job of the plan is; see `protocol.Job`."""

    kind: str
    role: str
    recipe: str


_PRETRAIN = _Step("pretrain", "pretrain", "reignition")
_TRAIN = _Step("train_full", "final", "final")
_EVALUATE = _Step("evaluate", "evaluation", "serial")  # the recipe says how many images are taken at a time


@dataclass(frozen=True)
class Single:
    """The algorithm of `spnas train`, `spnas evaluate` and `spnas pretrain`."""

    settings: SearchSettings
    purpose: Purpose

    @property
    def title(self) -> str:
        """What it does."""
        noun = {"train": "full training", "evaluate": "evaluation", "pretrain": "pretraining"}[self.purpose]
        return f"{noun} of {self.settings.start.architecture}"

    @property
    def recipes(self) -> tuple[str, ...]:
        """Those of the plan."""
        return tuple(step.recipe for step in self._plan)

    @property
    def _plan(self) -> tuple[_Step, ...]:
        match self.purpose:
            case "pretrain":
                return (_PRETRAIN,)
            case "evaluate":
                return (_EVALUATE,)
            case "train":
                return (_PRETRAIN, _TRAIN) if self.settings.pretrain_start else (_TRAIN,)

    def initial(self) -> SearchState:
        """The state before the first decision."""
        return SearchState(phase=self.purpose, round=0)

    def decide(self, state: SearchState) -> Decision:
        """The plan's next job once the one before is told; it is entered."""
        if state.pending:
            return WAIT
        index = state.next_index
        if index == len(self._plan):
            return Done(f"the {self.title} is complete")
        step = self._plan[index]
        backbone = index - 1 if index else None
        job = Job(
            index=index,
            kind=step.kind,
            role=step.role,
            phase=self.purpose,
            round=0,
            spec=self.settings.start,
            recipe=step.recipe,
            seed=(self.settings.seed, index if backbone is None else backbone, 0),
            backbone=backbone,
            barrier=True,
        )
        self.enter(state, job)
        return job

    def enter(self, state: SearchState, job: Job) -> None:
        """Enter a decided job."""
        bookkeeping.enter(state, job)

    def objection(self, state: SearchState, outcome: Outcome) -> str | None:
        """Any failure stops the run: there is nothing else to try."""
        return None if outcome.completed else failure(state.pending[outcome.index], outcome)

    def tell(self, state: SearchState, outcome: Outcome) -> None:
        """Take the outcome of the pending job; every job's weights are a result, and kept."""
        member = bookkeeping.take(state, outcome)
        job = member.job
        state.results.append((job.phase, job.round, job.index))
        if job.role == "final":
            state.best_overall = Baseline(job.index, member.score, job.spec)
