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
from itertools import pairwise

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
    if isinstance(morph, Assemble):
        return replace(spec, architecture=spec.architecture.with_subnets(morph.subnets))
    if any(spec.architecture.subnets):
        raise ValueError(f"morph: {morph} is for serial networks; {spec.architecture} has parallel subnets")
    match morph:
        case Swap():
            return _swap(spec, morph)
        case Expand() | Insert():
            return _expand(spec, morph)
        case NewStage() | InsertStage():
            return _rebuilt(spec, morph, spec.shortcuts + SUBSAMPLE)


def apply_all(spec: NetworkSpec, morphs: tuple[Morph, ...]) -> NetworkSpec:
    """The spec after these morphs, in order."""
    for morph in morphs:
        spec = apply(spec, morph)
    return spec


Restaging = Swap | Expand | NewStage | Insert | InsertStage
"""A morph that changes an encoding's stages."""


def restaged(stages: tuple[str, ...], morph: Restaging) -> tuple[str, ...]:
    """An encoding's stages after a morph that is legal on them.

    What is legal next depends on stages alone, so that encodings in reach are found without building their specs.
    """
    match morph:
        case NewStage() | InsertStage():
            return (*stages, "1")
        case Expand(after) | Insert(after):
            stage, position = _place(stages, after)
            grown = f"{stages[stage][: position + 1]}1{stages[stage][position + 1 :]}"
            return (*stages[:stage], grown, *stages[stage + 1 :])
        case Swap(block):
            stage, position = _place(stages, block)
            if position == 0:  # it gives its stride to the next block, and joins the stage before
                stage -= 1
                longer, shorter = stages[stage] + stages[stage + 1][0], stages[stage + 1][1:]
                return (*stages[:stage], longer, shorter, *stages[stage + 2 :])
            shorter, longer = stages[stage][:-1], stages[stage][-1] + stages[stage + 1]
            return (*stages[:stage], shorter, longer, *stages[stage + 2 :])


def _place(stages: tuple[str, ...], block: int) -> tuple[int, int]:
    """The stage of a serial block, and where it stands in it."""
    for stage, letters in enumerate(stages):
        if block < len(letters):
            return stage, block
        block -= len(letters)
    raise IndexError(f"block {block} after the last of {','.join(stages)}")


@lru_cache(maxsize=1024)  # a search meets the same few stages again and again
def legal_swaps(stages: tuple[str, ...]) -> tuple[Swap, ...]:
    """Every legal swap on an encoding's stages: the strides differ, and every stage keeps at least one block."""
    swaps = []
    first = 0
    for stage, following in pairwise(stages):
        last = first + len(stage) - 1
        if len(stage) > 1:  # its last block takes the stride and starts the following stage
            swaps.append(Swap(last))
        if len(following) > 1:  # the following stage's first block gives its stride away and joins this one
            swaps.append(Swap(last + 1))
        first = last + 1
    return tuple(swaps)


def legal_expansions(stages: tuple[str, ...], *, max_blocks: int, max_stages: int) -> tuple[Expand | NewStage, ...]:
    """Every legal insertion of a block into an encoding's stages within the limits; none at `max_blocks`."""
    num_blocks = sum(map(len, stages))
    return _insertions(num_blocks, new_stage=len(stages) < max_stages) if num_blocks < max_blocks else ()


@lru_cache(maxsize=128)
def _insertions(num_blocks: int, *, new_stage: bool) -> tuple[Expand | NewStage, ...]:
    inserted = tuple(Expand(after) for after in range(num_blocks))
    return (*inserted, NewStage()) if new_stage else inserted


def _swap(spec: NetworkSpec, morph: Swap) -> NetworkSpec:
    if morph not in legal_swaps(spec.architecture.stages):
        raise ValueError(
            f"morph: {morph} is not legal on {spec.architecture}: the strides of blocks {morph.block} and "
            f"{morph.block + 1} must differ and every stage must keep a block"
        )
    _, position = _place(spec.architecture.stages, morph.block)
    receiver = morph.block if position else morph.block + 1
    shortcuts = list(spec.shortcuts)
    for changed in (morph.block, morph.block + 1):
        if shortcuts[changed] != PROJECTION:
            shortcuts[changed] = SUBSAMPLE if changed == receiver else IDENTITY
    return _rebuilt(spec, morph, "".join(shortcuts))


def _expand(spec: NetworkSpec, morph: Expand | Insert) -> NetworkSpec:
    after = morph.after
    if not 0 <= after < spec.architecture.num_blocks:
        raise ValueError(
            f"morph: {morph} is not legal on {spec.architecture}: it has blocks 0 to {spec.architecture.num_blocks - 1}"
        )
    return _rebuilt(spec, morph, spec.shortcuts[: after + 1] + IDENTITY + spec.shortcuts[after + 1 :])


def _rebuilt(spec: NetworkSpec, morph: Restaging, shortcuts: str) -> NetworkSpec:
    stages = restaged(spec.architecture.stages, morph)
    # A long search holds many networks, which differ in few of their stages.
    architecture = Architecture(spec.architecture.block, tuple(map(sys.intern, stages)))
    return replace(spec, architecture=architecture, shortcuts=shortcuts)
