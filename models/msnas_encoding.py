"""Encodings of multi-scale networks, their rules, and the space they are drawn from (MSNAS, sections 3.2 and 3.3).

Pure Python: nothing here imports torch.

A `MultiScale` is one path through the super-net with its feature utilisation,
``MS(BB,180;1,2,2,1,2,1,0.5,1,1,0.5,1,1,0.5;8,8,16,16,32)``: the blocks' type and channels, the stride of every mixed
block, and for each of the five groups of objects, small ones first, the stride of the feature its head reads.

Invariants: ``MultiScale.parse(str(m)) == m`` for every `MultiScale`, every malformed string raises `ArchitectureError`
with the position of what breaks the form, and every one that exists can be built: its features are between 1/4 and
1/64 of the image, and each head reads one of them. `SearchSpace.draw` gives each member with the same probability.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, get_args

from models.architecture import (
    IDENTITY,
    MAX_BLOCKS,
    MAX_CHANNELS,
    PROJECTION,
    STEMS,
    ArchitectureError,
    BlockShape,
)
from models.wording import brief

if TYPE_CHECKING:
    import numpy as np

PREFIX = "MS"
"""What these encodings begin with, and no SP-NAS one does."""

MixedBlock = Literal["BB", "BNB"]
MIXED_BLOCKS: tuple[str, ...] = get_args(MixedBlock)
_EXPANSION = {"BB": 1, "BNB": 4}

STRIDES = (0.5, 1, 2)
"""What a mixed block can do to its input: upsample it, keep its resolution, downsample it."""

FEATURE_STRIDES = (4, 8, 16, 32, 64)
"""Image pixels for each of a feature's own: the stem gives the finest, and none is coarser than the last."""

NUM_GROUPS = 5
"""Groups of objects by scale, each with a head; as many as FPN has levels."""

FPN_HEADS = FEATURE_STRIDES
"""FPN's own utilisation (section 3.3)."""

Utilization = Literal["constrained", "free", "fpn"]
"""Which utilisations a space has: those of equation 7; all, as in Table 3's row without constraints; only FPN's, as in
Table 2."""

UTILIZATIONS: tuple[str, ...] = get_args(Utilization)


@dataclass(frozen=True, slots=True, order=True)
class MultiScale:
    """The encoding of one multi-scale network.

    Attributes:
        block: ``BB`` or ``BNB``.
        channels: n of every block, and of the stem; features have n (``BB``) or 4n (``BNB``), as in a ResNet.
        strides: of the mixed blocks, each 0.5, 1 or 2.
        heads: the stride of the feature that the head of each group reads, the group of the smallest objects first.
    """

    block: str
    channels: int
    strides: tuple[float, ...]
    heads: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what `parse` could not have given."""
        text = _print(self.block, self.channels, self.strides, self.heads)
        if _scan(text) != (self.block, self.channels, self.strides, self.heads):
            raise ArchitectureError(text, 0, "not an encoding; use MultiScale.parse")

    @classmethod
    def parse(cls, text: str) -> "MultiScale":
        """Read an encoding.

        Raises:
            ArchitectureError: with the position of the first character that breaks the form or a rule.
        """
        return cls(*_scan(text))

    def __str__(self) -> str:
        return _print(self.block, self.channels, self.strides, self.heads)

    @property
    def num_blocks(self) -> int:
        """Number of mixed blocks, N."""
        return len(self.strides)

    @property
    def out_channels(self) -> int:
        """Channels of every feature."""
        return self.channels * _EXPANSION[self.block]

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """The stride of every block's output."""
        return feature_strides(self.strides)

    @property
    def laterals(self) -> tuple[int | None, ...]:
        """For every block i the block whose lateral connection is added to its output, or None (equations 5 and 6).

        Blocks count from 0. Only a stage's last block has one: from the nearest earlier stage of its resolution, which
        is that stage's last block. (The equation's set has k = i, too; the text, "at a different stage", has not. The
        stem is no mixed block and has no lateral convolution.)
        """
        latest: dict[int, int] = {}
        found: list[int | None] = []
        for index, stride in enumerate(self.feature_strides):
            ends_stage = index + 1 == self.num_blocks or self.strides[index + 1] != 1
            found.append(latest.get(stride) if ends_stage else None)
            if ends_stage:
                latest[stride] = index
        return tuple(found)

    @property
    def head_blocks(self) -> tuple[int, ...]:
        """For each group the block its head reads: the last of that stride."""
        last = {stride: index for index, stride in enumerate(self.feature_strides)}
        return tuple(last[stride] for stride in self.heads)

    @property
    def reads_last_block(self) -> bool:
        """Whether a head reads the last block; else those after the last one that is read learn nothing."""
        return max(self.head_blocks) == self.num_blocks - 1


def feature_strides(strides: tuple[float, ...]) -> tuple[int, ...]:
    """The stride of every block's output, after a stem that gives 1/4.

    Raises:
        ValueError: if one is finer than 1/4 or coarser than 1/64, naming the block.
    """
    found = []
    stride: float = FEATURE_STRIDES[0]
    for number, step in enumerate(strides, start=1):
        stride *= step
        if stride not in FEATURE_STRIDES:
            raise ValueError(
                f"block {number} gives a feature {'finer than 1/4' if stride < 4 else 'coarser than 1/64'} of the image"
            )
        found.append(int(stride))
    return tuple(found)


def mixed_block_shape(block: str, channels: int, index: int, stride: float) -> BlockShape:
    """What a mixed block is built from for one of its strides.

    The convolution that would have the stride 2 comes after the interpolation where the stride is 0.5, and so does the
    shortcut's.

    Args:
        block: ``BB`` or ``BNB``.
        channels: n of the block.
        index: the block's, from 0; the first one has the stem's n channels as its input.
        stride: 0.5, 1 or 2.
    """
    outer = channels * _EXPANSION[block]
    inner = outer if index else channels
    return BlockShape(
        stage=0,
        position=index,
        stride=2 if stride == 2 else 1,
        in_channels=inner,
        mid_channels=channels,
        out_channels=outer,
        shortcut=IDENTITY if stride == 1 and inner == outer else PROJECTION,
    )


def meets_equation_7(heads: tuple[int, ...]) -> bool:
    """Whether a utilisation never gets finer for larger objects, reads one of 1/8 or finer, and more than one."""
    ordered = all(left <= right for left, right in zip(heads, heads[1:], strict=False))
    return ordered and min(heads) <= 8 <= max(heads) and min(heads) != max(heads)


def _print(block: str, channels: int, strides: tuple[float, ...], heads: tuple[int, ...]) -> str:
    return f"{PREFIX}({block},{channels};{','.join(f'{stride:g}' for stride in strides)};{','.join(map(str, heads))})"


@lru_cache(maxsize=1024)  # an encoding that is read is checked again as a value, and a population is met again
def _scan(text: str) -> tuple[str, int, tuple[float, ...], tuple[int, ...]]:
    """The parts of an encoding, or an `ArchitectureError`."""
    position = 0

    def fail(reason: str) -> NoReturn:
        raise ArchitectureError(text, position, reason)

    def found() -> str:
        return f"found {text[position]!r}" if position < len(text) else "the text ends"

    def expect(characters: str) -> None:
        nonlocal position
        if not text.startswith(characters, position):
            fail(f"expected {characters!r}, {found()}")
        position += len(characters)

    def word(allowed: tuple[str, ...], what: str) -> str:
        """One of the words allowed, none of which may go on: `0.5`, not the `0.5` of `0.55`."""
        nonlocal position
        end = position
        while end < len(text) and text[end] not in ",;()":
            end += 1
        value = text[position:end]
        if value not in allowed:
            fail(f"expected {what}, one of {', '.join(allowed)}; {f'found {brief(value)}' if value else found()}")
        position = end
        return value

    def number() -> int:
        nonlocal position
        end = position
        while "0" <= text[end : end + 1] <= "9":
            end += 1
        digits = text[position:end]
        if not digits:
            fail(f"expected a number of channels, {found()}")
        if digits[0] == "0" or len(digits) > len(str(MAX_CHANNELS)) or int(digits) > MAX_CHANNELS:
            fail(f"expected a number of channels from 1 to {MAX_CHANNELS}, found {brief(digits)}")
        position = end
        return int(digits)

    expect(f"{PREFIX}(")
    block = word(MIXED_BLOCKS, "a type of block")
    expect(",")
    channels = number()
    expect(";")

    strides: list[float] = []
    offered: list[int] = []
    feature: float = FEATURE_STRIDES[0]
    while True:
        if len(strides) == MAX_BLOCKS:
            fail(f"a network has at most {MAX_BLOCKS} blocks")
        start = position
        step = word(_STRIDE_WORDS, "a block's stride")
        strides.append(_STRIDE_OF[step])
        feature *= strides[-1]
        if feature not in FEATURE_STRIDES:
            position = start
            side = "finer than 1/4" if feature < FEATURE_STRIDES[0] else "coarser than 1/64"
            fail(f"with stride {step}, block {len(strides)} would give a feature {side} of the image")
        offered.append(int(feature))
        if text[position : position + 1] != ",":
            break
        position += 1
    expect(";")

    heads: list[int] = []
    for group in range(NUM_GROUPS):
        if group:
            expect(",")
        start = position
        heads.append(int(word(_FEATURE_WORDS, "the stride of a head's feature")))
        if heads[-1] not in offered:
            position = start
            there = ", ".join(map(str, sorted(set(offered))))
            fail(f"no block of this encoder gives a feature of stride {heads[-1]}; its strides are {there}")
    expect(")")
    if position < len(text):
        fail(f"expected the end, {found()}")
    return block, channels, tuple(strides), tuple(heads)


_STRIDE_OF: dict[str, float] = {f"{stride:g}": stride for stride in STRIDES}
_STRIDE_WORDS = tuple(_STRIDE_OF)
_FEATURE_WORDS = tuple(map(str, FEATURE_STRIDES))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """All multi-scale networks of one super-net.

    Attributes:
        block: ``BB`` or ``BNB``.
        channels: of every feature.
        num_blocks: mixed blocks of every path.
        utilization: which utilisations belong to it.
    """

    block: str
    channels: int
    num_blocks: int
    utilization: str = "constrained"

    def __post_init__(self) -> None:
        """Refuse a space that has no members."""
        if self.block not in MIXED_BLOCKS:
            raise ValueError(f"block: {brief(self.block)} is none of {', '.join(MIXED_BLOCKS)}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"channels: {brief(self.channels)} is not from 1 to {MAX_CHANNELS}")
        if not 1 <= self.num_blocks <= MAX_BLOCKS:
            raise ValueError(f"num_blocks: {brief(self.num_blocks)} is not from 1 to {MAX_BLOCKS}")
        if self.utilization not in UTILIZATIONS:
            raise ValueError(f"utilization: {brief(self.utilization)} is none of {', '.join(UTILIZATIONS)}")
        if not self.size:
            fewest = 5 if self.utilization == "fpn" else 2
            raise ValueError(
                f"num_blocks: {self.num_blocks} can't offer what a utilisation needs, {self.utilization!r} at least "
                f"{fewest}"
            )

    @classmethod
    def around(cls, network: MultiScale, utilization: str) -> Self:
        """The space of the super-net that a network is a path of; ValueError if it has no members."""
        return cls(
            block=network.block, channels=network.channels, num_blocks=network.num_blocks, utilization=utilization
        )

    @property
    def size(self) -> int:
        """How many networks it has."""
        return _count(self.num_blocks, 0, 0, self.utilization)

    def utilizations(self, offered: frozenset[int]) -> tuple[tuple[int, ...], ...]:
        """The utilisations that these feature strides allow, in order."""
        return _utilizations(_mask(offered), self.utilization)

    def allows(self, strides: tuple[float, ...], heads: tuple[int, ...]) -> bool:
        """Whether there is such a network in the space."""
        if len(strides) != self.num_blocks or not set(strides) <= set(STRIDES):
            return False
        try:
            offered = frozenset(feature_strides(strides))
        except ValueError:
            return False
        return heads in self.utilizations(offered)

    def architecture(self, strides: tuple[float, ...], heads: tuple[int, ...]) -> MultiScale:
        """The network of these strides and heads, which the space must allow."""
        return MultiScale(self.block, self.channels, strides, heads)

    def __contains__(self, architecture: MultiScale) -> bool:
        """Whether it is a network of this space."""
        same = (architecture.block, architecture.channels) == (self.block, self.channels)
        return same and self.allows(architecture.strides, architecture.heads)

    def __iter__(self) -> Iterator[MultiScale]:
        """All of them, in the order of their numbers; only small spaces come to an end."""
        return (self.at(number) for number in range(self.size))

    def at(self, number: int) -> MultiScale:
        """The network of a number from 0 to `size` - 1."""
        if not 0 <= number < self.size:
            raise ValueError(f"number: {brief(number)} is not from 0 to {self.size - 1}")
        strides: list[float] = []
        level, offered = 0, 0
        for left in range(self.num_blocks - 1, -1, -1):
            for stride, reached in _steps(level):
                beyond = _count(left, reached, offered | 1 << reached, self.utilization)
                if number < beyond:
                    strides.append(stride)
                    level = reached
                    break
                number -= beyond
            offered |= 1 << level
        return self.architecture(tuple(strides), _utilizations(offered, self.utilization)[number])

    def draw(self, rng: "np.random.Generator") -> MultiScale:
        """One of them, each with the same probability: a path weighs what it has utilisations.

        What is drawn depends on nothing but the generator's bytes.
        """
        size = self.size
        num_bits = size.bit_length()
        while True:  # at least half of the numbers of that many bits are below the size
            number = int.from_bytes(rng.bytes(-(-num_bits // 8)), "little") & ((1 << num_bits) - 1)
            if number < size:
                return self.at(number)


def _steps(level: int) -> tuple[tuple[float, int], ...]:
    """The strides a block may have after a feature of stride 4 * 2^level, each with the level it leads to."""
    nexts = zip(STRIDES, (level - 1, level, level + 1), strict=True)
    return tuple((stride, reached) for stride, reached in nexts if 0 <= reached < len(FEATURE_STRIDES))


@cache  # blocks x 5 levels x 32 sets of strides x 3 kinds of utilisation
def _count_step(num_blocks: int, level: int, offered: int, utilization: str) -> int:
    if num_blocks == 0:
        return len(_utilizations(offered, utilization))
    return sum(
        _count_step(num_blocks - 1, reached, offered | 1 << reached, utilization) for _, reached in _steps(level)
    )


def _count(num_blocks: int, level: int, offered: int, utilization: str) -> int:
    """Networks whose remaining blocks start from this level, the earlier ones having offered these strides."""
    for fewer in range(0, num_blocks, 100):  # from the end, so that no recursion is deep
        _count_step(fewer, level, offered, utilization)
    return _count_step(num_blocks, level, offered, utilization)


@cache
def _utilizations(offered: int, utilization: str) -> tuple[tuple[int, ...], ...]:
    strides = tuple(stride for level, stride in enumerate(FEATURE_STRIDES) if offered >> level & 1)
    if utilization == "fpn":
        return (FPN_HEADS,) if strides == FPN_HEADS else ()
    if utilization == "free":
        return tuple(product(strides, repeat=NUM_GROUPS))
    return tuple(filter(meets_equation_7, combinations_with_replacement(strides, NUM_GROUPS)))


def _mask(offered: frozenset[int]) -> int:
    return sum(1 << level for level, stride in enumerate(FEATURE_STRIDES) if stride in offered)


@dataclass(frozen=True, slots=True)
class MultiScaleSpec:
    """All that a multi-scale encoder is built from, as `NetworkSpec` is for SP-NAS's backbones.

    Attributes:
        architecture: the encoding.
        stem: ``resnet`` (7x7 and max-pool, the paper's baselines') or ``deep``.
    """

    architecture: MultiScale
    stem: str = "resnet"

    def __post_init__(self) -> None:
        """Refuse an unknown stem."""
        if self.stem not in STEMS:
            raise ValueError(f"stem: {brief(self.stem)} is none of {', '.join(STEMS)}")

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {"architecture": str(self.architecture), "stem": self.stem}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MultiScaleSpec":
        """The inverse of `to_dict`; raises ValueError for anything else."""
        match values:
            case {"architecture": str(encoding), "stem": str(stem)}:
                return cls(MultiScale.parse(encoding), stem)
        raise ValueError(f"network: {brief(values)} has no architecture and stem")
