"""Training and evaluating a detector: the fast scheme of SP-NAS, section 3.3; and a super-net of MSNAS, section 3.4.

Invariant: a child starts from its parent's function as far as its morphs keep it, a path from what its super-net
computes along it; what is fresh is named in the notes. On CPU, training is in float32 on one thread and the same task
gives the same bits; on CUDA, backbone and pyramid compute in bfloat16, proposals, heads and boxes in float32.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from models.architecture import NetworkSpec
from models.blob import pack, unpack
from models.detector_card import DetectorCard
from models.detector_shape import BODY, DetectorShape
from models.detectors import build_detector, masks_of_boxes, seed_samplers
from models.families import AnySpec, spec_from_dict
from models.inheritance import inherit, load_weights, misfits
from models.msnas import inherit_path
from models.msnas_encoding import MultiScaleSpec
from models.refit import refit_laterals
from workers.batches import Pick, aspect_groups, batches_by_size
from workers.checkpoint import CheckpointStore, Continuation, fingerprint
from workers.data.interface import DetectionData, DetectionSet
from workers.data.loading import Loaders
from workers.examples import Example, batch_of, example_of, scaled, staged
from workers.loop import (
    OnImages,
    evaluation_reports,
    ignore_images,
    normalization_of,
    on_device,
    peak_memory_bytes,
    report_preparation,
    run_steps,
    stopping_together,
    wants_bfloat16,
)
from workers.masks import stored_masks
from workers.metric_names import MetricFamily
from workers.metrics import measure
from workers.metrics.average_precision import Detections
from workers.probing import mean_loss, probed, undisturbed
from workers.seeding import seed_everything
from workers.settings import DetectorSettings
from workers.start_weights import load_start_weights
from workers.supernet import Paths
from workers.task import OnProgress, ShouldStop, Task, TrainingResult, ignore_progress, never_stop
from workers.world import World, alone

NUM_REFIT_IMAGES = 64
LATERAL = "backbone.fpn.inner_blocks."

Buffer = NDArray[np.uint8] | bytes


def train_detector(
    task: Task,
    *,
    data: DetectionData,
    detector: DetectorSettings,
    max_stages: int,
    parent: Buffer | None = None,
    backbone: Buffer | None = None,
    paths: Paths | None = None,
    checkpoints: CheckpointStore | None = None,
    on_progress: OnProgress = ignore_progress,
    should_stop: ShouldStop = never_stop,
    world: World | None = None,
    loaders: Loaders | None = None,
) -> TrainingResult:
    """Build, inherit, train and evaluate one detector, or go on where an earlier attempt stopped.

    Args:
        task: the network, its morphs, schedule and seed.
        data: what to train and evaluate on.
        detector: everything but the backbone.
        max_stages: pyramid levels, the same over a whole search.
        parent: a detector's blob to grow from; see `prepare_detector`.
        backbone: a backbone's blob, from reignition.
        paths: makes it the task's super-net, trained path by path.
        checkpoints: where half-finished training is kept and found again.
        on_progress: told before preparation, every few steps and with each batch of the evaluation.
        should_stop: asked before each step and each batch of the evaluation.
        world: the ranks that train it together; None for this one alone.
        loaders: read images ahead; None reads them when they are wanted.

    Returns:
        Metrics on the evaluation split, a super-net's as the task's own network, those at the steps that the schedule
        names among them, and the weights with spec, kind and class names; on all ranks but the first, neither.

    Raises:
        CandidateFailure: when the loss is not finite.
        TrainingStopped: when `should_stop` says so.
        OSError: when data or the checkpoints can't be read.
        ValueError: when weights and network don't fit.
    """
    world = world or alone()
    loaders = loaders or Loaders()
    device = world.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    report_preparation(task.training, len(data.train), on_progress)
    continuation = Continuation(
        checkpoints,
        fingerprint=fingerprint(
            task,
            detector=detector.model_dump(mode="json"),
            max_stages=max_stages,
            classes=data.class_names,
            num_images=len(data.train),
            **({} if paths is None else {"utilization": paths.space.utilization}),
        ),
        every_s=task.checkpoint_s,
    )
    model, notes = prepare_detector(
        task,
        data=data,
        detector=detector,
        max_stages=max_stages,
        parent=parent,
        backbone=backbone,
        supernet=paths is not None,
        continuation=continuation,
        world=world,
    )
    draws = seed_everything(task.seed)
    model.train()

    def load(pick: Pick) -> Example:
        return example_of(data.train, pick, device, scales=task.training.scales, masks=detector.mask)

    def loss_of(network: nn.Module, examples: list[Example]) -> Tensor:
        images, targets = batch_of(examples, device)
        seed_samplers(model, [example.seed for example in examples])
        losses: dict[str, Tensor] = network(images, targets)
        return torch.stack(tuple(losses.values())).sum()

    def reports(step: int | None = None) -> OnImages:
        return evaluation_reports(task.training, len(data.train), on_progress, should_stop, step=step)

    batch_size = task.training.batch_size

    def evaluate(step: int | None = None) -> dict[str, float]:
        if paths is not None:
            paths.end(model)
        return evaluate_detector(
            model,
            data.val,
            data.class_names,
            batch_size=batch_size,
            family=data.family,
            on_images=reports(step),
            world=world,
            loaders=loaders,
        )

    def probe(step: int) -> None:
        if step not in task.training.evaluate_at:
            return
        with undisturbed(model):
            metrics = evaluate(step)
            loss = mean_loss(
                model,
                data.val,
                loss_of,
                masks=detector.mask,
                batch_size=batch_size,
                on_images=reports(step),
                world=world,
                loaders=loaders,
            )
        continuation.measured |= probed(step, metrics, loss)

    run_steps(
        model,
        task.training,
        num_images=len(data.train),
        draws=draws,
        load=load,
        loss_of=loss_of,
        on_progress=on_progress,
        should_stop=should_stop,
        continuation=continuation,
        notes=notes,
        world=world,
        loaders=loaders,
        groups=_groups(data.train, task.training.aspect_groups),
        choose=None if paths is None else partial(paths.choose, model),
        uses_all=paths is None and (isinstance(task.spec, NetworkSpec) or task.spec.architecture.reads_last_block),
        probe=probe if task.training.evaluate_at else None,
    )
    metrics = evaluate()
    shape = DetectorShape(**detector.model_dump(), image_mean=data.mean, image_std=data.std)
    card = DetectorCard(classes=tuple(data.class_names), max_stages=max_stages, shape=shape)
    metadata = {"spec": json.dumps(task.spec.to_dict()), "kind": task.kind, **card.metadata}
    return TrainingResult(
        metrics={**metrics, **continuation.measured} if world.is_first else {},
        weights=pack(model.state_dict(), metadata) if world.is_first else b"",
        peak_memory_bytes=peak_memory_bytes(device),
        notes=notes,
    )


def prepare_detector(
    task: Task,
    *,
    data: DetectionData,
    detector: DetectorSettings,
    max_stages: int,
    parent: Buffer | None = None,
    backbone: Buffer | None = None,
    supernet: bool = False,
    continuation: Continuation | None = None,
    world: World | None = None,
) -> tuple[FasterRCNN, tuple[str, ...]]:
    """The detector of a task before its first step, on its device; or its whole super-net.

    - A checkpoint: its weights and notes, and nothing of what follows.
    - A parent of a multi-scale network, its super-net or itself: the weights of the network's own path.
    - A parent alone of another: its weights, morphed. Where a stride has passed a doubling, the level's lateral
      convolution is refitted by least squares.
    - A parent and a backbone: the parent's neck and heads on that backbone, every lateral convolution
      refitted to what the parent's network gave (the refresh after a reignition).
    - A backbone alone: fresh neck and heads on it.
    - Neither: `Task.start_weights`.

    Returns:
        The detector, and notes on what was refitted or had to be fresh.
    """
    seed_everything(task.seed)
    world = world or alone()
    device = world.device
    normalization = normalization_of(task.training, world)

    def build(spec: AnySpec) -> FasterRCNN:
        model = build_detector(
            spec,
            len(data.class_names),
            max_stages=max_stages,
            normalization=normalization,
            bfloat16=wants_bfloat16(device),
            supernet=supernet,
            image_mean=data.mean,
            image_std=data.std,
            **detector.model_dump(),
        )
        return on_device(model, device)

    model = build(task.spec)
    if continuation is not None and (saved_notes := continuation.load_weights(model)) is not None:
        return model, saved_notes
    if parent is None:
        if backbone is None:
            return model, load_start_weights(model, task.spec, task.start_weights)
        state, _ = unpack(backbone)
        load_weights(model.backbone.body, state)
        return model, ("neck and heads are fresh",)

    old_state, metadata = unpack(parent)
    old_spec = spec_from_dict(json.loads(metadata["spec"]))
    if "classes" in metadata and json.loads(metadata["classes"]) != list(data.class_names):
        # What tells other classes apart says nothing of these, even if they are as many.
        old_state = {key: tensor for key, tensor in old_state.items() if "_predictor." not in key}
    if isinstance(task.spec, MultiScaleSpec):
        return model, tuple(misfits(model, load_weights(model, inherit_path(old_state, task.spec.architecture))))
    if not isinstance(old_spec, NetworkSpec):
        raise ValueError(f"weights: they are of {old_spec.architecture}, which {task.spec.architecture} can't take")
    if backbone is None:
        state = inherit(old_state, old_spec, task.morphs, normalization)
    else:
        body, _ = unpack(backbone)
        state = {key: tensor for key, tensor in old_state.items() if not key.startswith(BODY)}
        state |= {BODY + key: tensor for key, tensor in body.items()}
    fresh = load_weights(model, state)
    moved = [int(name.removeprefix(LATERAL)) for name in fresh if name.startswith(LATERAL)]
    levels = range(max_stages) if backbone is not None else moved
    notes = misfits(model, [name for name in fresh if not name.startswith(LATERAL)])
    if levels:
        old = build(old_spec)
        load_weights(old, old_state)
        chosen = np.linspace(0, len(data.train) - 1, min(NUM_REFIT_IMAGES, len(data.train))).round().astype(np.int64)
        images = [scaled(torch.from_numpy(data.train.image(index)), device) for index in chosen.tolist()]
        refitted = refit_laterals(old, model, images, levels)
        notes += [f"{LATERAL}{level} is refitted, R2 {r2:.3f}" for level, r2 in sorted(refitted.items())]
    return model, tuple(notes)


def evaluate_detector(
    model: FasterRCNN,
    split: DetectionSet,
    class_names: Sequence[str],
    *,
    batch_size: int,
    family: MetricFamily = "coco",
    on_images: OnImages = ignore_images,
    world: World | None = None,
    loaders: Loaders | None = None,
) -> dict[str, float]:
    """The metrics of a detector on a split; the detector is left in evaluation mode.

    What is found in an image does not depend on the others: images go through the network together only where each
    is padded as it would be alone, to multiples of the detector's divisor.

    Args:
        model: the detector.
        split: what to evaluate on.
        class_names: in the order of their labels.
        batch_size: the most images per forward pass.
        family: whose metrics, beside COCO's.
        on_images: told how many images are done before each batch, and before the metrics are computed.
        world: the ranks that share the split, each image on one of them; all but the first get no metrics.
        loaders: read images ahead; None reads them when they are wanted.
    """
    world = world or alone()
    loaders = loaders or Loaders()
    device = next(model.parameters()).device
    model.eval()
    share_size = max(1, batch_size // world.size)
    mine = batches_by_size(
        split.size, range(world.rank, len(split), world.size), share_size, divisor=model.transform.size_divisible
    )
    found: dict[int, Detections] = {}

    def load(index: int) -> Tensor:
        return staged(torch.from_numpy(split.image(index)), device)

    with (
        stopping_together(world),
        torch.inference_mode(),
        masks_of_boxes(model),
        closing(loaders.map(load, chain.from_iterable(mine), batch_size=share_size)) as loaded,
    ):
        for chosen in mine:
            on_images(len(found) * world.size)
            images = [scaled(pixels, device) for pixels in islice(loaded, len(chosen))]
            for index, image, detected in zip(chosen, images, model(images), strict=True):
                height, width = image.shape[-2:]
                masks = detected.get("masks")
                found[index] = Detections(
                    boxes=detected["boxes"].cpu().numpy(),
                    labels=detected["labels"].cpu().numpy(),
                    scores=detected["scores"].cpu().numpy(),
                    masks=None
                    if masks is None
                    else stored_masks(split.target(index), (height, width), detected["boxes"], masks),
                )
        on_images(len(split))
    shares = world.gather(found)
    if not world.is_first:
        return {}
    whole = [shares[index % world.size][index] for index in range(len(split))]
    return measure(family, [split.target(index) for index in range(len(split))], whole, class_names)


def _groups(split: DetectionSet, num_groups: int) -> NDArray[np.int64] | None:
    """The images' groups by aspect ratio; None where all are one."""
    if num_groups == 1:
        return None
    return aspect_groups([split.size(index) for index in range(len(split))], num_groups)
