"""Networks by name: the searched ones of MSNAS (Tables 7 to 9) and the spaces they come from.

Pure Python: nothing here imports torch.

Invariant: every row is a member of its space. Their numbers count the tables' rows from 1: ``msnas-r18-5`` is the last
one of Table 7. By its cost ``msnas-r50-2`` does not belong to its table: see docs/msnas.md.
"""

from dataclasses import dataclass

from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace

SPACES: dict[str, SearchSpace] = {
    "msnas-r18": SearchSpace(block="BB", channels=180, num_blocks=13),
    "msnas-r34": SearchSpace(block="BB", channels=160, num_blocks=21),
    "msnas-r50": SearchSpace(block="BNB", channels=144, num_blocks=21),
}
"""The paper's spaces (section 4.1)."""

PUBLISHED_GFLOPS = {"msnas-r18": 145.45, "msnas-r34": 182.20, "msnas-r50": 197.33}
"""Multiply-adds of the FPN baselines as Table 1 has them, in billions: what the searched networks should cost, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiScaleNetwork:
    """A searched network that has a name.

    Attributes:
        architecture: its encoding.
        space: the name of the space it was found in.
        published_map: COCO's box mAP as its table has it, in percent.
    """

    architecture: MultiScale
    space: str
    published_map: float

    @property
    def spec(self) -> MultiScaleSpec:
        """What it is built from."""
        return MultiScaleSpec(self.architecture)


# strides of the encoder's blocks, strides of the heads' features, mAP
_ROWS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "msnas-r18": (
        ("1,2,2,1,2,1,0.5,1,1,0.5,1,1,0.5", "8,8,16,16,32", 36.7),
        ("1,2,2,2,0.5,2,0.5,1,0.5,1,0.5,2,2", "8,8,16,16,32", 36.8),
        ("1,2,2,2,1,1,0.5,1,0.5,0.5,2,1,2", "8,8,16,16,16", 37.0),
        ("1,2,2,2,0.5,2,0.5,1,1,0.5,1,0.5,2", "8,8,16,16,32", 37.0),
        ("1,2,0.5,2,1,2,1,2,1,0.5,1,0.5,2", "8,8,16,16,32", 37.2),
    ),
    "msnas-r34": (
        ("1,2,1,2,1,1,2,1,0.5,0.5,1,1,2,1,0.5,1,0.5,2,2,2,1", "4,8,16,32,32", 39.0),
        ("1,2,1,2,1,2,1,1,0.5,0.5,1,1,2,1,0.5,1,0.5,2,2,2,2", "4,8,16,32,64", 38.7),
        ("1,2,1,2,1,2,1,1,0.5,0.5,1,1,2,1,0.5,1,0.5,2,2,2,2", "4,8,16,16,64", 38.4),
        ("1,2,1,2,1,1,2,1,2,1,0.5,0.5,1,1,2,0.5,0.5,0.5,1,2,2", "4,8,16,32,32", 39.2),
        ("1,2,1,2,1,2,1,1,0.5,0.5,1,1,2,1,0.5,1,0.5,2,2,2,0.5", "4,8,16,32,32", 39.0),
    ),
    "msnas-r50": (
        ("1,2,1,2,1,1,2,1,1,1,1,2,0.5,0.5,1,0.5,0.5,2,2,1,2", "8,8,16,32,32", 39.4),
        ("1,2,1,2,1,1,2,1,1,1,1,2,0.5,0.5,1,0.5,0.5,2,1,2,2", "8,16,32,32,32", 39.1),
        ("1,2,1,2,1,1,2,1,1,1,1,2,0.5,0.5,1,0.5,0.5,2,1,2,2", "8,8,32,32,64", 39.5),
        ("1,2,1,2,1,1,2,1,1,1,1,2,0.5,0.5,1,0.5,0.5,2,2,1,2", "8,8,16,32,64", 39.4),
        ("1,2,1,2,1,1,1,2,1,1,0.5,0.5,1,0.5,2,2,2,2,0.5,1,1", "8,8,32,32,32", 39.1),
    ),
}

MULTI_SCALE_ZOO: dict[str, MultiScaleNetwork] = {
    f"{space}-{number}": MultiScaleNetwork(
        architecture=MultiScale.parse(f"MS({SPACES[space].block},{SPACES[space].channels};{strides};{heads})"),
        space=space,
        published_map=score,
    )
    for space, rows in _ROWS.items()
    for number, (strides, heads, score) in enumerate(rows, start=1)
}
"""The searched networks by name, in the tables' order."""
