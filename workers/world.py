"""The ranks that train one task together: who they are, and what they tell each other.

One rank for each device, joined by torch.distributed (nccl between CUDA devices, gloo between CPUs). Most searches on a
laptop have one rank, which is alone and joins nothing.

Invariant: every rank calls the same methods of its `World` in the same order; what is decided by one (to stop, that a
loss is not finite) all get to know at the same step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.blocks import SynchronizedBatchNorm
from workers.task import Place

Shared = TypeVar("Shared")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class World:
    """One rank's view of all of them.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: what it computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether it is the one that reports, stores and decides."""
        return self.rank == 0

    def share(self, batch: Sequence[Item]) -> Sequence[Item]:
        """This rank's part of a batch, whose length the number of ranks divides."""
        assert len(batch) % self.size == 0, f"{self.size} ranks can't share a batch of {len(batch)} evenly"
        length = len(batch) // self.size
        return batch[self.rank * length : (self.rank + 1) * length]

    def wrap(self, model: nn.Module, *, uses_all: bool = True) -> nn.Module:
        """The model with its gradients averaged over the ranks; all begin with the first one's weights.

        Args:
            model: the same on all ranks.
            uses_all: whether every step uses every parameter; else each step may use others, the same on all ranks, and
                those that it does not use get no gradient.
        """
        if self.size == 1:
            return model
        if self.device.type == "cuda" and any(isinstance(part, SynchronizedBatchNorm) for part in model.modules()):
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # in place, same parameters
        return DistributedDataParallel(model, forward_sync_buffers=False, find_unused_parameters=not uses_all)

    def mean(self, value: float) -> float:
        """The mean over all ranks."""
        return value if self.size == 1 else self._sum(value) / self.size

    def any(self, flag: bool) -> bool:
        """Whether it is so for any rank."""
        return flag if self.size == 1 else self._sum(float(flag)) > 0

    def agrees(self, number: int) -> bool:
        """Whether it is the same for all ranks."""
        return not self.any(self.mean(number) != number)

    def wait(self) -> None:
        """Return once every rank has come to this point."""
        self.any(False)

    def gather(self, value: Shared) -> list[Shared]:
        """Every rank's value, by rank; on the first, on the others an empty list."""
        if self.size == 1:
            return [value]
        values: list[Shared] | None = [value] * self.size if self.is_first else None
        dist.gather_object(value, values)
        return values or []

    def _sum(self, value: float) -> float:
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)


@contextmanager
def joined(place: Place | None, timeout_s: float | None = None) -> Iterator[World]:
    """Join the ranks of a task, and leave them at its end.

    Args:
        place: this rank's; None is alone.
        timeout_s: how long one waits for the others before it takes them for dead; None for torch's own time.
    """
    if place is None:
        yield alone()
        return
    device = _device(place.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{place.address}",
        rank=place.rank,
        world_size=place.size,
        timeout=None if timeout_s is None else timedelta(seconds=timeout_s),
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield World(place.rank, place.size, device)
    finally:
        dist.destroy_process_group()


def alone() -> World:
    """The world of a rank that trains by itself, on the first CUDA device where there is one, else on the CPU."""
    return World(0, 1, _device(0))


def _device(number: int) -> torch.device:
    return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
