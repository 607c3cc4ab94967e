"""SP-NAS: the serial level, then the parallel level, then full training of the winner (Algorithm 1).

Invariant: `decide` and `tell` depend on settings and state alone. Barrier jobs (start, pretrain, refresh, the parallel
level's first, full training) are decided only when nothing is pending, and nothing is decided beside them.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

from orchestrator.search import bookkeeping
from orchestrator.search.acceptance import enter_generation, set_baseline
from orchestrator.search.parallel import ParallelLevel
from orchestrator.search.protocol import (
    WAIT,
    Baseline,
    Decision,
    Done,
    Job,
    Outcome,
    SearchState,
    failure,
)
from orchestrator.search.serial import SerialLevel
from orchestrator.search.settings import SearchSettings


@dataclass(frozen=True)
class SpNas:
    """The search algorithm of SP-NAS."""

    settings: SearchSettings

    @property
    def title(self) -> str:
        """What it does."""
        return f"search from {self.settings.start.architecture}"

    @property
    def recipes(self) -> tuple[str, ...]:
        """Those of its levels, of what comes before and after, and of reignition."""
        settings = self.settings
        optional = {
            "parallel": settings.parallel is not None,
            "final": settings.train_full,
            "reignition": settings.serial.reignite or settings.pretrain_start,
        }
        return ("serial", "start", *(name for name, is_used in optional.items() if is_used))

    @cached_property
    def serial(self) -> SerialLevel:
        """The serial level."""
        return SerialLevel(self.settings)

    @cached_property
    def parallel(self) -> ParallelLevel:
        """The parallel level."""
        return ParallelLevel(self.settings)

    def initial(self) -> SearchState:
        """The state before the first decision."""
        return SearchState()

    def decide(self, state: SearchState) -> Decision:
        """The next decision; a job is entered."""
        if state.has_pending_barrier:
            return WAIT
        if len(state.pending) >= self.settings.in_flight(state.phase):
            return WAIT
        decision = self._propose(state)
        if isinstance(decision, Job):
            assert not (decision.barrier and state.pending), "a barrier job runs alone"
            self.enter(state, decision)
        return decision

    def enter(self, state: SearchState, job: Job) -> None:
        """Enter a decided job; its phase and round tell whether a new one begins with it."""
        if (job.phase, job.round) != (state.phase, state.round):
            begun = self._begun(state, job.phase, job.round)
            for item in fields(SearchState):
                setattr(state, item.name, getattr(begun, item.name))
        bookkeeping.enter(state, job)
        if job.role in ("start", "candidate"):
            state.known.add(str(job.spec.architecture))
        if job.role == "candidate":
            state.num_candidates += 1
        if job.role in ("candidate", "control", "confirmation"):
            state.next_replicate = max(state.next_replicate, job.seed[2] + 1)
            if self.settings.serial.paired:
                enter_generation(state, job)

    def objection(self, state: SearchState, outcome: Outcome) -> str | None:
        """Why this outcome stops the run instead of being told; running it again tries the job once more."""
        job = state.pending[outcome.index]
        if outcome.completed:
            return None
        if job.barrier:
            return failure(job, outcome)
        return bookkeeping.streak(state, outcome, self.settings.max_failures_in_a_row)

    def tell(self, state: SearchState, outcome: Outcome) -> None:
        """Take the outcome of the pending job with the lowest index."""
        member = bookkeeping.take(state, outcome)
        bookkeeping.count_failure(state, member)
        job = member.job
        match job.role:
            case "start":
                set_baseline(state, self.settings, member)
                state.pretrained = None
            case "pretrain":
                state.pretrained = job.index
            case "refresh":
                set_baseline(state, self.settings, member)
                state.pretrained = None
                state.refreshed = True
                state.counter = 0
            case "candidate" | "control" | "confirmation":
                level = self.parallel if job.phase == "parallel" else self.serial
                level.acceptance.tell(state, member)
            case "final":
                state.results.append((job.phase, job.round, job.index))

    def _propose(self, state: SearchState) -> Decision:
        if state.phase == "serial":
            decision = self.serial.propose(state)
            if decision is not None:
                return decision
            if self.settings.parallel is not None:
                return self.parallel.start(state, self.serial_net(state))
        elif state.phase == "parallel":
            decision = self.parallel.propose(state)
            if decision is not None:
                return decision
        if self.settings.train_full and state.phase != "final":
            return self._train_full(state)
        return Done("the search is complete")

    def serial_net(self, state: SearchState) -> Baseline:
        """SerialNet: the better of the baseline and the best there has been."""
        assert state.baseline is not None and state.best_overall is not None
        better = self.settings.objective.better(state.best_overall.score, state.baseline.score)
        return state.best_overall if better else state.baseline

    def _begun(self, state: SearchState, phase: str, round: int) -> SearchState:
        """The state at the start of another round or phase."""
        begun = state.advanced(phase, round)
        if phase == "serial":
            return begun
        winner = self.serial_net(state)
        result = (state.phase, state.round, winner.index)
        if result not in begun.results:  # the phase may come to another job than its last round
            begun.results.append(result)
        return replace(begun, baseline=winner)

    def _train_full(self, state: SearchState) -> Job:
        assert state.best_overall is not None
        best = state.best_overall
        return Job(
            index=state.next_index,
            kind="train_full",
            role="final",
            phase="final",
            round=state.round,
            spec=best.spec,
            recipe="final",
            seed=(self.settings.seed, best.index, 0),
            parent=best.index,
            barrier=True,
        )
