"""Networks by name: SP-NAS's searched ones (Table 7), and the hand-made ones they start from.

Pure Python: nothing here imports torch.

Table 7 and the supplement's Figure 1 disagree in some run lengths. These are Figure 1's, with Table 7's doublings: they
reproduce the supplement's multiply-adds to 1 %, `spnet-coco-xb` to 3.5 % (docs/zoo.md).

Invariant: a name stands for one encoding and one stem; underscores in it are as good as hyphens.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from models.architecture import BLOCK_TYPES, Architecture, NetworkSpec
from models.wording import MAX_VALUE, brief

DEFAULT_STEM = "deep"
"""The paper's stem, that of every encoding which comes without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooNetwork:
    """A network that has a name.

    Attributes:
        architecture: its encoding.
        stem: ``deep`` for the searched networks, ``resnet`` for torchvision's.
        published_gflops: billions of multiply-adds at 224 x 224 pixels as the paper prints them (the supplement's
            Figure 1; Table 8 for the hand-made ones), of the network without its subnets and with a classifier of 1000
            classes; None where it prints none.
        torchvision: the function of `torchvision.models` that builds the same network, if there is one.
    """

    architecture: Architecture
    stem: str
    published_gflops: float | None = None
    torchvision: str | None = None

    @property
    def spec(self) -> NetworkSpec:
        """What it is built from, as in the paper: 64 base channels, fresh shortcuts."""
        return NetworkSpec.fresh(self.architecture, self.stem)


def _ones(count: int) -> str:
    return "1" * count


def _hand_made(encoding: str, torchvision: str | None = None, gflops: float | None = None) -> ZooNetwork:
    return ZooNetwork(
        architecture=Architecture.parse(encoding), stem="resnet", torchvision=torchvision, published_gflops=gflops
    )


def _searched(encoding: str, gflops: float) -> ZooNetwork:
    return ZooNetwork(architecture=Architecture.parse(encoding), stem=DEFAULT_STEM, published_gflops=gflops)


ZOO: dict[str, ZooNetwork] = {
    "resnet18": _hand_made("BB(11,d1,d1,d1)", "resnet18"),
    "resnet34": _hand_made("BB(111,d111,d11111,d11)", "resnet34"),
    "resnet50": _hand_made("BNB(111,d111,d11111,d11)", "resnet50", 3.8),
    "resnet101": _hand_made(f"BNB(111,d111,d{_ones(22)},d11)", "resnet101", 7.6),
    "resnext50-32x4d": _hand_made("XB(111,d111,d11111,d11)", "resnext50_32x4d"),
    "resnext101-32x4d": _hand_made(f"XB(111,d111,d{_ones(22)},d11)"),
    "spnet-voc": _searched(f"BB(11d,1111,d{_ones(9)},d111,1,1111)+(0,0,0,0,0,1)", 5.5),
    "spnet-ecp": _searched("BNB(111d1111,d1111,11d,1111,1111)+(0,2,1,1,0)", 14.1),
    "spnet-bdd": _searched(f"BNB({_ones(10)}d,{_ones(17)},d{_ones(17)},d111111,111,1)+(0,1,2,3,0,0)", 13.8),
    "spnet-coco-bnb": _searched(f"BNB(1111d1,{_ones(8)}d,11,{_ones(17)}d,{_ones(12)},1)+(0,0,0,1,0,0)", 9.5),
    "spnet-coco-xb": _searched(f"XB(1111,d1111,d{_ones(24)},d11,1)+(1,0,2,1,2)", 8.8),
}
"""The networks by name, the hand-made ones first."""


def is_name(text: str) -> bool:
    """Whether a text is written as a name; an encoding begins with its type of block, or at least has brackets."""
    return "(" not in text and text not in BLOCK_TYPES


def zoo_network(name: str) -> ZooNetwork:
    """The network of a name.

    Raises:
        ValueError: one line with the nearest name, if there is none of this name.
    """
    network = ZOO.get(plain(name))
    if network is None:
        raise unknown_name(name, ZOO)
    return network


def plain(name: str) -> str:
    """A name as the zoo has it, if it has it."""
    return name.lower().replace("_", "-")


def unknown_name(name: str, known: Iterable[str]) -> ValueError:
    """The error for what is none of these names: one line with the nearest."""
    text, names = plain(name), list(known)
    longer = [other for other in names if other.startswith(text)]
    (nearest,) = difflib.get_close_matches(text[:MAX_VALUE], longer or names, n=1, cutoff=0.0)
    return ValueError(
        f"architecture {brief(name)}: neither an encoding such as BNB(111,d111,d11111,d11) nor a known name; "
        f"the nearest is {nearest} (`spnas arch` lists them all)"
    )


def read_architecture(text: str) -> Architecture:
    """The architecture of a text, an encoding or a name.

    Raises:
        ValueError: `ArchitectureError` for a malformed encoding, or one line that names the nearest name.
    """
    return zoo_network(text).architecture if is_name(text) else Architecture.parse(text)


def stem_of(text: str) -> str:
    """The stem that belongs to a text: a known name's own, and the paper's for anything else."""
    network = ZOO.get(plain(text))
    return network.stem if network else DEFAULT_STEM
