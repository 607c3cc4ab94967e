"""All that a report shows of a run, as plain values.

Scores are the objective's metric, fractions as the journal has them; times are seconds since 1970 by the driver's
clock unless they say otherwise; GFLOPs are 10^9 multiply-adds of the backbone (of a multi-scale network: of encoder and
RPN) on one image of `RunFacts.image_size`.

Invariant: a story is made of frozen dataclasses, tuples, dicts of text, and JSON's own values alone, none of them NaN
or infinite, so `dataclasses.asdict` gives what any page or file can hold. Text is printable and of one line, but for
`RunFacts.config_yaml`.
"""

from dataclasses import dataclass

STEM_STRIDE = 4
"""Image pixels for each of a stem's output, of either family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run is, and how to make it again.

    Attributes:
        name: the last part of its address.
        address: what opens it.
        title: what its algorithm does, in words.
        algorithm: the config's.
        seed: the config's.
        metric: the objective's.
        maximize: whether more of it is better.
        image_size: height and width for which costs are counted.
        state: ``running``, ``ended``, or ``gone``: it was not ended, and no driver has it.
        ended_because: the last driver's word, "" while there is none.
        begun_at: when the first driver opened it, None if the journal doesn't say.
        last_at: when the newest record was written, None likewise.
        made_at: when this story was read.
        num_workers: the config's.
        hour_name: what `Trial.hours` counts, as the budget does: ``GPU-hours``, or ``CPU-hours`` without GPUs.
        hours: spent on jobs that are told, as `Trial.hours`.
        n_stuck: candidates without an improvement that end a round, by phase; empty where nothing counts them.
        versions: of what it ran on, by name, of the last driver that said so.
        given: what the start's weights were taken from, "" for none.
        config_yaml: the resolved config, every default in it.
        reproduce: shell commands that run it again; the config is in ``config.yaml``.
    """

    name: str
    address: str
    title: str
    algorithm: str
    seed: int
    metric: str
    maximize: bool
    image_size: tuple[int, int]
    state: str
    ended_because: str
    begun_at: float | None
    last_at: float | None
    made_at: float
    num_workers: int
    hour_name: str
    hours: float
    n_stuck: dict[str, int]
    versions: dict[str, str]
    given: str
    config_yaml: str
    reproduce: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One job: what was decided and what it came to. Names are those of the trials table.

    Attributes:
        index: order of decision, from 0.
        kind: what a worker does: ``train_detector``, ``pretrain``, ``train_supernet``, ``train_full``, ``score`` or
            ``evaluate``.
        role: ``start``, ``candidate``, ``control``, ``confirmation``, ``pretrain``, ``refresh``, ``supernet``,
            ``final``, ``evaluation`` or ``trial``.
        phase: ``serial``, ``parallel``, ``supernet``, ``evolution``, ``final``, ``train``, ``evaluate``, ``pretrain``
            or ``trials``.
        round: of the serial level, from 1; of the evolution, the generation.
        architecture: the encoding.
        parent: the job whose weights it started from.
        backbone: the job whose backbone took the parent's place, after a reignition.
        morphs: what made the network of the parent's, in order.
        recipe: which training settings.
        seed: search seed, job that made the weights, replicate.
        status: ``pending``, ``running``, ``completed`` or ``failed``.
        score: the objective, None where there is none.
        metrics: every metric of the trained network; those of steps on the way are in the trials table alone.
        gflops: the network's.
        parameters: the network's.
        seconds: how long its last attempt took.
        worker: where that was.
        attempts: how many there were.
        peak_memory_bytes: of the last.
        error: why it failed, else "".
        notes: what an operator should know.
        is_baseline: whether it has been a baseline.
        is_best: whether it is the best of all.
        on_front: whether no job of the search beats it in both score and GFLOPs (`Story.front`).
        proposed_at: when it was decided.
        finished_at: when it ended, by its worker's clock.
        best_score: the search's best when it was told; of a paired search a mean over confirmations. None before the
            first, and of jobs that aren't told.
        counter: the stuck counter when it was told; None where nothing counts.
        hours: GPU-hours (or CPU-hours, `RunFacts.hour_name`) of all jobs told until then, this one's with them.
    """

    index: int
    kind: str
    role: str
    phase: str
    round: int
    architecture: str
    parent: int | None
    backbone: int | None
    morphs: tuple[str, ...]
    recipe: str
    seed: str
    status: str
    score: float | None
    metrics: dict[str, float]
    gflops: float
    parameters: int
    seconds: float | None
    worker: str
    attempts: int
    peak_memory_bytes: int | None
    error: str
    notes: str
    is_baseline: bool
    is_best: bool
    on_front: bool
    proposed_at: float
    finished_at: float | None
    best_score: float | None
    counter: int | None
    hours: float | None

    @property
    def is_told(self) -> bool:
        """Whether it has ended and counts."""
        return self.status in ("completed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSpan:
    """Jobs that follow each other in one phase and round: ``first`` to ``last``, both with it.

    Attributes:
        name: for people: ``serial 1``, ``parallel``, ``generation 3``, ``full training``.
        best: the best baseline (elsewhere: the best) that came up in it, None if none did.
        best_score: its score.
    """

    name: str
    phase: str
    round: int
    first: int
    last: int
    best: int | None
    best_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineChange:
    """A job that became the baseline (where there are none: the best), after the job `told` was told.

    Attributes:
        score: as the search judged it; of a paired search a mean over confirmations.
    """

    told: int
    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reignition:
    """The backbone was pretrained anew because the search was stuck.

    Attributes:
        pretrain: the job that pretrained it.
        refresh: the job that trained the detector on it, None if it is not decided yet.
        round: which was stuck.
        score_before: of the baseline then.
        score_after: of the refreshed one, None before it is told.
    """

    pretrain: int
    refresh: int | None
    round: int
    score_before: float | None
    score_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one part of a network costs.

    Attributes:
        name: ``stem``, ``stage 1``; of a multi-scale network ``1/8`` for all blocks of that resolution, ``laterals``,
            ``RPN``.
        stride: image pixels for each of its own, None for what is at several.
        serial_gflops: of the stage itself.
        parallel_gflops: of the subnets beside it.
    """

    name: str
    stride: int | None
    serial_gflops: float
    parallel_gflops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of a drawn network, in the order of computation.

    Attributes:
        position: index among all of them, from 0.
        stage: of its stage, from 0; of a multi-scale network the run of blocks at one resolution.
        stride: image pixels for each of its output's own.
        channels: that leave it.
        doubles: whether it doubles the base channels (``d``).
        shortcut: ``identity``, ``subsample`` or ``projection``.
        lateral: the block whose lateral connection is added to its output (multi-scale), else None.
        change: against the start: "", ``expanded`` (was not there), ``swapped`` (was at another resolution).
        origin: the start's block that it was, None for a new one.
    """

    position: int
    stage: int
    stride: int
    channels: int
    doubles: bool
    shortcut: str
    lateral: int | None
    change: str
    origin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What one group of objects is found on (multi-scale networks), small objects first.

    Attributes:
        block: position of the block that it reads.
        stride: of that one's feature.
        changed: whether the start's read another stride.
    """

    block: int
    stride: int
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network to be drawn.

    Attributes:
        name: for people: ``start``, ``serial 1``, ``parallel``, ``best (parallel)``; of a single training ``network``.
        index: of the job.
        family: ``spnas`` or ``msnas``.
        block_type: ``BB``, ``BNB`` or ``XB``.
        subnets: parallel subnets beside each stage; empty for a multi-scale network.
        subnets_added: how many of these the start had not.
        heads: of a multi-scale network; of another every stage is read by the pyramid.
        parts: its costs, stem first.
    """

    name: str
    index: int
    score: float | None
    architecture: str
    family: str
    block_type: str
    stem: str
    base_channels: int
    gflops: float
    parameters: int
    blocks: tuple[Block, ...]
    subnets: tuple[int, ...]
    subnets_added: tuple[int, ...]
    heads: tuple[Head, ...]
    parts: tuple[Part, ...]

    def num_subnets(self, stage: int) -> int:
        """How many subnets run beside a stage, counted from 0."""
        return self.subnets[stage] if stage < len(self.subnets) else 0

    @property
    def lanes(self) -> dict[int, int]:
        """The resolutions to be drawn, by stride, the finest first, with the most subnets beside a stage of each."""
        lanes = {STEM_STRIDE: 0}
        for block in self.blocks:
            lanes[block.stride] = max(lanes.get(block.stride, 0), self.num_subnets(block.stage))
        return dict(sorted(lanes.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class MorphStep:
    """One morph within a step of the lineage.

    Attributes:
        morph: as the journal has it: ``expand(3)``.
        words: for people: ``a block after block 4 of stage 2``.
        architecture: after it.
        gflops: after it.
    """

    morph: str
    words: str
    architecture: str
    gflops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageStep:
    """A job on the way from the start to the best, each the parent of the next.

    Attributes:
        morphs: what made its network of the one before; empty for the start, a control or a refresh.
        score: as the search judged it, None for what has none (a super-net).
        gain: against the step before, None where one of the two has no score.
        told: the job after which it was the baseline, else None.
    """

    index: int
    role: str
    phase: str
    round: int
    architecture: str
    gflops: float
    score: float | None
    gain: float | None
    morphs: tuple[MorphStep, ...]
    told: int | None

    @property
    def changes_network(self) -> bool:
        """Whether it is another network than the one before; the parallel level's start has a morph that adds none."""
        return self.role == "candidate" and bool(self.morphs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on one worker, or on several together.

    Attributes:
        job: its index.
        role: the job's.
        attempt: which try, from 0.
        epoch: of the driver that sent it, from 1.
        workers: where.
        start: when it was sent off.
        end: when it was over; of a lost one, the latest time that it can have been at work.
        outcome: ``completed``, ``failed``, ``rejected`` (it stopped the run), ``lost`` (its worker or the driver
            went), or ``running``.
        reason: why it failed or was lost, else "".
    """

    job: int
    role: str
    attempt: int
    epoch: int
    workers: tuple[str, ...]
    start: float
    end: float
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One driver's time.

    Attributes:
        epoch: its number, from 1.
        begun_at: when it opened the journal.
        ended_at: when it ended, or its newest record; of one that runs, when this story was read.
        reason: why it ended; "" if it did not say, or runs.
        runs: whether it does.
    """

    epoch: int
    begun_at: float
    ended_at: float
    reason: str
    runs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerUse:
    """What became of a worker's time in the lives in which it had any job: the three add up to their length.

    Attributes:
        busy_s: on attempts that ended or run.
        lost_s: on attempts that were lost.
        idle_s: neither.
    """

    name: str
    num_attempts: int
    busy_s: float
    lost_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureKind:
    """Failed jobs or lost attempts with one reason in common, the most frequent first.

    Attributes:
        what: ``failed`` or ``lost``.
        jobs: their indices.
    """

    what: str
    reason: str
    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run.

    Attributes:
        facts: what it is.
        trials: every job decided, by index.
        phases: in order, without gaps.
        baselines: in order.
        reignitions: in order.
        front: indices of the search's jobs that no other of them beats in both score and GFLOPs, by rising GFLOPs;
            full trainings are no part of it, since they are trained longer.
        networks: the start, the best of each phase, and the best, each once; the last is the best so far.
        lineage: from the start to the best; empty before there is one.
        attempts: in the order of dispatch.
        lives: in order.
        workers: by name.
        failures: the most frequent first.
    """

    facts: RunFacts
    trials: tuple[Trial, ...]
    phases: tuple[PhaseSpan, ...]
    baselines: tuple[BaselineChange, ...]
    reignitions: tuple[Reignition, ...]
    front: tuple[int, ...]
    networks: tuple[Network, ...]
    lineage: tuple[LineageStep, ...]
    attempts: tuple[Attempt, ...]
    lives: tuple[Life, ...]
    workers: tuple[WorkerUse, ...]
    failures: tuple[FailureKind, ...]

    @property
    def best(self) -> Trial | None:
        """The best of all, if there is one."""
        return next((trial for trial in self.trials if trial.is_best), None)

    @property
    def start(self) -> Network | None:
        """The start's network, once its job is decided."""
        return self.networks[0] if self.networks else None
