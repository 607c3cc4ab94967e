"""What of a config the node workers get to know.

Invariant: every path in it is whole, as workers may stand in another folder.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from orchestrator.config import RunConfig
from workers.task import NodeSettings

Data = TypeVar("Data", bound=BaseModel)


def node_settings(config: RunConfig, folder: str, trainer: str) -> NodeSettings:
    """The same for all workers.

    Args:
        config: the run's.
        folder: the address of the run's storage.
        trainer: what the workers' ranks train with; see `workers.rank.Trainer`.
    """
    reignition = config.reignition
    return NodeSettings(
        folder=folder,
        data=_absolute(config.data),
        reignition_data=_absolute(reignition.data) if reignition else None,
        detector=config.detector,
        max_stages=config.serial.max_stages,
        utilization=config.evolution.utilization,
        num_ranks=config.fleet.num_ranks,
        has_gpus=config.fleet.gpus_per_worker > 0,
        num_loaders=config.fleet.num_loaders,
        trainer=trainer,
    )


def start_weights(config: RunConfig) -> str | None:
    """What a job without parents starts from; None where it is fresh."""
    weights = config.start.weights
    if weights is None or weights == "pretrain":
        return None
    return weights if weights.startswith("torchvision:") else str(Path(weights).absolute())


def _absolute(data: Data) -> Data:
    folders = {key: folder for key in ("root", "cache_dir") if (folder := getattr(data, key, None)) is not None}
    return data.model_copy(update={key: str(Path(folder).absolute()) for key, folder in folders.items()})
