"""Steps of training: our `BNB(111,d111,d11111,d11)` Faster R-CNN against torchvision's `fasterrcnn_resnet50_fpn`.

Both have the same weights, four levels, images, targets and draws, hence the same loss, which is checked before
anything is timed. A step is forward, backward and SGD. On CPU both compute in float32. Where there is a CUDA device,
ours is as a training runs (bfloat16, channels last, fused SGD), with `torch.compile` on backbone and pyramid and
without, against torchvision's plain float32 loop. Then the share of a training that waits for images.
"""

import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from experiments.benchmarks.turns import Finding, by_turns, ratios, spread
from models.backbone import load_torchvision_weights
from models.detector_shape import DetectorShape
from models.detectors import build_detector, seed_samplers
from models.families import read_spec
from models.roi_heads import SeededSampler
from orchestrator.config_files import load_config
from workers.data import open_detection_data
from workers.data.loading import Item, Loaded, Loaders
from workers.detection import train_detector
from workers.loop import on_device
from workers.optimization import build_optimizer, set_learning_rate
from workers.settings import TrainingSettings
from workers.task import Task

NETWORK = "BNB(111,d111,d11111,d11)"
NUM_CLASSES = 20
NUM_LEVELS = 4
LEARNING_RATE = 1e-4
RECIPE = Path(__file__).parent.parent / "shapes.yaml"
BATCH: dict[str, tuple[int, tuple[int, int], int]] = {"cpu": (2, (128, 128), 9), "cuda": (8, (800, 1344), 20)}
"""Images, their height and width, and turns, by the type of device."""


def bench_training() -> list[Finding]:
    """Torchvision's time for a step over ours, and the share of waiting."""
    findings = on_one_device(torch.device("cpu"))
    if torch.cuda.is_available():
        findings += on_one_device(torch.device("cuda"))
    return [*findings, waiting()]


def on_one_device(device: torch.device) -> list[Finding]:
    """Both on one device; on CPU with one thread."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    num_images, size, repeats = BATCH[device.type]
    images, targets = batch(num_images, size, device)
    theirs = on_plain_device(torchvision_detector(size), device)
    ours = our_detector(theirs, device, bfloat16=False)
    check_losses(ours, theirs, images, targets)
    steps = {"torchvision": step_of(theirs, images, targets, plain_sgd(theirs))}
    if device.type == "cuda":
        fast = our_detector(theirs, device, bfloat16=True)
        compiled = our_detector(theirs, device, bfloat16=True)
        compiled.backbone = torch.compile(compiled.backbone)
        steps["ours"] = step_of(fast, images, targets, our_sgd(fast, fused=True))
        steps["ours, compiled"] = step_of(compiled, images, targets, our_sgd(compiled, fused=True))
    else:
        steps["ours"] = step_of(ours, images, targets, our_sgd(ours, fused=False))
    seconds = by_turns(steps, repeats, warm_up=2)
    asked = {"cpu": "at least 1.0", "cuda": "at least 2"}[device.type]
    findings = [
        Finding(
            f"torchvision's step / that of {name}, {device.type}, {num_images} images of {size[0]} x {size[1]}",
            f"{spread(ratios(seconds['torchvision'], figures))}; {num_images / min(figures):.2f} images/s",
            asked,
        )
        for name, figures in seconds.items()
        if name != "torchvision"
    ]
    if "ours, compiled" in seconds:
        best = min(min(seconds["ours"]), min(seconds["ours, compiled"]))
        findings.append(
            Finding("ours / the best of compiled or not", f"{min(seconds['ours']) / best:.2f}", "at most 1.1")
        )
    return findings


def torchvision_detector(size: tuple[int, int]) -> FasterRCNN:
    """Theirs, with four levels and with images left at their size."""
    model: FasterRCNN = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1)
    model.backbone.fpn.extra_blocks = None
    shape = DetectorShape()
    model.rpn.anchor_generator = AnchorGenerator(
        sizes=tuple((shape.anchor_size * 2**level,) for level in range(NUM_LEVELS)),
        aspect_ratios=(shape.anchor_ratios,) * NUM_LEVELS,
    )
    model.transform = GeneralizedRCNNTransform(
        min(size), max(size), list(shape.image_mean), list(shape.image_std), size_divisible=32
    )
    for part in (model.rpn, model.roi_heads):
        sampler = part.fg_bg_sampler
        part.fg_bg_sampler = SeededSampler(sampler.batch_size_per_image, sampler.positive_fraction)
    return model.train()


def our_detector(theirs: FasterRCNN, device: torch.device, *, bfloat16: bool) -> FasterRCNN:
    """Ours with their weights."""
    model = build_detector(read_spec(NETWORK, stem="resnet"), NUM_CLASSES, max_stages=NUM_LEVELS, bfloat16=bfloat16)
    load_torchvision_weights(model.backbone.body, theirs.backbone.body.state_dict())
    for part in ("backbone.fpn", "rpn", "roi_heads"):
        model.get_submodule(part).load_state_dict(theirs.get_submodule(part).state_dict())
    return on_device(model, device).train()


def on_plain_device(model: FasterRCNN, device: torch.device) -> FasterRCNN:
    """There, in torch's usual format."""
    moved: FasterRCNN = model.to(device)
    return moved


def batch(num_images: int, size: tuple[int, int], device: torch.device) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Noise with eight boxes in each image."""
    draws = torch.Generator().manual_seed(0)
    images, targets = [], []
    for _ in range(num_images):
        images.append(torch.rand((3, *size), generator=draws).to(device))
        corners = torch.rand((8, 2, 2), generator=draws).sort(dim=1).values * torch.tensor([size[1] - 20, size[0] - 20])
        boxes = torch.cat([corners[:, 0], corners[:, 1] + 16], dim=1)
        labels = torch.randint(1, NUM_CLASSES + 1, (8,), generator=draws)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return images, targets


def losses_of(model: FasterRCNN, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """All losses of a batch."""
    seed_samplers(model, range(len(images)))
    losses: dict[str, Tensor] = model(images, [dict(target) for target in targets])
    return torch.stack(tuple(losses.values())).sum()


def check_losses(ours: FasterRCNN, theirs: FasterRCNN, images: list[Tensor], targets: list[dict[str, Tensor]]) -> None:
    """See that both compute the same; statistics of normalisation go on alike in both."""
    with torch.no_grad():
        own, their = losses_of(ours, images, targets), losses_of(theirs, images, targets)
    assert torch.allclose(own, their, rtol=1e-3), f"the losses differ: ours is {own}, torchvision's {their}"


def step_of(
    model: FasterRCNN, images: list[Tensor], targets: list[dict[str, Tensor]], optimizer: torch.optim.Optimizer
) -> Callable[[], float]:
    """A step, as seconds; on CPU of the processor, so that other work on the machine does not count."""
    is_cuda = images[0].is_cuda
    clock = time.perf_counter if is_cuda else time.process_time

    def step() -> float:
        begun = clock()
        loss = losses_of(model, images, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if is_cuda:
            torch.cuda.synchronize()
        return clock() - begun

    return step


def plain_sgd(model: nn.Module) -> torch.optim.Optimizer:
    """As torchvision's references have it."""
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4)


def our_sgd(model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    """As our training has it."""
    optimizer = build_optimizer(model, TrainingSettings(epochs=1), fused=fused)
    set_learning_rate(optimizer, LEARNING_RATE)
    return optimizer


class TimedLoaders(Loaders):
    """Loaders that note how long they were waited for.

    Attributes:
        waited_s: in all.
    """

    waited_s = 0.0

    def map(
        self, make: Callable[[Item], Loaded], items: Iterable[Item], *, batch_size: int = 1
    ) -> Generator[Loaded, None, None]:
        """See `Loaders`."""
        loaded = super().map(make, items, batch_size=batch_size)
        try:
            while True:
                begun = time.perf_counter()
                try:
                    item = next(loaded)
                except StopIteration:
                    return
                finally:
                    self.waited_s += time.perf_counter() - begun
                yield item
        finally:
            loaded.close()


def waiting() -> Finding:
    """The share of a small training, with its evaluation, that waits for images, with one loader."""
    config = load_config(RECIPE, ("data.num_train=96", "data.num_val=32", "training.epochs=2"))
    loaders = TimedLoaders(1)
    data = open_detection_data(config.data)
    task = Task(
        index=0,
        attempt=0,
        kind="train_detector",
        spec=config.search.start_network,
        morphs=(),
        training=config.recipe("serial"),
        seed=(0, 0, 0),
    )
    options: dict[str, Any] = {"data": data, "detector": config.detector, "max_stages": config.serial.max_stages}
    begun = time.perf_counter()
    train_detector(task, **options, loaders=loaders)
    share = 100 * loaders.waited_s / (time.perf_counter() - begun)
    loaders.close()
    return Finding("share of a training that waits for images, one loader, shapes", f"{share:.1f} %", "under 5 %")
