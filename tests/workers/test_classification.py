"""Pretraining a backbone."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.architecture import NetworkSpec
from models.backbone import build_backbone
from models.blob import unpack
from models.inheritance import load_weights
from workers.classification import Classifier, _accuracy, pretrain
from workers.data import open_classification_data
from workers.data.loading import Loaders
from workers.loop import ignore_images
from workers.settings import ShapesClassification
from workers.task import CandidateFailure, Task
from workers.world import alone

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


def test_the_first_guess_and_the_first_five_are_counted() -> None:
    # Image i is of class i, and its guesses are the classes from i - shift on: at place `shift` is the right one.
    shifts = [0, 1, 4, 5, 0, 6, 0, 2]

    class Guesses(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            first = images[:, 0, 0, 0].round().long().tolist()
            return torch.stack([-torch.tensor([(label - one) % 8 for label in range(8)]) for one in first]).float()

    class Split:
        def __len__(self) -> int:
            return len(shifts)

        def image(self, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            return np.full((3, 4, 4), (index - shifts[index]) % 8, dtype=np.uint8)

        def label(self, index: int) -> int:
            return index

    data = replace(
        DATA,
        val=Split(),
        class_names=tuple("abcdefgh"),
        image_size=4,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
    )
    guesses = cast(Classifier, Guesses())
    assert _accuracy(guesses, data, 3, ignore_images, alone(), Loaders()) == {"top1": 3 / 8, "top5": 6 / 8}
    few = replace(data, class_names=data.class_names[:5])  # whatever is guessed is among the first five
    assert _accuracy(guesses, few, 3, ignore_images, alone(), Loaders()).keys() == {"top1"}
