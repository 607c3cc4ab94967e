"""Pretraining a backbone as a classifier: the reignition of SP-NAS, section 3.1.

Invariant: the blob holds the backbone alone, its keys without a detector's prefix, so that any detector of
the same spec takes it over.
"""

import json
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architecture import NetworkSpec
from models.backbone import Backbone
from models.blob import pack
from workers.batches import Pick
from workers.checkpoint import CheckpointStore, Continuation, fingerprint
from workers.data.interface import ClassificationData, Image
from workers.data.loading import Loaders
from workers.examples import staged
from workers.loop import (
    OnImages,
    evaluation_reports,
    normalization_of,
    on_device,
    peak_memory_bytes,
    report_preparation,
    run_steps,
    stopping_together,
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
    loaders: Loaders | None = None,
) -> TrainingResult:
    """Train a fresh build of the task's network as a classifier, or go on where an earlier attempt stopped.

    Args:
        task: the network, schedule and seed; it has no morphs.
        data: what to classify.
        checkpoints: where half-finished training is kept and found again.
        on_progress: told before preparation, every few steps and with each batch of the evaluation.
        should_stop: asked before each step and each batch of the evaluation.
        world: the ranks that train it together; None for this one alone.
        loaders: read images ahead; None reads them when they are wanted.

    Returns:
        ``top1`` on the evaluation split, ``top5`` where there are more than five classes, and the backbone's weights
        with spec and kind; on all ranks but the first, neither.

    Raises:
        CandidateFailure: when the loss is not finite.
        TrainingStopped: when `should_stop` says so.
        OSError: when data or the checkpoints can't be read.
    """
    world = world or alone()
    loaders = loaders or Loaders()
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
    assert isinstance(task.spec, NetworkSpec), f"{task.spec.architecture} is no backbone that can be pretrained"
    model = Classifier(Backbone(task.spec, normalization_of(task.training, world)), len(data.class_names))
    model = on_device(model, device)
    notes = continuation.load_weights(model) or ()
    labels = torch.tensor([data.train.label(index) for index in range(len(data.train))], device=device)
    model.train()
    shares_right: deque[Tensor] = deque(maxlen=RECENT_BATCHES)

    def load(pick: Pick) -> tuple[Tensor, int]:
        return staged(_crop(data.train.image(pick.index), data.image_size, pick), device), pick.index

    def loss_of(network: nn.Module, examples: list[tuple[Tensor, int]]) -> Tensor:
        crops, indices = zip(*examples, strict=True)
        with _autocast(device):
            scores, right = network(_batch(data, crops, device)), labels[list(indices)]
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
        load=load,
        loss_of=loss_of,
        on_progress=report,
        should_stop=should_stop,
        continuation=continuation,
        notes=notes,
        world=world,
        loaders=loaders,
    )
    on_images = evaluation_reports(task.training, len(data.train), on_progress, should_stop)
    metrics = _accuracy(model, data, task.training.batch_size, on_images, world, loaders)
    metadata = {"spec": json.dumps(task.spec.to_dict()), "kind": task.kind}
    return TrainingResult(
        metrics=metrics if world.is_first else {},
        weights=pack(model.backbone.state_dict(), metadata) if world.is_first else b"",
        peak_memory_bytes=peak_memory_bytes(device),
    )


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wants_bfloat16(device))


def _accuracy(
    model: Classifier,
    data: ClassificationData,
    batch_size: int,
    on_images: OnImages,
    world: World,
    loaders: Loaders,
) -> dict[str, float]:
    """The shares of the evaluation split whose class is the first guess, or among the first five, ties by the class.

    Each image is on one rank.
    """
    model.eval()
    mine = range(world.rank, len(data.val), world.size)
    share_size = max(1, batch_size // world.size)
    depths = [depth for depth in (1, 5) if depth == 1 or depth < len(data.class_names)]
    num_right = dict.fromkeys(depths, 0)

    def load(index: int) -> Tensor:
        return staged(_crop(data.val.image(index), data.image_size), world.device)

    with (
        stopping_together(world),
        torch.inference_mode(),
        _autocast(world.device),
        closing(loaders.map(load, mine, batch_size=share_size)) as loaded,
    ):
        for start in range(0, len(mine), share_size):
            on_images(start * world.size)
            indices = mine[start : start + share_size]
            logits = model(_batch(data, list(islice(loaded, share_size)), world.device))
            guesses = logits.argsort(dim=1, descending=True, stable=True)[:, : max(depths)].tolist()
            for index, ranked in zip(indices, guesses, strict=True):
                for depth in depths:
                    num_right[depth] += data.val.label(index) in ranked[:depth]
    shares = world.gather(num_right)
    return {f"top{depth}": sum(share[depth] for share in shares) / len(data.val) for depth in depths}


def _crop(image: Image, side: int, pick: Pick | None = None) -> Tensor:
    """A square of it, uint8 [3, side, side]: flipped and at a place as `pick` has it, else from the middle."""
    room = image.shape[1] - side
    if pick is None:
        top = left = room // 2
    else:
        top, left = np.random.default_rng(pick.seed).integers(0, room + 1, 2)
    crop = torch.from_numpy(image)[:, top : top + side, left : left + side]
    return crop.flip(2) if pick is not None and pick.flip else crop.contiguous()


def _batch(data: ClassificationData, crops: Sequence[Tensor], device: torch.device) -> Tensor:
    """Crops on the device, normalised, [B, 3, side, side]."""
    mean = torch.tensor(data.mean, device=device).view(3, 1, 1)
    std = torch.tensor(data.std, device=device).view(3, 1, 1)
    return (torch.stack([crop.to(device, non_blocking=True) for crop in crops]).float().div_(255) - mean) / std
