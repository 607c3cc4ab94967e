"""The algorithms by name; whoever runs one knows it as `protocol.Algorithm` alone."""

from typing import Literal

from orchestrator.search.msnas import ByEvolution, MsNas
from orchestrator.search.protocol import Algorithm
from orchestrator.search.random import AtRandom
from orchestrator.search.settings import SearchSettings
from orchestrator.search.single import Single
from orchestrator.search.spnas import SpNas
from orchestrator.search.trials import IndependentTrials

AlgorithmName = Literal["spnas", "msnas", "random", "train", "evaluate", "pretrain", "trials"]

SUPER_NET_ALGORITHMS: tuple[AlgorithmName, ...] = ("msnas", "random")
"""Those that sample the paths of a super-net."""

SEARCHES: tuple[AlgorithmName, ...] = ("spnas", *SUPER_NET_ALGORITHMS)
"""Those of `spnas search`; the others have commands of their own."""


def build_algorithm(name: AlgorithmName, settings: SearchSettings) -> Algorithm:
    """The algorithm of a name."""
    match name:
        case "spnas":
            return SpNas(settings)
        case "msnas":
            return MsNas(settings, ByEvolution(settings.evolution))
        case "random":
            return MsNas(settings, AtRandom(settings.evolution))
        case "trials":
            return IndependentTrials(settings)
        case _:
            return Single(settings, name)
