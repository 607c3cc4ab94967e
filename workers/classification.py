"""Pretraining a backbone as a classifier: the reignition of SP-NAS, section 3.1.

Invariant: the blob holds the backbone alone, its keys without a detector's prefix, so that any detector of
the same spec takes it over.
"""

import json
from collections import deque
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone
from models.blob import pack
from workers.checkpoint import CheckpointStore, Continuation, fingerprint
from workers.data.interface import ClassificationData, ClassificationSet
from workers.loop import (
    Batch,
    OnImages,
    evaluation_reports,
    normalization_of,
    on_device,
    peak_memory_bytes,
    report_preparation,
    run_steps,
    wants_bfloat16,
)
from workers.seeding import seed_everything
from workers.task import OnProgress, Progress, ShouldStop, Task, TrainingResult, ignore_progress, never_stop
from workers.world import World, alone

RECENT_BATCHES = 100


class Classifier(nn.Module):
    """A backbone, its last map averaged, and one linear layer."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        """Put a fresh linear layer on the backbone."""
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.spec.stage_channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, num_classes]."""
        last = next(reversed(self.backbone(images).values()))
        logits: Tensor = self.head(last.mean((2, 3)))
        return logits


def pretrain(
    task: Task,
    *,
    data: ClassificationData,
    checkpoints: CheckpointStore | None = None,
    on_progress: OnProgress = ignore_progress,
    should_stop: ShouldStop = never_stop,
    world: World | None = None,
) -> TrainingResult:
    """Train a fresh build of the task's network as a classifier, or go on where an earlier attempt stopped.

    Args:
        task: the network, schedule and seed; it has no morphs.
        data: what to classify.
        checkpoints: where half-finished training is kept and found again.
        on_progress: told before preparation, every few steps and with each batch of the evaluation.
        should_stop: asked before each step and each batch of the evaluation.
        world: the ranks that train it together; None for this one alone.

    Returns:
        ``top1`` on the evaluation split, and the backbone's weights with spec and kind; on all ranks but the first,
        neither.

    Raises:
        CandidateFailure: when the loss is not finite.
        TrainingStopped: when `should_stop` says so.
        OSError: when data or the checkpoints can't be read.
    """
    world = world or alone()
    device = world.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    report_preparation(task.training, len(data.train), on_progress)
    continuation = Continuation(
        checkpoints,
        fingerprint=fingerprint(task, image_size=data.image_size, classes=data.class_names, num_images=len(data.train)),
        every_s=task.checkpoint_s,
    )
    draws = seed_everything(task.seed)
    model = Classifier(Backbone(task.spec, normalization_of(task.training, world)), len(data.class_names))
    model = on_device(model, device)
    notes = continuation.load_weights(model) or ()
    labels = torch.tensor([data.train.label(index) for index in range(len(data.train))], device=device)
    model.train()
    shares_right: deque[Tensor] = deque(maxlen=RECENT_BATCHES)

    def loss_of(network: nn.Module, batch: Batch) -> Tensor:
        images = _images(data, data.train, batch.indices, device, batch)
        with _autocast(device):
            scores, right = network(images), labels[torch.from_numpy(batch.indices).to(device)]
            shares_right.append((scores.argmax(1) == right).float().mean())
            return functional.cross_entropy(scores, right)

    def report(progress: Progress) -> None:
        """Tell how much is right, by this rank's share of the batches, which is like the others'."""
        on_progress(replace(progress, top1=float(torch.stack(tuple(shares_right)).mean())))

    run_steps(
        model,
        task.training,
        num_images=len(data.train),
        draws=draws,
        loss_of=loss_of,
        on_progress=report,
        should_stop=should_stop,
        continuation=continuation,
        notes=notes,
        world=world,
    )
    on_images = evaluation_reports(task.training, len(data.train), on_progress, should_stop)
    top1 = _top1(model, data, task.training.batch_size, on_images, world)
    metadata = {"spec": json.dumps(task.spec.to_dict()), "kind": task.kind}
    return TrainingResult(
        metrics={"top1": top1} if world.is_first else {},
        weights=pack(model.backbone.state_dict(), metadata) if world.is_first else b"",
        peak_memory_bytes=peak_memory_bytes(device),
    )


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wants_bfloat16(device))


def _top1(model: Classifier, data: ClassificationData, batch_size: int, on_images: OnImages, world: World) -> float:
    """The share of the evaluation split that is classified rightly; each image is on one rank."""
    model.eval()
    mine = np.arange(world.rank, len(data.val), world.size)
    num_right = 0
    with torch.inference_mode(), _autocast(world.device):
        for start in range(0, len(mine), max(1, batch_size // world.size)):
            on_images(start * world.size)
            indices = mine[start : start + max(1, batch_size // world.size)]
            predicted = model(_images(data, data.val, indices, world.device)).argmax(1).tolist()
            num_right += sum(
                guess == data.val.label(int(index)) for index, guess in zip(indices, predicted, strict=True)
            )
    return sum(world.gather(num_right)) / len(data.val)


def _images(
    data: ClassificationData,
    split: ClassificationSet,
    indices: NDArray[np.int64],
    device: torch.device,
    drawn: Batch | None = None,
) -> Tensor:
    """Normalised crops [B, 3, side, side]: flipped and at places as `drawn` has it, else from the middle."""
    side = data.image_size
    crops = np.empty((len(indices), 3, side, side), dtype=np.uint8)
    for row, index in enumerate(indices.tolist()):
        image = split.image(index)
        room = image.shape[1] - side
        if drawn is None:
            top = left = room // 2
        else:
            top, left = np.random.default_rng(drawn.seeds[row]).integers(0, room + 1, 2)
        crop = image[:, top : top + side, left : left + side]
        crops[row] = crop[:, :, ::-1] if drawn is not None and drawn.flips[row] else crop
    mean = torch.tensor(data.mean, device=device).view(3, 1, 1)
    std = torch.tensor(data.std, device=device).view(3, 1, 1)
    return (torch.from_numpy(crops).to(device).float().div_(255) - mean) / std
