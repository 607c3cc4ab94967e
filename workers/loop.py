"""The steps that detection and classification share: batches, rate, clipping, progress, checkpoints, giving up.

Invariants:
- Each rank draws for the whole batch and takes its share, so what is drawn does not depend on their number; nor on who
  reads the images, and how far ahead. See `workers.batches`.
- Interruptions change nothing: a training goes on from its checkpoint as if it had never stopped.
"""

import copy
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.batches import Pick, Plan
from workers.checkpoint import Continuation
from workers.data.loading import Loaders
from workers.optimization import build_optimizer, learning_rate, parameters_of, set_learning_rate
from workers.settings import TrainingSettings
from workers.task import CandidateFailure, OnProgress, Progress, ShouldStop, TrainingStopped
from workers.world import World

STEPS_PER_REPORT = 10
SECONDS_PER_REPORT = 1.0

Model = TypeVar("Model", bound=nn.Module)
Loaded = TypeVar("Loaded")


OnImages = Callable[[int], None]
"""Told how many images are done; may raise to end it."""

OnStep = Callable[[int], None]
"""Called with how many steps are done; may raise TrainingStopped to end the training."""


def run_steps(
    model: nn.Module,
    settings: TrainingSettings,
    *,
    num_images: int,
    draws: np.random.Generator,
    load: Callable[[Pick], Loaded],
    loss_of: Callable[[nn.Module, list[Loaded]], Tensor],
    on_progress: OnProgress,
    should_stop: ShouldStop,
    continuation: Continuation,
    notes: tuple[str, ...],
    world: World,
    loaders: Loaders,
    groups: NDArray[np.int64] | None = None,
    choose: Callable[[int], None] | None = None,
    uses_all: bool = True,
    probe: OnStep | None = None,
) -> None:
    """Train a model in place.

    Every epoch takes the images in a new order, and iterations may end within one; what is left over of the last batch
    is left out, since a batch of one image breaks batch normalisation. Fewer images than a batch are one batch, whose
    size the rate goes by.

    Args:
        model: its parameters that want a gradient are trained.
        settings: the schedule.
        num_images: of the training split.
        draws: gives order and flips.
        load: reads one image; called in any thread.
        loss_of: the mean loss of this rank's share of a batch, by the network it is given: the model, or what averages
            its gradients over ranks.
        on_progress: told every few steps, after any step a second after it was last told, and at each epoch's end.
        should_stop: asked before each step.
        continuation: the model has its weights already; the rest is restored here, and checkpoints are written.
        notes: on how the model came to be, kept in the checkpoints.
        world: the ranks that share each batch.
        loaders: read ahead.
        groups: of the images, by `workers.batches.Plan`.
        choose: lets a model of many paths compute the one of a step; called before it, with its number. What a step
            leaves out keeps its weights and its momentum, without decay. None where each step uses the same.
        uses_all: whether each step uses every parameter.
        probe: looks at the model before each step and after the last, and leaves it as it was; if it is stopped, it is
            so on every rank, see `stopping_together`.

    Raises:
        CandidateFailure: when the loss is not finite.
        TrainingStopped: when `should_stop` says so; what was reached is in a checkpoint then.
    """
    plan = _plan(settings, num_images, groups)
    batch_size, steps_per_epoch, num_steps = plan.batch_size, plan.steps_per_epoch, plan.num_steps
    # A fused step wants momentum of all of its parameters, or of none.
    optimizer = build_optimizer(model, settings, fused=next(model.parameters()).is_cuda and choose is None)
    parameters = parameters_of(optimizer)
    steps_before, order = continuation.begin(optimizer, draws, notes)
    if not world.agrees(steps_before):
        raise OSError(
            f"ranks have found different checkpoints, this one that of step {steps_before}; every node must see the "
            "same storage"
        )
    network = world.wrap(model, uses_all=uses_all)
    steps = plan.steps(draws, first=steps_before, order=order)
    # Those who read ahead draw from a copy, so that checkpoints hold the generator as it was at their step.
    ahead = plan.steps(copy.deepcopy(draws), first=steps_before, order=order)
    mine = (pick for _, batch in ahead for pick in world.share(batch))
    share_size = batch_size // world.size

    @contextmanager
    def leaving(step: int) -> Iterator[None]:
        """Leave a checkpoint where the training stops, which all ranks do at the same step."""
        try:
            yield
        except TrainingStopped:
            if world.is_first:
                continuation.before_stop(step, order, model=model, optimizer=optimizer, draws=draws)
            world.wait()  # a node worker ends its ranks once one of them has stopped, but the first one writes
            raise

    started = reported = time.perf_counter()
    with closing(loaders.map(load, mine, batch_size=share_size)) as loaded:
        for step in range(steps_before, num_steps):
            epoch, number = step // steps_per_epoch + 1, step % steps_per_epoch + 1
            with leaving(step):
                if world.any(should_stop()):
                    raise TrainingStopped(f"asked to stop at epoch {epoch}, step {number}")
                if probe is not None:
                    begun = time.perf_counter()
                    probe(step)
                    started += time.perf_counter() - begun  # the pace is that of the steps
            order, _ = next(steps)
            if choose is not None:
                choose(step)
            set_learning_rate(optimizer, learning_rate(settings, step, num_steps, batch_size=batch_size))
            loss = loss_of(network, list(islice(loaded, share_size)))
            value = world.mean(loss.item())
            if not math.isfinite(value):
                raise CandidateFailure(f"loss became {value} at epoch {epoch}, step {number}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()

            is_epochs_end = number == steps_per_epoch or step + 1 == num_steps
            now = time.perf_counter()
            if is_epochs_end or number % STEPS_PER_REPORT == 0 or now - reported > SECONDS_PER_REPORT:
                reported = now
                on_progress(
                    Progress(
                        epoch=epoch,
                        num_epochs=plan.num_epochs,
                        step=step + 1,
                        num_steps=num_steps,
                        loss=value,
                        images_per_second=(step + 1 - steps_before) * batch_size / (now - started),
                        seconds_left=(num_steps - step - 1) * (now - started) / (step + 1 - steps_before),
                    )
                )
            if world.is_first:  # it does so for all
                continuation.after_step(
                    step + 1, order, is_epochs_end=is_epochs_end, model=model, optimizer=optimizer, draws=draws
                )
    if probe is not None:
        with leaving(num_steps):
            probe(num_steps)


def report_preparation(settings: TrainingSettings, num_images: int, on_progress: OnProgress) -> None:
    """Tell that a training on so many images is about to begin."""
    plan = _plan(settings, num_images)
    on_progress(
        Progress(
            phase="preparing",
            epoch=1,
            num_epochs=plan.num_epochs,
            step=0,
            num_steps=plan.num_steps,
            loss=math.nan,
            images_per_second=0.0,
        )
    )


def evaluation_reports(
    settings: TrainingSettings,
    num_images: int,
    on_progress: OnProgress,
    should_stop: ShouldStop,
    *,
    step: int | None = None,
) -> OnImages:
    """What tells how an evaluation comes on in a training on so many images, and ends it when asked to.

    Args:
        settings: the schedule.
        num_images: of the training split.
        on_progress: told before each batch.
        should_stop: asked as often.
        step: how many steps are done; None for all.

    Returns:
        To be called before each batch and at the end; it raises TrainingStopped when `should_stop` says so, which the
        ranks do not know of each other: see `stopping_together`.
    """
    plan = _plan(settings, num_images)
    num_done_steps = plan.num_steps if step is None else step
    started = time.perf_counter()

    def on_images(num_done: int) -> None:
        on_progress(
            Progress(
                phase="evaluating",
                epoch=min(num_done_steps // plan.steps_per_epoch + 1, plan.num_epochs),
                num_epochs=plan.num_epochs,
                step=num_done_steps,
                num_steps=plan.num_steps,
                loss=math.nan,
                images_per_second=num_done / (time.perf_counter() - started),
            )
        )
        if should_stop():
            raise TrainingStopped(f"asked to stop in evaluation, after {num_done} images")

    return on_images


@contextmanager
def stopping_together(world: World) -> Iterator[None]:
    """Stop on every rank what any of them has stopped within.

    Ranks evaluate different numbers of batches, so they meet at the end; they would wait for ever for one that had left
    before what they gather. All are asked to stop, as a rule, and then none has far to go.
    """
    stopped: TrainingStopped | None = None
    try:
        yield
    except TrainingStopped as stop:
        stopped = stop
    if world.any(stopped is not None):
        raise stopped or TrainingStopped("another rank was asked to stop in evaluation")


def ignore_images(num_done: int) -> None:
    """An `OnImages` that does nothing."""


def _plan(settings: TrainingSettings, num_images: int, groups: NDArray[np.int64] | None = None) -> Plan:
    return Plan(
        num_images=num_images,
        batch_size=min(settings.batch_size, num_images),
        epochs=settings.epochs,
        iterations=settings.iterations,
        flip=settings.flip,
        groups=groups,
    )


def normalization_of(settings: TrainingSettings, world: World) -> str:
    """The kind to build: over all ranks is, with one rank, over the batch."""
    return "batch" if settings.normalization == "sync" and world.size == 1 else settings.normalization


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
