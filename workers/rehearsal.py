"""A training in little, with the memory and the traffic of a whole one: what `spnas doctor` has the ranks do.

Invariant: what takes memory in a whole training takes it here, through the same code: the network, the recipe's batch,
images padded as the largest of their batch would have them, gradients, and the optimizer's own. Of a super-net the path
that takes the most is trained.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist

from models.msnas_encoding import MultiScale, feature_strides
from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.data.interface import ClassificationSet, DetectionSet, Image, Target
from workers.detection import train_detector
from workers.rank import Session
from workers.supernet import Paths
from workers.task import ALL_REDUCE, NodeSettings, Task, TrainingResult
from workers.world import World, joined

NUM_SAMPLES = 64
NUM_TRANSFERS = 5
CUDA_TRANSFER_BYTES, CPU_TRANSFER_BYTES = 2**28, 2**24


class RehearsalTrainer:
    """Trains a task on one batch, or, if its kind is `ALL_REDUCE`, measures how fast its ranks reach each other.

    A task with two epochs makes two steps: the second is the first that holds the optimizer's momentum, too.
    """

    def __init__(self, settings: NodeSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def train(self, task: Task, session: Session) -> TrainingResult:
        """See `workers.rank.Trainer`; nothing but metrics and memory comes of it."""
        with joined(session.place, task.stall_s) as world:
            if task.kind == ALL_REDUCE:
                return TrainingResult(metrics=_bandwidth(world), weights=b"", peak_memory_bytes=0)
            train = self._pretrain if task.kind == "pretrain" else self._train_detector
            peak = train(task, world, session).peak_memory_bytes
            return TrainingResult(metrics=_devices(world), weights=b"", peak_memory_bytes=peak)

    def _train_detector(self, task: Task, world: World, session: Session) -> TrainingResult:
        data, size = open_detection_data(self._settings.data), task.training.batch_size
        if task.training.scales is not None:
            _, largest = task.training.scales
            task = replace(task, training=task.training.merged({"scales": (largest, largest)}))
        return train_detector(
            task,
            data=replace(data, train=full_size(data.train, size), val=full_size(data.val, size)),
            detector=self._settings.detector,
            max_stages=self._settings.max_stages,
            paths=FinestPath.of(task, self._settings.utilization),
            on_progress=session.on_progress,
            should_stop=session.should_stop,
            world=world,
        )

    def _pretrain(self, task: Task, world: World, session: Session) -> TrainingResult:
        assert self._settings.reignition_data is not None
        data, size = open_classification_data(self._settings.reignition_data), task.training.batch_size
        return pretrain(
            task,
            data=replace(data, train=OneBatchToClassify(data.train, size), val=OneBatchToClassify(data.val, size)),
            on_progress=session.on_progress,
            should_stop=session.should_stop,
            world=world,
        )


class FinestPath(Paths):
    """The path of a super-net that takes the most memory, at every step: it goes down as late as its heads let it.

    What the optimizer keeps of operators that it leaves out is missing; beside images of full size that is little.
    """

    def at(self, step: int) -> MultiScale:
        """That path."""
        num_blocks = self.space.num_blocks
        for num_downs in range(num_blocks + 1):
            strides = (1,) * (num_blocks - num_downs) + (2,) * num_downs
            utilizations = self.space.utilizations(frozenset(feature_strides(strides)))
            if utilizations:
                return self.space.architecture(strides, utilizations[0])
        raise AssertionError("a space has members, and with enough blocks down every stride is offered")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneBatch:
    """A `DetectionSet` of one batch, all of whose images are of one size."""

    images: Sequence[Image]
    targets: Sequence[Target]
    num_images: int

    def __len__(self) -> int:
        """Number of images."""
        return self.num_images

    def image(self, index: int) -> Image:
        """One of the images."""
        return self.images[index % len(self.images)]

    def size(self, index: int) -> tuple[int, int]:
        """Its height and width."""
        _, height, width = self.image(index).shape
        return height, width

    def target(self, index: int) -> Target:
        """Its boxes."""
        return replace(self.targets[index % len(self.targets)], image_id=index + 1)


def full_size(split: DetectionSet, num_images: int) -> OneBatch:
    """The images of a split with the most boxes, padded as a batch of the largest would be.

    Taken from a sample of `NUM_SAMPLES`, spread over the split.
    """
    chosen = np.linspace(0, len(split) - 1, min(NUM_SAMPLES, len(split))).round().astype(int).tolist()
    chosen.sort(key=lambda index: -len(split.target(index).boxes))
    images = [split.image(index) for index in chosen]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    kept = range(min(num_images, len(chosen)))
    return OneBatch(
        images=[_padded(images[number], height, width) for number in kept],
        targets=[split.target(chosen[number]) for number in kept],
        num_images=num_images,
    )


def _padded(image: Image, height: int, width: int) -> Image:
    """With black below and to the right."""
    return np.pad(image, ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])))


@dataclass(frozen=True, slots=True)
class OneBatchToClassify:
    """A `ClassificationSet` of one batch, from a few images of a split."""

    split: ClassificationSet
    num_images: int

    def __len__(self) -> int:
        """Number of images."""
        return self.num_images

    def image(self, index: int) -> Image:
        """One of the images."""
        return self.split.image(self._chosen(index))

    def label(self, index: int) -> int:
        """Its class."""
        return self.split.label(self._chosen(index))

    def _chosen(self, index: int) -> int:
        return index % min(NUM_SAMPLES, len(self.split))


def _devices(world: World) -> dict[str, float]:
    """How many CUDA devices this rank's machine shows it, and the memory of its own in bytes."""
    found = {"num_devices": float(torch.cuda.device_count())}
    if world.device.type == "cuda":
        found["device_bytes"] = float(torch.cuda.get_device_properties(world.device).total_memory)
    return found


def _bandwidth(world: World) -> dict[str, float]:
    """Bytes per second of an all-reduce, counted as NCCL's own tests do (bus bandwidth).

    Raises:
        RuntimeError: if the ranks don't get their sum.
    """
    is_cuda = world.device.type == "cuda"
    values = torch.ones((CUDA_TRANSFER_BYTES if is_cuda else CPU_TRANSFER_BYTES) // 4, device=world.device)
    dist.all_reduce(values)  # the first one makes the connections
    if not bool((values == world.size).all()):
        raise RuntimeError(f"{dist.get_backend()}: the sum over {world.size} ranks is wrong")
    _finish(world)
    begun = time.perf_counter()
    for _ in range(NUM_TRANSFERS):
        dist.all_reduce(values)
    _finish(world)
    seconds = time.perf_counter() - begun
    sent = 2 * (world.size - 1) / world.size * values.nbytes * NUM_TRANSFERS
    return {"bytes_per_second": sent / seconds}


def _finish(world: World) -> None:
    """Wait until all ranks are done with what they were asked."""
    dist.barrier()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
