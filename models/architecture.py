"""Backbone encodings and the networks they stand for (SP-NAS, section 3.1).

Pure Python: nothing here imports torch. Two values are told apart on purpose:

- an `Architecture` is the paper's encoding, ``BNB(111,d111,d11111,d11)+(0,0,1,0)``: the type of block, the blocks of
  each stage, and how many parallel subnets stand beside each stage;
- a `NetworkSpec` is what a torch module is built from: the encoding, the stem, the base channels, and the kind of
  every block's shortcut. After a swap the encoding alone no longer determines the shortcuts, so the spec travels with
  the weights.

Invariant: ``Architecture.parse(str(a)) == a`` for every architecture, and every malformed string raises
`ArchitectureError` with the position of the first offending character.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, NoReturn, get_args

from models.wording import brief

BlockType = Literal["BB", "BNB", "XB"]
Stem = Literal["deep", "resnet"]
Normalization = Literal["batch", "sync", "frozen", "group"]  # of a build, not of a spec: weights move between them
BLOCK_TYPES: tuple[str, ...] = get_args(BlockType)
STEMS: tuple[str, ...] = get_args(Stem)
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)

# Far beyond any network that can be trained; without them a short text could ask for numbers of a million digits.
MAX_BLOCKS = 1000
MAX_CHANNELS = 2**20

# Letters of `NetworkSpec.shortcuts`, one per block.
IDENTITY, SUBSAMPLE, PROJECTION = "i", "s", "p"
SHORTCUT_NAMES = {IDENTITY: "identity", SUBSAMPLE: "subsample", PROJECTION: "projection"}


class ArchitectureError(ValueError):
    """A string that is no architecture; `position` counts characters from 0."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        """Keep the text and the position beside the message."""
        self.text, self.position = text, position
        super().__init__(f"architecture {brief(text)}, position {position}: {reason}")


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """The encoding of one backbone: serial stages, and optionally parallel subnets (sections 3.1 and 3.2).

    Attributes:
        block: ``BB``, ``BNB`` or ``XB`` (Table 2).
        stages: one string per stage; ``1`` is a block that keeps the base channels, ``d`` one that doubles them.
        subnets: the number of parallel subnets beside each stage, or ``()`` for a serial network.
    """

    block: str
    stages: tuple[str, ...]
    subnets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what `parse` could not have given."""
        text = _print(self.block, self.stages, self.subnets)
        if _scan(text) != (self.block, self.stages, self.subnets):
            raise ArchitectureError(text, 0, "not an encoding; use Architecture.parse")

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read an encoding.

        Raises:
            ArchitectureError: with the position of the first character that breaks the form.
        """
        return cls(*_scan(text))

    def __str__(self) -> str:
        return _print(self.block, self.stages, self.subnets)

    @property
    def num_stages(self) -> int:
        """Number of encoded stages (the stem is not one of them)."""
        return len(self.stages)

    @property
    def num_blocks(self) -> int:
        """Number of serial blocks."""
        return sum(map(len, self.stages))

    @property
    def serial(self) -> "Architecture":
        """The same network without its parallel subnets."""
        return Architecture(self.block, self.stages)

    def with_subnets(self, subnets: tuple[int, ...]) -> "Architecture":
        """The same serial network with these numbers of subnets, one per stage."""
        return Architecture(self.block, self.stages, subnets)


def _print(block: str, stages: tuple[str, ...], subnets: tuple[int, ...]) -> str:
    serial = f"{block}({','.join(stages)})"
    return f"{serial}+({','.join(map(str, subnets))})" if subnets else serial


@lru_cache(maxsize=256)  # an encoding that is read is checked again as a value, and soon met again
def _scan(text: str) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """The parts of an encoding, or an `ArchitectureError`."""
    position = 0

    def fail(reason: str) -> NoReturn:
        raise ArchitectureError(text, position, reason)

    def found() -> str:
        return f"found {text[position]!r}" if position < len(text) else "the text ends"

    def expect(character: str) -> None:
        nonlocal position
        if text[position : position + 1] != character:
            fail(f"expected {character!r}, {found()}")
        position += 1

    block = next(filter(text.startswith, BLOCK_TYPES), None)
    if block is None:
        fail(f"expected a type of block, one of {', '.join(BLOCK_TYPES)}")
    position = len(block)
    expect("(")

    stages = []
    num_blocks = 0
    while True:
        start = position
        while text[position : position + 1] in ("1", "d"):
            if num_blocks == MAX_BLOCKS:
                fail(f"a network has at most {MAX_BLOCKS} blocks")
            num_blocks += 1
            position += 1
        if position == start:
            fail(f"expected a block, '1' or 'd' (every stage has at least one), {found()}")
        stages.append(sys.intern(text[start:position]))
        if text[position : position + 1] != ",":
            break
        position += 1
    if text[position : position + 1] != ")":
        fail(f"expected '1', 'd', ',' or ')', {found()}")
    position += 1

    subnets: list[int] = []
    if position < len(text):
        expect("+")
        expect("(")
        while True:
            start = position
            while "0" <= text[position : position + 1] <= "9":
                position += 1
            digits = text[start:position]
            if not digits:
                fail(f"expected a number of subnets, {found()}")
            if digits[0] == "0" and len(digits) > 1 or len(digits) > 3:
                position = start
                fail(f"expected a number of subnets from 0 to 999 without leading zeros, found {brief(digits)}")
            subnets.append(int(digits))
            if text[position : position + 1] != ",":
                break
            position += 1
        if text[position : position + 1] == ")" and len(subnets) != len(stages):
            fail(f"{len(stages)} stages need {len(stages)} numbers of subnets, found {len(subnets)}")
        expect(")")
        if position < len(text):
            fail(f"expected the end, {found()}")
    return block, tuple(stages), tuple(subnets)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """One residual block as built: where it stands, its stride and its channels.

    Attributes:
        stage: index of its stage, from 0.
        position: index within the stage, from 0.
        stride: 1 or 2; it sits in the 3x3 convolution.
        in_channels: channels that enter.
        mid_channels: channels between its convolutions (n for BB and BNB, 2n for XB).
        out_channels: channels that leave (n for BB, 4n for BNB and XB).
        shortcut: ``i`` identity, ``s`` subsampling, ``p`` projection.
    """

    stage: int
    position: int
    stride: int
    in_channels: int
    mid_channels: int
    out_channels: int
    shortcut: str


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """All that a backbone module is built from.

    Attributes:
        architecture: the encoding.
        shortcuts: one letter per serial block (``i``, ``s`` or ``p``); subnets copy their stage's.
        stem: ``deep`` (two strided 3x3 convolutions, the paper's) or ``resnet`` (7x7 and max-pool).
        base_channels: channels of the stem's output, n of the first blocks.
    """

    architecture: Architecture
    shortcuts: str
    stem: str = "deep"
    base_channels: int = 64

    def __post_init__(self) -> None:
        """Refuse a spec that no module can be built from."""
        if self.stem not in STEMS:
            raise ValueError(f"stem: {brief(self.stem)} is none of {', '.join(STEMS)}")
        if self.base_channels < 1:
            raise ValueError(f"base_channels: {brief(self.base_channels)} is not a positive number")
        if self.base_channels > MAX_CHANNELS >> (doublings := "".join(self.architecture.stages).count("d")):
            raise ValueError(
                f"base_channels: {brief(self.base_channels)}, doubled {doublings} times, are more than {MAX_CHANNELS}"
            )
        if self.architecture.block == "XB" and self.base_channels % 16:
            raise ValueError(f"base_channels: {self.base_channels} is not a multiple of 16, which XB's 32 groups need")
        if len(self.shortcuts) != self.architecture.num_blocks or set(self.shortcuts) - set(SHORTCUT_NAMES):
            raise ValueError(
                f"shortcuts: {brief(self.shortcuts)} are not {self.architecture.num_blocks} letters of i, s and p"
            )
        _ = self.stages  # refuses a shortcut where none of its kind can be

    @classmethod
    def fresh(cls, architecture: Architecture, stem: str = "deep", base_channels: int = 64) -> "NetworkSpec":
        """The spec of a fresh build: a projection wherever stride or channels change, else the identity."""
        projected = cls(architecture, PROJECTION * architecture.num_blocks, stem, base_channels)
        letters = "".join(
            PROJECTION if block.stride == 2 or block.in_channels != block.out_channels else IDENTITY
            for block in projected.blocks
        )
        return cls(architecture, letters, stem, base_channels)

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        """The serial blocks in order."""
        return tuple(chain.from_iterable(self.stages))

    @property
    def stages(self) -> tuple[tuple[BlockShape, ...], ...]:
        """The serial blocks by stage."""
        stages = []
        channels = inner = self.base_channels
        first = 0
        for number, letters in enumerate(self.architecture.stages):
            shortcuts = self.shortcuts[first : first + len(letters)]
            stages.append(_stage(self.architecture.block, number, letters, shortcuts, channels, inner))
            channels <<= letters.count("d")
            inner = stages[-1][-1].out_channels
            first += len(letters)
        return tuple(stages)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        return tuple(stage[-1].out_channels for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {
            "architecture": str(self.architecture),
            "shortcuts": self.shortcuts,
            "stem": self.stem,
            "base_channels": self.base_channels,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkSpec":
        """The inverse of `to_dict`; raises ValueError for anything else."""
        match values:
            case {"architecture": str(encoding), "shortcuts": str(letters), "stem": str(stem), "base_channels": int(n)}:
                return _read_spec(encoding, letters, stem, n)
        raise ValueError(f"network: {brief(values)} has no architecture, shortcuts, stem and base_channels")


@lru_cache(maxsize=256)  # a record is read by several, and many jobs of a search train the same network
def _read_spec(encoding: str, shortcuts: str, stem: str, base_channels: int) -> NetworkSpec:
    return NetworkSpec(Architecture.parse(encoding), shortcuts, stem, base_channels)


@lru_cache(maxsize=512)  # a search meets the same few stages in network after network
def _stage(block: str, number: int, letters: str, shortcuts: str, channels: int, inner: int) -> tuple[BlockShape, ...]:
    """The blocks of one stage.

    Args:
        block: the type of block.
        number: the stage's, from 0.
        letters: its part of the encoding.
        shortcuts: one letter per block.
        channels: the blocks' channels n before the stage.
        inner: channels that enter the stage.

    Raises:
        ValueError: if a block can't have its shortcut.
    """
    expansion = 1 if block == "BB" else 4
    widening = 2 if block == "XB" else 1
    shapes = []
    for position, (letter, shortcut) in enumerate(zip(letters, shortcuts, strict=True)):
        channels *= 2 if letter == "d" else 1
        stride = 2 if number > 0 and position == 0 else 1
        outer = channels * expansion
        plain = IDENTITY if stride == 1 else SUBSAMPLE
        if shortcut != PROJECTION and (inner != outer or shortcut != plain):
            raise ValueError(
                f"shortcuts: block {position} of stage {number + 1}, {brief(letters)}, "
                f"can't have the shortcut '{SHORTCUT_NAMES[shortcut]}'"
            )
        shapes.append(
            BlockShape(
                stage=number,
                position=position,
                stride=stride,
                in_channels=inner,
                mid_channels=channels * widening,
                out_channels=outer,
                shortcut=shortcut,
            )
        )
        inner = outer
    return tuple(shapes)
