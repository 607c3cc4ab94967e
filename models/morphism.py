"""Network morphisms on encodings: swap, expand, a new stage, subnets (SP-NAS, sections 3.1 and 3.2).

Pure Python: `inheritance` does the same to weights. A morph maps one `NetworkSpec` to another; what it does to a
block's shortcut is part of it, so that the morphed weights stay those of a function as near to the parent's as
possible:

- `Swap` interchanges the strides of two neighbouring blocks. An identity shortcut that receives the stride becomes a
  subsampling one and back; a projection stays a projection. Swapping twice restores the spec.
- `Expand` inserts a block that computes the identity.
- `NewStage` opens a last stage with one such block that subsamples.
- `Assemble` sets the numbers of parallel subnets.
- `Insert` and `InsertStage` give the networks of `Expand` and `NewStage`, but with a block of fresh weights: what a
  search would do without function-preserving morphisms. They are there to be compared with; no search draws them.

Invariant: ``parse_morph(str(morph)) == morph``.
"""

import re
import sys
from dataclasses import dataclass, replace
from functools import lru_cache

from models.architecture import IDENTITY, PROJECTION, SUBSAMPLE, Architecture, NetworkSpec
from models.wording import brief


@dataclass(frozen=True, slots=True)
class Swap:
    """Interchange the strides of the serial blocks `block` and `block + 1` (counted from 0)."""

    block: int

    def __str__(self) -> str:
        return f"swap({self.block})"


@dataclass(frozen=True, slots=True)
class Expand:
    """Insert an identity block after the serial block `after` (counted from 0), in the same stage."""

    after: int

    def __str__(self) -> str:
        return f"expand({self.after})"


@dataclass(frozen=True, slots=True)
class NewStage:
    """Open a new last stage with one block of stride 2."""

    def __str__(self) -> str:
        return "new_stage()"


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a block of fresh weights after the serial block `after` (counted from 0), in the same stage."""

    after: int

    def __str__(self) -> str:
        return f"insert({self.after})"


@dataclass(frozen=True, slots=True)
class InsertStage:
    """Open a new last stage with one block of stride 2 and fresh weights."""

    def __str__(self) -> str:
        return "insert_stage()"


@dataclass(frozen=True, slots=True)
class Assemble:
    """Set the number of parallel subnets beside each stage."""

    subnets: tuple[int, ...]

    def __str__(self) -> str:
        return f"assemble({','.join(map(str, self.subnets))})"


Morph = Swap | Expand | NewStage | Insert | InsertStage | Assemble

_OF_A_BLOCK: dict[str, type[Swap | Expand | Insert]] = {"swap": Swap, "expand": Expand, "insert": Insert}
_OF_A_STAGE: dict[str, type[NewStage | InsertStage]] = {"new_stage": NewStage, "insert_stage": InsertStage}


@lru_cache(maxsize=1024)  # a search is made of a few morphs, each met again and again
def parse_morph(text: str) -> Morph:
    """Read what ``str(morph)`` printed; raises ValueError for anything else."""
    match = re.fullmatch(r"([a-z_]{1,20})\(((?:\d{1,9}(?:,\d{1,9})*)?)\)", text, re.ASCII)
    if match:
        name, numbers = match[1], tuple(int(number) for number in match[2].split(",") if number)
        if name == "assemble" and numbers:
            return Assemble(numbers)
        if name in _OF_A_STAGE and not numbers:
            return _OF_A_STAGE[name]()
        if name in _OF_A_BLOCK and len(numbers) == 1:
            return _OF_A_BLOCK[name](numbers[0])
    raise ValueError(
        f"morph: {brief(text)} is none of swap(N), expand(N), new_stage(), assemble(N,...), insert(N), insert_stage()"
    )


def apply(spec: NetworkSpec, morph: Morph) -> NetworkSpec:
    """The spec after one morph.

    Raises:
        ValueError: if the morph is not legal on this spec.
    """
    match morph:
        case Swap(block):
            return _swap(spec, block)
        case Expand() | Insert():
            return _expand(spec, morph)
        case NewStage() | InsertStage():
            _refuse_subnets(spec, morph)
            stages = (*spec.architecture.stages, "1")
            return _rebuilt(spec, stages, spec.shortcuts + SUBSAMPLE)
        case Assemble(subnets):
            return replace(spec, architecture=spec.architecture.with_subnets(subnets))


def apply_all(spec: NetworkSpec, morphs: tuple[Morph, ...]) -> NetworkSpec:
    """The spec after these morphs, in order."""
    for morph in morphs:
        spec = apply(spec, morph)
    return spec


@lru_cache(maxsize=256)
def legal_swaps(architecture: Architecture) -> tuple[Swap, ...]:
    """Every legal swap: the strides differ, and every stage keeps at least one block."""
    swaps = []
    first = 0
    for stage, following in zip(architecture.stages, architecture.stages[1:], strict=False):
        last = first + len(stage) - 1
        if len(stage) > 1:  # its last block takes the stride and starts the following stage
            swaps.append(Swap(last))
        if len(following) > 1:  # the following stage's first block gives its stride away and joins this one
            swaps.append(Swap(last + 1))
        first = last + 1
    return tuple(swaps)


def legal_expansions(architecture: Architecture, *, max_blocks: int, max_stages: int) -> tuple[Expand | NewStage, ...]:
    """Every legal insertion of a block within the limits; none with parallel subnets or at `max_blocks`."""
    if architecture.num_blocks >= max_blocks:
        return ()
    return _insertions(architecture.num_blocks, new_stage=architecture.num_stages < max_stages)


@lru_cache(maxsize=128)
def _insertions(num_blocks: int, *, new_stage: bool) -> tuple[Expand | NewStage, ...]:
    inserted = tuple(Expand(after) for after in range(num_blocks))
    return (*inserted, NewStage()) if new_stage else inserted


def _swap(spec: NetworkSpec, block: int) -> NetworkSpec:
    _refuse_subnets(spec, Swap(block))
    if Swap(block) not in legal_swaps(spec.architecture):
        raise ValueError(
            f"morph: swap({block}) is not legal on {spec.architecture}: the strides of blocks {block} and {block + 1} "
            "must differ and every stage must keep a block"
        )
    stages = list(spec.architecture.stages)
    stage, following = 0, len(stages[0])  # the first block of the stage after this one
    while block > following:
        stage += 1
        following += len(stages[stage])
    if block < following:
        receiver = block
        stages[stage], stages[stage + 1] = stages[stage][:-1], stages[stage][-1] + stages[stage + 1]
    else:
        receiver = block + 1
        stages[stage], stages[stage + 1] = stages[stage] + stages[stage + 1][0], stages[stage + 1][1:]

    shortcuts = list(spec.shortcuts)
    for changed in (block, block + 1):
        if shortcuts[changed] != PROJECTION:
            shortcuts[changed] = SUBSAMPLE if changed == receiver else IDENTITY

    return _rebuilt(spec, tuple(stages), "".join(shortcuts))


def _expand(spec: NetworkSpec, morph: Expand | Insert) -> NetworkSpec:
    _refuse_subnets(spec, morph)
    after = morph.after
    if not 0 <= after < spec.architecture.num_blocks:
        raise ValueError(
            f"morph: {morph} is not legal on {spec.architecture}: it has blocks 0 to {spec.architecture.num_blocks - 1}"
        )
    stages = list(spec.architecture.stages)
    stage, cut = 0, after + 1
    while cut > len(stages[stage]):
        cut -= len(stages[stage])
        stage += 1
    stages[stage] = stages[stage][:cut] + "1" + stages[stage][cut:]
    shortcuts = spec.shortcuts[: after + 1] + IDENTITY + spec.shortcuts[after + 1 :]
    return _rebuilt(spec, tuple(stages), shortcuts)


def _rebuilt(spec: NetworkSpec, stages: tuple[str, ...], shortcuts: str) -> NetworkSpec:
    # A long search holds many networks, which differ in few of their stages.
    architecture = Architecture(spec.architecture.block, tuple(map(sys.intern, stages)))
    return replace(spec, architecture=architecture, shortcuts=shortcuts)


def _refuse_subnets(spec: NetworkSpec, morph: Morph) -> None:
    if any(spec.architecture.subnets):
        raise ValueError(f"morph: {morph} is for serial networks; {spec.architecture} has parallel subnets")
