"""What the tests of the workers share: a tiny recipe and small data sets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from models.architecture import Architecture, NetworkSpec
from tests import small_data
from workers.data import open_detection_data
from workers.data.interface import DetectionData
from workers.settings import DetectorSettings, ShapesData, TrainingSettings
from workers.task import Task


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Numbers are compared bit by bit."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def detector() -> DetectorSettings:
    return DetectorSettings(
        pyramid_channels=16,
        anchor_size=8,
        head_channels=32,
        roi_size=5,
        roi_sampling_ratio=1,
        canonical_scale=32,
        rpn_pre_nms_train=50,
        rpn_pre_nms_test=50,
        rpn_post_nms_train=25,
        rpn_post_nms_test=25,
        rpn_batch=32,
        roi_batch=16,
        detections_per_image=10,
        score_threshold=0.0,
    )


@pytest.fixture(scope="session")
def shapes() -> DetectionData:
    return open_detection_data(ShapesData(format="shapes", num_train=72, num_val=16, image_size=64, max_radius=20))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    def make(architecture: str = "BB(1,d1,d1)", **changes: object) -> Task:
        training = TrainingSettings(epochs=1, batch_size=8, lr_batch_size=None, warmup_steps=2)
        values: dict[str, object] = {
            "index": 1,
            "attempt": 0,
            "kind": "train_detector",
            "spec": NetworkSpec.fresh(Architecture.parse(architecture), "deep", 8),
            "morphs": (),
            "training": training,
            "seed": (0, 1, 2),
        }
        return Task(**{**values, **changes})  # type: ignore[arg-type]

    return make


Box = tuple[str, float, float, float, float]
WriteVoc = Callable[..., Path]


@pytest.fixture
def write_voc(tmp_path: Path) -> WriteVoc:
    """`tests.small_data.write_voc` into an empty folder, which it gives."""

    def write(split: str, images: dict[str, Sequence[Box]], **more: Any) -> Path:
        small_data.write_voc(tmp_path, split, images, **more)
        return tmp_path

    return write
