"""The steps that detection and classification share: order of data, rate, clipping, progress, giving up.

Invariant: the order of images and the flips depend only on the generator, the number of images and the
settings, not on the network; so children with one seed see the same pictures at the same steps.
"""

import math
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.optimization import build_optimizer, learning_rate, set_learning_rate
from workers.settings import TrainingSettings
from workers.task import CandidateFailure, OnProgress, Progress, ShouldStop, TrainingStopped

STEPS_PER_REPORT = 10

Model = TypeVar("Model", bound=nn.Module)
BatchLoss = Callable[[NDArray[np.int64], NDArray[np.bool_]], Tensor]


def run_steps(
    model: nn.Module,
    settings: TrainingSettings,
    *,
    num_images: int,
    draws: np.random.Generator,
    loss_of: BatchLoss,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> None:
    """Train a model in place.

    Every epoch takes the images in a new order; what is left over of the last batch is left out, since a
    batch of one image breaks batch normalisation. Fewer images than a batch are one batch,
    whose size the rate goes by.

    Args:
        model: its parameters that want a gradient are trained.
        settings: the schedule.
        num_images: of the training split.
        draws: gives order and flips.
        loss_of: the loss of a batch, given the images' indices and which of them to flip.
        on_progress: told every few steps and at each epoch's end.
        should_stop: asked before each step.

    Raises:
        CandidateFailure: when the loss is not finite.
        TrainingStopped: when `should_stop` says so.
    """
    on_cuda = next(model.parameters()).is_cuda
    batch_size = min(settings.batch_size, num_images)
    steps_per_epoch = num_images // batch_size
    num_steps = settings.epochs * steps_per_epoch
    optimizer = build_optimizer(model, settings, fused=on_cuda)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    started, step = time.perf_counter(), 0
    for epoch in range(1, settings.epochs + 1):
        order = draws.permutation(num_images)
        for number in range(1, steps_per_epoch + 1):
            if should_stop():
                raise TrainingStopped(f"asked to stop at epoch {epoch}, step {number}")
            indices = order[(number - 1) * batch_size : number * batch_size]
            flips = draws.random(batch_size) < (0.5 if settings.flip else 0.0)
            set_learning_rate(optimizer, learning_rate(settings, step, num_steps, batch_size=batch_size))
            loss = loss_of(indices, flips)
            value = loss.item()
            if not math.isfinite(value):
                raise CandidateFailure(f"loss became {value} at epoch {epoch}, step {number}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            step += 1
            if number % STEPS_PER_REPORT == 0 or number == steps_per_epoch:
                on_progress(
                    Progress(
                        epoch=epoch,
                        num_epochs=settings.epochs,
                        step=step,
                        num_steps=num_steps,
                        loss=value,
                        images_per_second=step * batch_size / (time.perf_counter() - started),
                    )
                )


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalization_of(settings: TrainingSettings) -> str:
    """The kind to build: over all ranks is, with one rank, over the batch."""
    return "batch" if settings.normalization == "sync" else settings.normalization


def on_device(model: Model, device: torch.device) -> Model:
    """The model there; on CUDA its convolutions have their channels last, as tensor cores want them."""
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if device.type == "cuda" else model


def wants_bfloat16(device: torch.device) -> bool:
    """Whether backbones compute in bfloat16 there: where tensor cores do, on CUDA; float32 on CPU."""
    return device.type == "cuda"


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory used so far: of the CUDA device by this process, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
