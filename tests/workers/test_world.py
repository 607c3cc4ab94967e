"""Several ranks train what one would: the same losses, every image of an evaluation once."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.architecture import Architecture, NetworkSpec
from models.blob import unpack
from models.msnas_encoding import MultiScale, MultiScaleSpec
from workers.checkpoint import Checkpoint
from workers.data import open_detection_data
from workers.detection import train_detector
from workers.rank import Checkpoints, Session
from workers.ranks import TICK_S, Ranks
from workers.run_folder import RunFolder
from workers.settings import DetectorSettings, ShapesClassification, ShapesData, TrainingSettings
from workers.task import (
    NodeSettings,
    Progress,
    Task,
    TrainingResult,
    TrainingStopped,
)
from workers.training import NetworkTrainer

NUM_STEPS = 6


class SlowCheckpoints(Checkpoints):
    """Checkpoints of a store that takes longer than a rank's end."""

    def write(self, data: bytes) -> None:
        threading.Event().wait(2 * TICK_S)
        super().write(data)


class SlowlyWritingTrainer(NetworkTrainer):
    """Trains as ever, with such a store."""

    def train(self, task: Task, session: Session) -> TrainingResult:
        slow = SlowCheckpoints(session.checkpoints._folder, task)
        return super().train(task, replace(session, checkpoints=slow))


def settings_of(folder: Path, detector: DetectorSettings, num_ranks: int) -> NodeSettings:
    return NodeSettings(
        folder=str(folder),
        # One batch is an epoch, so that every step is reported; 13 images are no multiple of the ranks.
        data=ShapesData(format="shapes", num_train=16, num_val=13, image_size=64, max_radius=20),
        reignition_data=ShapesClassification(format="shapes", num_train=16, num_val=13),
        detector=detector,
        max_stages=4,
        num_ranks=num_ranks,
        num_loaders=num_ranks // 2,  # none where one rank is alone
    )


@pytest.fixture(scope="module")
def one_and_four(
    detector: DetectorSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Ranks, NodeSettings]]]:
    """One rank, and four that train together: task after task, as they do in a search."""
    settings = [settings_of(tmp_path_factory.mktemp("ranks"), detector, count) for count in (1, 4)]
    started = [(Ranks(each), each) for each in settings]
    yield started
    for ranks, _ in started:
        ranks.kill()


def trained(
    task: Task, ranks: Ranks, settings: NodeSettings
) -> tuple[list[float], dict[str, float], dict[str, np.ndarray]]:
    """Losses of all steps, metrics and weights."""
    losses: list[float] = []

    def note(progress: Progress) -> None:
        if progress.phase == "training":
            losses.append(progress.loss)

    result = ranks.train(task, None, None, note)
    assert result is not None
    state, _ = unpack(RunFolder(settings.folder).read_weights(result.weights))
    return losses, result.metrics, {name: tensor.numpy() for name, tensor in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train_detector", "pretrain"])
@pytest.mark.parametrize("normalization", ["sync", "group"])
def test_four_ranks_give_the_losses_of_one(
    kind: str, normalization: str, make_task: Callable[..., Task], one_and_four: list[tuple[Ranks, NodeSettings]]
) -> None:
    training = TrainingSettings.model_validate(
        {"epochs": NUM_STEPS, "batch_size": 16, "normalization": normalization, "lr": 0.02, "warmup_steps": 0}
    )
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,d1,d1)"), "deep", 8)
    compare(make_task(kind=kind, spec=spec, training=training), one_and_four)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("train_supernet", "MS(BB,4;1,2,2,0.5,1,2;4,8,8,16,16)"),
        ("train_detector", "MS(BB,4;1,2,2,0.5,1,2;4,4,8,8,8)"),  # whose last block no head reads
    ],
)
def test_four_ranks_give_the_losses_of_one_where_steps_leave_parameters_out(
    kind: str, text: str, make_task: Callable[..., Task], one_and_four: list[tuple[Ranks, NodeSettings]]
) -> None:
    training = TrainingSettings.model_validate(
        {"iterations": NUM_STEPS, "batch_size": 16, "normalization": "sync", "lr": 0.02, "warmup_steps": 0}
    )
    spec = MultiScaleSpec(MultiScale.parse(text), "deep")
    compare(make_task(kind=kind, spec=spec, training=training), one_and_four)


def compare(task: Task, one_and_four: list[tuple[Ranks, NodeSettings]]) -> None:
    """Train on one rank, and on four."""
    (one, metrics, state), (four, shared_metrics, shared_state) = (trained(task, *each) for each in one_and_four)
    assert len(one) == len(four) == NUM_STEPS
    # Sums of float32 in another order: a step's error grows with the steps after it.
    np.testing.assert_allclose(four, one, rtol=2e-3)
    assert shared_metrics.keys() == metrics.keys()
    for name, values in state.items():
        np.testing.assert_allclose(shared_state[name], values, rtol=0.02, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_two_ranks_give_a_cascade_with_masks_the_losses_of_one(
    detector: DetectorSettings, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    changes = {"kind": "cascade_rcnn", "mask": True, "mask_channels": 4, "mask_roi_size": 4}
    masked = DetectorSettings.model_validate({**detector.model_dump(), **changes})
    training = TrainingSettings.model_validate(
        {"epochs": 3, "batch_size": 16, "normalization": "group", "lr": 0.02, "warmup_steps": 0}
    )
    task, settings = make_task(training=training), settings_of(tmp_path, masked, 2)
    one: list[float] = []
    alone = train_detector(
        task,
        data=open_detection_data(settings.data),
        detector=masked,
        max_stages=settings.max_stages,
        on_progress=lambda progress: one.append(progress.loss) if progress.phase == "training" else None,
    )
    ranks = Ranks(settings)
    try:
        two, metrics, _ = trained(task, ranks, settings)
    finally:
        ranks.kill()
    assert len(one) == len(two) == 3
    np.testing.assert_allclose(two, one, rtol=2e-3)
    assert metrics.keys() == alone.metrics.keys() and "masks/AP" in metrics


@pytest.mark.slow
def test_ranks_that_are_asked_to_stop_end_with_a_checkpoint_however_long_it_takes(
    detector: DetectorSettings, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    training = TrainingSettings.model_validate({"epochs": 10_000, "batch_size": 16, "normalization": "sync"})
    task = make_task(kind="pretrain", training=training, checkpoint_s=3600)
    settings = settings_of(tmp_path, detector, 2)
    ranks = Ranks(replace(settings, trainer=f"{__name__}:{SlowlyWritingTrainer.__name__}"))
    told = []

    def stop(progress: Progress) -> None:
        told.append(progress.step)
        if progress.step == 2:
            ranks.request_stop()

    try:
        with pytest.raises(TrainingStopped):
            ranks.train(task, None, None, stop)
    finally:
        ranks.kill()
    data = RunFolder(settings.folder).read_checkpoint(task.name)
    assert data is not None
    assert Checkpoint.from_bytes(data).step >= told[-1] >= 2
