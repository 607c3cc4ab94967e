"""How long trainings take: what a network costs, how many images it sees, and the devices' pace.

A training goes ``epochs * images`` forward and backward and then once forward over the validation images, which counts
as a third of a pass. The pace is affine in the network's multiply-adds, as the detector's heads and what is done for an
image whatever the network are the same for all.

Invariant: the same training on as many nodes takes the same time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models.architecture import Architecture, NetworkSpec
from models.costs import backbone_costs
from models.families import AnySpec
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.search.settings import SearchSettings
from workers.data import check_classification_data, check_detection_data
from workers.settings import TrainingSettings

FLOPS_PER_MAC = 6.0
"""Of a training step: a multiply-add is two, and the way back takes twice the way forth."""

FORWARD_SHARE = 1 / 3
"""What an image costs that is only evaluated."""

PUBLISHED_IMAGES = {
    "voc": (16_551, 4_952),
    "coco": (118_287, 5_000),
    "ecp": (23_892, 4_266),
    "bdd": (69_863, 10_000),
    "imagefolder": (1_281_167, 50_000),
}
"""Training and validation images of the benchmarks by format, ImageNet's for an image folder."""

PAPER_HOURS = {
    "voc": (0.5, "BB(11,d1,d1,d1)", (600, 1000)),
    "coco": (3.0, "BNB(111,d111,d11111,d11)", (800, 1333)),
    "ecp": (1.0, "BNB(111,d111,d11111,d11)", (1024, 1920)),
    "bdd": (4.0, "BNB(111,d111,d11111,d11)", (720, 1280)),
}
"""By format: the hours that one candidate of SP-NAS (section 4.1) takes, the network that its search starts from, and
the images' size. It trains 3 epochs on 8 V100."""

PAPER_EPOCHS, PAPER_DEVICES = 3, 8

CPU_TFLOPS = 0.006
"""What one core makes of the small networks of `experiments/shapes.yaml`, ten minutes of two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """How many images there are to train on and to evaluate on.

    Attributes:
        detection: of the detection data, (training, validation).
        classification: of the data that backbones are pretrained on.
    """

    detection: tuple[int, int]
    classification: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of one device for one image that is trained on.

    Attributes:
        per_image_s: whatever the network.
        per_gmac_s: for each 10^9 multiply-adds of the network on the image.
    """

    per_image_s: float = 0.0
    per_gmac_s: float = 0.0

    @classmethod
    def of_tflops(cls, tflops: float) -> "Pace":
        """The pace of a device that does so many 10^12 floating-point operations a second of the network's."""
        return cls(per_gmac_s=FLOPS_PER_MAC * 1e9 / (tflops * 1e12))

    def seconds(self, gmacs: float) -> float:
        """For an image and a network of so many 10^9 multiply-adds."""
        return self.per_image_s + self.per_gmac_s * gmacs


@dataclass(frozen=True)
class Durations:
    """Seconds that a run's trainings take.

    Attributes:
        config: the run's.
        images: of its data sets.
        pace: of its devices.
        paces: of its devices in trainings of a kind with a batch size, in place of `pace`.
    """

    config: RunConfig
    images: Images
    pace: Pace
    paces: Mapping[tuple[str, int], Pace] = field(default_factory=dict)

    def seconds(self, kind: str, spec: AnySpec, training: TrainingSettings, num_nodes: int) -> float:
        """How long a task takes on so many nodes together."""
        pace = self.paces.get((kind, training.batch_size), self.pace)
        devices = self.config.fleet.devices_per_worker * num_nodes
        return self.num_images(kind, training) * pace.seconds(self.gmacs(kind, spec)) / devices

    def num_images(self, kind: str, training: TrainingSettings) -> float:
        """Images that a task trains on, and those it evaluates on as what they cost beside these."""
        num_train, num_val = self.images.classification if kind == "pretrain" else self.images.detection
        evaluated = FORWARD_SHARE * num_val
        if kind in ("score", "evaluate"):
            return evaluated
        if training.iterations is not None:
            return training.iterations * training.batch_size + evaluated
        assert training.epochs is not None
        return training.epochs * num_train + evaluated

    def gmacs(self, kind: str, spec: AnySpec) -> float:
        """10^9 multiply-adds of a network on one of the images that a task sees."""
        if kind == "pretrain" and self.config.reignition is not None and isinstance(spec, NetworkSpec):
            side = self.config.reignition.data.image_size
            return backbone_costs(spec, side, side).total.macs / 1e9
        return self._search.cost(spec).macs / 1e9

    @cached_property
    def _search(self) -> SearchSettings:
        return self.config.search


def images_of(config: RunConfig) -> tuple[Images, list[str]]:
    """How many images a run has: counted where the data are here, else as many as published.

    Returns:
        The images, and what is to be said of them.

    Raises:
        UserError: for data that are here and can't be read.
    """
    notes: list[str] = []
    detection = _counted("data", config.data, notes) if "data" in config.data_keys else (0, 0)
    classification = (0, 0)
    if config.pretrains and config.reignition is not None:
        classification = _counted("reignition.data", config.reignition.data, notes)
    return Images(detection=detection, classification=classification), notes


def _counted(key: str, data: Any, notes: list[str]) -> tuple[int, int]:
    if data.format == "shapes":
        return data.num_train, data.num_val
    if Path(data.root).is_dir():
        check = check_classification_data if data.format == "imagefolder" else check_detection_data
        try:
            report = check(data, key=key)
        except ValueError as error:
            raise UserError(str(error)) from None
        return report.num_train, report.num_val
    num_train, num_val = PUBLISHED_IMAGES[data.format]
    notes.append(
        f"{key}.root: {data.root} is not on this machine; counted as {num_train} training and {num_val} validation "
        "images, the benchmark's"
    )
    return num_train, num_val


def published_pace(config: RunConfig) -> tuple[Pace, str]:
    """The pace of the paper's devices on data of this format; of one CPU on shapes, and where there are no GPUs.

    Returns:
        The pace, and where it is from.
    """
    if not config.fleet.gpus_per_worker or config.data.format not in PAPER_HOURS:
        return Pace.of_tflops(CPU_TFLOPS), f"{CPU_TFLOPS:g} TFLOP/s for each device, one CPU core's"
    tflops = paper_tflops(config.data.format)
    hours, *_ = PAPER_HOURS[config.data.format]
    return Pace.of_tflops(tflops), (
        f"{tflops:.2g} TFLOP/s of the backbone for each device: SP-NAS's {hours:g} hours for a candidate on "
        f"{PAPER_DEVICES} V100"
    )


def paper_tflops(data_format: str) -> float:
    """10^12 floating-point operations of the backbone that each of the paper's devices does a second."""
    hours, encoding, size = PAPER_HOURS[data_format]
    num_train, num_val = PUBLISHED_IMAGES[data_format]
    macs = backbone_costs(NetworkSpec.fresh(Architecture.parse(encoding), "resnet", 64), *size).total.macs
    num_images = PAPER_EPOCHS * num_train + FORWARD_SHARE * num_val
    return FLOPS_PER_MAC * macs * num_images / (hours * 3600 * PAPER_DEVICES) / 1e12
