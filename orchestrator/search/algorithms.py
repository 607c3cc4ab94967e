"""The algorithms by name; whoever runs one knows it as `protocol.Algorithm` alone."""

from typing import Literal

from orchestrator.search.protocol import Algorithm
from orchestrator.search.settings import SearchSettings
from orchestrator.search.single import Single
from orchestrator.search.spnas import SpNas

AlgorithmName = Literal["spnas", "train", "evaluate", "pretrain"]


def build_algorithm(name: AlgorithmName, settings: SearchSettings) -> Algorithm:
    """The algorithm of a name."""
    return SpNas(settings) if name == "spnas" else Single(settings, name)
