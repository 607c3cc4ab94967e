"""Several ranks train what one would: the same losses, every image of an evaluation once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.architecture import Architecture, NetworkSpec
from models.blob import unpack
from workers.ranks import Ranks
from workers.run_folder import RunFolder
from workers.settings import DetectorSettings, ShapesClassification, ShapesData, TrainingSettings
from workers.task import NodeSettings, Progress, Task

NUM_STEPS = 6


def settings_of(folder: Path, detector: DetectorSettings, num_ranks: int) -> NodeSettings:
    return NodeSettings(
        folder=str(folder),
        # One batch is an epoch, so that every step is reported; 13 images are no multiple of the ranks.
        data=ShapesData(format="shapes", num_train=16, num_val=13, image_size=64, max_radius=20),
        reignition_data=ShapesClassification(format="shapes", num_train=16, num_val=13),
        detector=detector,
        max_stages=4,
        num_ranks=num_ranks,
    )


def trained(task: Task, settings: NodeSettings) -> tuple[list[float], dict[str, float], dict[str, np.ndarray]]:
    """Losses of all steps, metrics and weights."""
    losses: list[float] = []

    def note(progress: Progress) -> None:
        if progress.phase == "training":
            losses.append(progress.loss)

    ranks = Ranks(settings)
    try:
        result = ranks.train(task, None, None, note)
    finally:
        ranks.kill()
    assert result is not None
    state, _ = unpack(RunFolder(settings.folder).read_weights(result.weights))
    return losses, result.metrics, {name: tensor.numpy() for name, tensor in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train_detector", "pretrain"])
@pytest.mark.parametrize("normalization", ["sync", "group"])
def test_four_ranks_give_the_losses_of_one(
    kind: str, normalization: str, detector: DetectorSettings, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    training = TrainingSettings.model_validate(
        {"epochs": NUM_STEPS, "batch_size": 16, "normalization": normalization, "lr": 0.02, "warmup_steps": 0}
    )
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,d1,d1)"), "deep", 8)
    task = make_task(kind=kind, spec=spec, training=training)
    (one, metrics, state), (four, shared_metrics, shared_state) = (
        trained(task, settings_of(tmp_path / str(count), detector, count)) for count in (1, 4)
    )
    assert len(one) == len(four) == NUM_STEPS
    # Sums of float32 in another order: a step's error grows with the steps after it.
    np.testing.assert_allclose(four, one, rtol=2e-3)
    assert shared_metrics.keys() == metrics.keys()
    for name, values in state.items():
        np.testing.assert_allclose(shared_state[name], values, rtol=0.02, atol=2e-3, err_msg=name)
