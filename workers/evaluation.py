"""A detector's evaluation as a task of its own: every metric of its data, and, where that is asked, how fast it is.

Speed is measured as in SP-NAS, section 4.2 ("we run 2000 testing images on one V100 GPU and take the last 1000 images
to compute the average of the inference time"): by one rank, one image at a time. What is timed of an image begins with
its resized bytes in memory and ends with its boxes (and masks, at their own size) there; reading, decoding and resizing
are no part of it, and nothing else is done meanwhile.

Invariant: nothing is trained and no weights are made; a detector that would have to be fresh in any part is refused.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torchvision.models.detection import FasterRCNN

from models.detectors import masks_of_boxes
from workers.data.interface import DetectionData, DetectionSet
from workers.data.loading import Loaders
from workers.detection import Buffer, evaluate_detector, prepare_detector
from workers.examples import scaled, staged
from workers.loop import (
    OnImages,
    evaluation_reports,
    ignore_images,
    peak_memory_bytes,
    report_preparation,
    wants_bfloat16,
)
from workers.metric_names import IMAGES_PER_SECOND, LATENCY_MS
from workers.settings import DetectorSettings
from workers.task import CandidateFailure, OnProgress, ShouldStop, Task, TrainingResult, ignore_progress, never_stop
from workers.world import World, alone

EVALUATE, SCORE = "evaluate", "score"
"""The kinds of tasks that evaluate: with a detector's speed, and without."""

NUM_IMAGES = 2000
"""Of the paper, as is that the first half of them is not counted."""

IMAGES_PER_REPORT = 10


def evaluate(
    task: Task,
    *,
    data: DetectionData,
    detector: DetectorSettings,
    max_stages: int,
    parent: Buffer | None,
    on_progress: OnProgress = ignore_progress,
    should_stop: ShouldStop = never_stop,
    world: World | None = None,
    loaders: Loaders | None = None,
) -> TrainingResult:
    """Evaluate a detector on the evaluation split, and time it unless the task's kind is `SCORE`.

    Args:
        task: the network; of its training the size of a batch counts alone.
        data: what to evaluate on.
        detector: everything but the backbone.
        max_stages: pyramid levels, as the detector was built with.
        parent: the detector's blob, or that of a super-net which has it.
        on_progress: told every few images.
        should_stop: asked as often.
        world: the ranks that share the images; the first one's speed is measured.
        loaders: read images ahead; None reads them when they are wanted.

    Returns:
        The metrics, ``images_per_second`` and ``latency_ms`` among them where it was timed, and no weights; on all
        ranks but the first, no metrics either.

    Raises:
        CandidateFailure: when the weights are not of such a detector.
        TrainingStopped: when `should_stop` says so.
        OSError: when data can't be read.
        ValueError: when weights and network don't fit.
    """
    world = world or alone()
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    report_preparation(task.training, len(data.train), on_progress)
    assert parent is not None, "an evaluation is given weights"
    model, fresh = prepare_detector(
        task, data=data, detector=detector, max_stages=max_stages, parent=parent, world=world
    )
    if fresh:
        raise CandidateFailure(
            f"the weights are not of this detector: {'; '.join(fresh)}; detector.*, serial.max_stages and the classes "
            "must be those that it was trained with"
        )

    def reports() -> OnImages:
        return evaluation_reports(task.training, len(data.train), on_progress, should_stop)

    metrics = evaluate_detector(
        model,
        data.val,
        data.class_names,
        batch_size=task.training.batch_size,
        family=data.family,
        on_images=reports(),
        world=world,
        loaders=loaders,
    )
    speed = None if task.kind == SCORE else measure_speed(model, data.val, on_images=reports(), world=world)
    return TrainingResult(
        metrics=metrics if speed is None else {**metrics, **speed.metrics},
        weights=b"",
        peak_memory_bytes=peak_memory_bytes(world.device),
        notes=() if speed is None else (str(speed),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a detector is.

    Attributes:
        seconds: of each image that was timed.
        num_images: how many it took in all.
        device: on what, in words.
    """

    seconds: tuple[float, ...]
    num_images: int
    device: str

    @property
    def metrics(self) -> dict[str, float]:
        """Images per second by the mean time, and the median image's milliseconds."""
        return {IMAGES_PER_SECOND: 1 / fmean(self.seconds), LATENCY_MS: 1000 * median(self.seconds)}

    def __str__(self) -> str:
        """How it was measured."""
        fewer = " (the split has no more)" if self.num_images < NUM_IMAGES else ""
        counted = f"the last {len(self.seconds)} of {self.num_images} images{fewer}"
        return f"speed: {counted}, one at a time, on {self.device}"


def measure_speed(
    model: FasterRCNN,
    split: DetectionSet,
    *,
    on_images: OnImages = ignore_images,
    world: World | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed | None:
    """Time a detector on the last half of a split's first 2000 images, or of all where it has fewer.

    Args:
        model: the detector; it is left in evaluation mode.
        split: where the images are from.
        on_images: told every few images how many are done.
        world: the other ranks wait for the first one, in step with it.
        clock: gives seconds that only rise.

    Returns:
        The first rank's speed; None on the others.
    """
    world = world or alone()
    device = next(model.parameters()).device
    model.eval()
    num_images = min(NUM_IMAGES, len(split))
    num_untimed = num_images - max(1, num_images // 2)
    seconds: list[float] = []
    with torch.inference_mode(), masks_of_boxes(model):
        for number in range(num_images):
            if number % IMAGES_PER_REPORT == 0:
                on_images(number)
                world.wait()  # none waits for another for longer than a few images take
            if not world.is_first:
                continue
            pixels = staged(torch.from_numpy(split.image(number)), device)
            _finish(device)
            begun = clock()
            for found in model([scaled(pixels, device)])[0].values():
                found.cpu()
            _finish(device)
            if number >= num_untimed:
                seconds.append(clock() - begun)
    on_images(num_images)
    if not world.is_first:
        return None
    return Speed(seconds=tuple(seconds), num_images=num_images, device=_words_for(device))


def _finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _words_for(device: torch.device) -> str:
    precision = "bfloat16 and float32" if wants_bfloat16(device) else "float32"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} in {precision}"
    return f"CPU with {torch.get_num_threads()} threads in {precision}"
