"""Pretraining a backbone."""

import json
from collections.abc import Callable

import pytest

from models.architecture import NetworkSpec
from models.backbone import build_backbone
from models.blob import unpack
from models.inheritance import load_weights
from workers.classification import pretrain
from workers.data import open_classification_data
from workers.settings import ShapesClassification
from workers.task import CandidateFailure, Task

MakeTask = Callable[..., Task]
DATA = open_classification_data(
    ShapesClassification(format="shapes", num_train=320, num_val=100, image_size=32, hue_share=1.0)
)


def test_pretraining_learns_and_gives_a_backbone(make_task: MakeTask) -> None:
    task = make_task(kind="pretrain")
    task = make_task(kind="pretrain", training=task.training.merged({"epochs": 4, "lr": 0.1, "batch_size": 16}))
    one, other = pretrain(task, data=DATA), pretrain(task, data=DATA)
    assert one.metrics == other.metrics
    assert one.metrics["top1"] > 0.5  # chance is 0.25
    state, metadata = unpack(one.weights)
    assert all(tensor.equal(unpack(other.weights)[0][name]) for name, tensor in state.items())
    assert NetworkSpec.from_dict(json.loads(metadata["spec"])) == task.spec
    assert metadata["kind"] == "pretrain"
    assert load_weights(build_backbone(task.spec), state) == []


def test_a_loss_that_is_not_finite_is_the_candidates_failure(make_task: MakeTask) -> None:
    task = make_task()
    with pytest.raises(CandidateFailure, match="loss became"):
        pretrain(make_task(training=task.training.merged({"lr": 1e30, "clip_norm": None})), data=DATA)
