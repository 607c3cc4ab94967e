"""Networks trained side by side, none judged against another: what a study compares.

Pretrainings come first, one for each architecture and replicate that asks for one; then the trials that need none, then
those of each pretraining in turn, once it is told. A trial whose pretraining failed is left out.

Invariants:
- The seed has nothing of a trial but its replicate, so trials of one replicate see the same data in the same order.
- What is decided depends on settings and on told outcomes alone: all that can be known to be ready is decided at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from models.architecture import Architecture, NetworkSpec
from models.families import parse_architecture
from models.morphism import Morph, apply_all, parse_morph
from orchestrator.search import bookkeeping
from orchestrator.search.protocol import WAIT, Baseline, Decision, Done, Job, Outcome, SearchState
from orchestrator.search.settings import SearchSettings, TrialSettings

Pretraining = tuple[str, int]
"""What trials may share: an architecture and a replicate."""


@dataclass(frozen=True)
class IndependentTrials:
    """The algorithm of `spnas trials`."""

    settings: SearchSettings

    @property
    def title(self) -> str:
        """What it does."""
        return f"list of {len(self.settings.trials)} trials from {self.settings.start.architecture}"

    @property
    def recipes(self) -> tuple[str, ...]:
        """Those of the trials, and of pretraining."""
        trials = self.settings.trials
        return (*dict.fromkeys(trial.recipe for trial in trials), *("reignition",) * bool(_pretrainings(trials)))

    @cached_property
    def _pretrainings(self) -> list[Pretraining]:
        """By index of their jobs."""
        return _pretrainings(self.settings.trials)

    @cached_property
    def _ordered(self) -> list[TrialSettings]:
        return _ordered(self.settings.trials)

    def initial(self) -> SearchState:
        """The state before the first decision."""
        return SearchState(phase="trials", round=0)

    def decide(self, state: SearchState) -> Decision:
        """The next job that waits for nothing; it is entered."""
        job = self._pretrain(state) if state.next_index < len(self._pretrainings) else self._trial(state)
        if job is None:
            return WAIT if state.pending else Done("all trials are complete")
        self.enter(state, job)
        return job

    def enter(self, state: SearchState, job: Job) -> None:
        """Enter a decided job."""
        bookkeeping.enter(state, job)

    def objection(self, state: SearchState, outcome: Outcome) -> str | None:
        """Why this outcome stops the run instead of being told; running it again tries the job once more."""
        if outcome.completed:
            return None
        return bookkeeping.streak(state, outcome, self.settings.max_failures_in_a_row)

    def tell(self, state: SearchState, outcome: Outcome) -> None:
        """Take the outcome of the pending job with the lowest index."""
        member = bookkeeping.take(state, outcome)
        bookkeeping.count_failure(state, member)
        if not member.outcome.completed or not member.job.has_score:
            return
        best = state.best_overall
        if best is None or self.settings.objective.better(member.score, best.score):
            state.best_overall = Baseline(member.job.index, member.score, member.job.spec)

    def _pretrain(self, state: SearchState) -> Job:
        architecture, replicate = self._pretrainings[state.next_index]
        return Job(
            index=state.next_index,
            kind="pretrain",
            role="pretrain",
            phase="trials",
            round=0,
            spec=_fresh(self.settings, architecture),
            recipe="reignition",
            seed=(self.settings.seed, 0, replicate),
        )

    def _trial(self, state: SearchState) -> Job | None:
        """The next trial, if there is one and its pretraining, if any, is told."""
        failed = {
            self._pretrainings[index]
            for index in range(len(self._pretrainings))
            if index in state.population and not state.population[index].outcome.completed
        }
        # Those of one pretraining follow each other, so none that was decided stands behind one that is left out later.
        left = [trial for trial in self._ordered if not (trial.pretrain and _pretraining(trial) in failed)]
        position = state.next_index - len(self._pretrainings)
        if position == len(left):
            return None
        trial = left[position]
        backbone = self._pretrainings.index(_pretraining(trial)) if trial.pretrain else None
        if backbone in state.pending:
            return None
        spec, morphs = _network(self.settings, trial)
        return Job(
            index=state.next_index,
            kind="train_full" if trial.recipe == "final" else "train_detector",
            role="trial",
            phase="trials",
            round=0,
            spec=spec,
            recipe=trial.recipe,
            seed=(self.settings.seed, 0, trial.replicate),
            morphs=morphs,
            backbone=backbone,
        )


def is_afresh(trials: Sequence[TrialSettings], index: int) -> bool:
    """Whether the job of an index has nothing of the start's weights."""
    position = index - len(_pretrainings(trials))
    return position < 0 or _ordered(trials)[position].architecture is not None


def check_trials(settings: SearchSettings, *, has_parent: bool, can_pretrain: bool) -> None:
    """See that every trial can be made.

    Args:
        settings: with the trials.
        has_parent: whether the run was given a detector's weights.
        can_pretrain: whether the config says how.

    Raises:
        ValueError: with the key and what would be right.
    """
    if not settings.trials:
        raise ValueError("trials: missing, but they are what spnas trials trains; give a list of them")
    if settings.pretrain_start:
        raise ValueError("start.weights: 'pretrain' is not for trials; give those that are to have it pretrain: true")
    for number, trial in enumerate(settings.trials):
        key = f"trials.{number}"
        try:
            spec, _ = _network(settings, trial)
        except ValueError as error:
            raise ValueError(f"{key}.{'morphs' if trial.architecture is None else 'architecture'}: {error}") from None
        if trial.morphs is not None and not has_parent:
            raise ValueError(
                f"{key}.morphs: there are no weights to morph; name a run or a detector's file with --from"
            )
        if trial.pretrain and not can_pretrain:
            raise ValueError(
                f"reignition: missing, but {key}.pretrain is true; give reignition.data, or leave that out"
            )
        if trial.recipe == "final" and not settings.train_full:
            raise ValueError(f"final: missing, but {key}.recipe is final; give it, such as final.epochs=24")
        if (num_stages := spec.architecture.num_stages) > settings.serial.max_stages:
            raise ValueError(
                f"{key}: {spec.architecture} has {num_stages} stages; the pyramid is built for serial.max_stages, "
                f"{settings.serial.max_stages}; set that to as many"
            )


def _network(settings: SearchSettings, trial: TrialSettings) -> tuple[NetworkSpec, tuple[Morph, ...]]:
    """What a trial trains, and the morphs that make it of the start; ValueError if there is no such network."""
    if trial.architecture is not None:
        return _fresh(settings, trial.architecture), ()
    morphs = tuple(map(parse_morph, (trial.morphs or "").split()))
    return apply_all(settings.start_network, morphs), morphs


def _fresh(settings: SearchSettings, architecture: str) -> NetworkSpec:
    start, encoding = settings.start_network, parse_architecture(architecture)
    if not isinstance(encoding, Architecture):
        raise ValueError(f"{encoding} is a multi-scale network; give one such as BB(11,d1,d1,d1)")
    return NetworkSpec.fresh(encoding, start.stem, start.base_channels)


def _pretraining(trial: TrialSettings) -> Pretraining:
    assert trial.architecture is not None, "settings see to that"
    return trial.architecture, trial.replicate


def _pretrainings(trials: Sequence[TrialSettings]) -> list[Pretraining]:
    return list(dict.fromkeys(_pretraining(trial) for trial in trials if trial.pretrain))


def _ordered(trials: Sequence[TrialSettings]) -> list[TrialSettings]:
    """The trials in the order of their jobs."""
    shared = _pretrainings(trials)
    return sorted(trials, key=lambda trial: shared.index(_pretraining(trial)) if trial.pretrain else -1)
