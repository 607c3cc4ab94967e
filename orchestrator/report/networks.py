"""Networks as they are drawn, and how the best came to be from the start.

Invariant: what a network's blocks were in the start follows from the morphs that the journal has, not from comparing
encodings: a block that was swapped twice is where it was, and a new one is new wherever it went.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.architecture import SHORTCUT_NAMES, Architecture, BlockShape, NetworkSpec
from models.families import AnySpec, network_cost, network_parts
from models.morphism import Assemble, Expand, Insert, InsertStage, Morph, NewStage, Swap, apply
from models.msnas_encoding import MultiScaleSpec, mixed_block_shape
from orchestrator.report.story import Block, Head, LineageStep, MorphStep, Network, Part
from orchestrator.search.protocol import Job

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A job with its place in the story.

    Attributes:
        job: it.
        score: as the search judged it.
        told: the job after which it was the baseline.
    """

    job: Job
    score: float | None
    told: int | None


def ancestors(job: Job, jobs: Sequence[Job]) -> list[Job]:
    """The jobs from which this one comes, the first of all first, this one last.

    A full training that starts afresh comes from the job whose network it trains, which its seed names.
    """
    chain = [job]
    while (before := _origin(chain[-1])) is not None:
        chain.append(jobs[before])
    return chain[::-1]


def _origin(job: Job) -> int | None:
    if job.parent is None and job.role == "final" and job.seed[1] < job.index:
        return job.seed[1]
    return job.parent


def lineage(chain: Sequence[Judged], size: Size) -> tuple[LineageStep, ...]:
    """The steps of a chain of ancestors; `size` is the image's for costs."""
    steps: list[LineageStep] = []
    for judged in chain:
        job, before = judged.job, steps[-1] if steps else None
        compared = before is not None and before.score is not None and judged.score is not None
        parent = chain[len(steps) - 1].job.spec if steps else job.spec
        steps.append(
            LineageStep(
                index=job.index,
                role=job.role,
                phase=job.phase,
                round=job.round,
                architecture=str(job.spec.architecture),
                gflops=network_cost(job.spec, *size).macs / 1e9,
                score=judged.score,
                gain=judged.score - before.score if compared else None,  # type: ignore[operator, union-attr]
                morphs=_morph_steps(parent, job.morphs, size) if steps else (),
                told=judged.told,
            )
        )
    return tuple(steps)


def _morph_steps(spec: AnySpec, morphs: Sequence[Morph], size: Size) -> tuple[MorphStep, ...]:
    steps = []
    for morph in morphs:
        assert isinstance(spec, NetworkSpec), "only the networks of SP-NAS are morphed"
        words, spec = in_words(morph, spec.architecture), apply(spec, morph)
        gflops = network_cost(spec, *size).macs / 1e9
        steps.append(MorphStep(morph=str(morph), words=words, architecture=str(spec.architecture), gflops=gflops))
    return tuple(steps)


def in_words(morph: Morph, architecture: Architecture) -> str:
    """What a morph does to an architecture; blocks and stages count from 1."""
    match morph:
        case Swap(block):
            stage = _stage_of(architecture, block)
            is_first = stage > 0 and _stage_of(architecture, block - 1) != stage
            return f"block {block + 1} moves from stage {stage + 1} to stage {stage if is_first else stage + 2}"
        case Expand(after) | Insert(after):
            return f"a new block after block {after + 1}, in stage {_stage_of(architecture, after) + 1}"
        case NewStage() | InsertStage():
            return f"a new stage {architecture.num_stages + 1} of one block"
        case Assemble(subnets):
            return f"{', '.join(map(str, subnets))} subnets beside the stages"


def _stage_of(architecture: Architecture, block: int) -> int:
    stages = [number for number, letters in enumerate(architecture.stages) for _ in letters]
    return stages[block]


def drawn(name: str, chain: Sequence[Judged], start: Job, size: Size) -> Network:
    """A network to be drawn, its changes marked.

    Args:
        name: what it is.
        chain: its ancestors and it.
        start: the job of the start's network.
        size: the image's for costs.
    """
    job = chain[-1].job
    spec = job.spec
    if isinstance(spec, NetworkSpec) and chain[0].job.index != start.index:
        start = job  # it has not come from the start's blocks
    cost = network_cost(spec, *size)
    heads: tuple[Head, ...] = ()
    subnets: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    if isinstance(spec, MultiScaleSpec):
        family, channels = "msnas", spec.architecture.channels
        blocks = _mixed_blocks(spec, start.spec)
        heads = _heads(spec, start.spec)
    else:
        family, channels = "spnas", spec.base_channels
        blocks = _serial_blocks(spec, start.spec, [judged.job for judged in chain])
        subnets = spec.architecture.subnets or (0,) * spec.architecture.num_stages
        added = _added(subnets, start.spec)
    return Network(
        name=name,
        index=job.index,
        score=chain[-1].score,
        architecture=str(spec.architecture),
        family=family,
        block_type=spec.architecture.block,
        stem=spec.stem,
        base_channels=channels,
        gflops=cost.macs / 1e9,
        parameters=cost.parameters,
        blocks=blocks,
        subnets=subnets,
        subnets_added=added,
        heads=heads,
        parts=tuple(
            Part(
                name=part.name,
                stride=part.stride,
                serial_gflops=part.serial.macs / 1e9,
                parallel_gflops=part.parallel.macs / 1e9,
            )
            for part in network_parts(spec, *size)
        ),
    )


def _serial_blocks(spec: NetworkSpec, start: AnySpec, chain: Sequence[Job]) -> tuple[Block, ...]:
    before = [4 << block.stage for block in start.blocks] if isinstance(start, NetworkSpec) else []
    origins = _origins(chain, len(before))
    letters = "".join(spec.architecture.stages)
    blocks = []
    for position, (shape, letter) in enumerate(zip(spec.blocks, letters, strict=True)):
        stride = 4 << shape.stage
        origin = origins[position] if len(origins) == len(letters) else position
        change = "expanded" if origin is None else ""
        if origin is not None and origin < len(before) and before[origin] != stride:
            change = "swapped"
        blocks.append(_block(position, shape.stage, stride, shape, letter == "d", None, change, origin))
    return tuple(blocks)


def _origins(chain: Sequence[Job], num_blocks: int) -> list[int | None]:
    """For each block of the chain's last network the start's block that it was."""
    origins: list[int | None] = list(range(num_blocks))
    for job in chain:
        for morph in job.morphs:
            if isinstance(morph, Expand | Insert):
                origins.insert(morph.after + 1, None)
            elif isinstance(morph, NewStage | InsertStage):
                origins.append(None)
    return origins


def _added(subnets: tuple[int, ...], start: AnySpec) -> tuple[int, ...]:
    before = start.architecture.subnets if isinstance(start, NetworkSpec) else ()
    before += (0,) * (len(subnets) - len(before))
    return tuple(max(0, now - then) for now, then in zip(subnets, before, strict=False))


def _mixed_blocks(spec: MultiScaleSpec, start: AnySpec) -> tuple[Block, ...]:
    network = spec.architecture
    before = start.architecture.feature_strides if isinstance(start, MultiScaleSpec) else network.feature_strides
    blocks, stage = [], 0
    for position, (step, stride) in enumerate(zip(network.strides, network.feature_strides, strict=True)):
        stage += step != 1 and position > 0
        shape = mixed_block_shape(network.block, network.channels, position, step)
        change = "swapped" if position < len(before) and before[position] != stride else ""
        blocks.append(_block(position, stage, stride, shape, False, network.laterals[position], change, position))
    return tuple(blocks)


def _heads(spec: MultiScaleSpec, start: AnySpec) -> tuple[Head, ...]:
    network = spec.architecture
    before = start.architecture.heads if isinstance(start, MultiScaleSpec) else network.heads
    return tuple(
        Head(block=block, stride=stride, changed=stride != then)
        for block, stride, then in zip(network.head_blocks, network.heads, before, strict=True)
    )


def _block(
    position: int,
    stage: int,
    stride: int,
    shape: BlockShape,
    doubles: bool,
    lateral: int | None,
    change: str,
    origin: int | None,
) -> Block:
    return Block(
        position=position,
        stage=stage,
        stride=stride,
        channels=shape.out_channels,
        doubles=doubles,
        shortcut=SHORTCUT_NAMES[shape.shortcut],
        lateral=lateral,
        change=change,
        origin=origin,
    )
