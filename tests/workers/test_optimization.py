"""The schedule and the optimizer, and the one seed."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from workers.batches import Pick
from workers.checkpoint import Continuation
from workers.data.loading import Loaders
from workers.loop import run_steps
from workers.optimization import build_optimizer, learning_rate
from workers.seeding import seed_everything
from workers.settings import TrainingSettings
from workers.task import ignore_progress, never_stop
from workers.world import alone


def test_rate_warms_up_then_falls_to_the_last_one() -> None:
    settings = TrainingSettings(warmup_steps=4, batch_size=16)
    rates = [learning_rate(settings, step, 100, batch_size=16) for step in range(100)]
    assert rates[:5] == pytest.approx([0.004, 0.008, 0.012, 0.016, 0.02])
    assert all(one > other for one, other in zip(rates[4:], rates[5:], strict=False))
    assert rates[-1] == pytest.approx(0.0001)


def test_rate_is_scaled_with_the_batch() -> None:
    settings = TrainingSettings(warmup_steps=0, batch_size=8)
    assert learning_rate(settings, 0, 10, batch_size=4) == pytest.approx(0.005)
    as_written = settings.merged({"lr_batch_size": None})
    assert learning_rate(as_written, 0, 10, batch_size=4) == pytest.approx(0.02)


def test_a_warmup_longer_than_the_training_is_cut() -> None:
    settings = TrainingSettings(warmup_steps=500, batch_size=16)
    assert learning_rate(settings, 3, 9, batch_size=16) == pytest.approx(0.02)
    assert learning_rate(settings, 0, 1, batch_size=16) == pytest.approx(0.02)


def test_fewer_images_than_a_batch_are_trained_at_the_rate_of_what_they_are() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def loss_of(network: nn.Module, picks: list[Pick]) -> torch.Tensor:
        assert len(picks) == 4
        return -model.weight.sum()

    settings = TrainingSettings(epochs=1, batch_size=16, lr=0.16, final_lr=0.0, clip_norm=None, weight_decay=0.0)
    draws = np.random.default_rng(0)
    run_steps(
        model,
        settings,
        num_images=4,
        draws=draws,
        load=lambda pick: pick,
        loss_of=loss_of,
        on_progress=ignore_progress,
        should_stop=never_stop,
        continuation=Continuation(None, fingerprint="", every_s=0),
        notes=(),
        world=alone(),
        loaders=Loaders(),
    )
    assert model.weight.item() == pytest.approx(0.04)


def test_rate_steps_down_by_a_tenth_after_16_and_22_of_24_epochs() -> None:
    settings = TrainingSettings(lr_schedule="step", warmup_steps=4, batch_size=16, epochs=24)
    for steps_per_epoch in (1, 7, 916, 7329):
        num_steps = 24 * steps_per_epoch
        epochs = [learning_rate(settings, epoch * steps_per_epoch, num_steps, batch_size=16) for epoch in range(24)]
        assert epochs[5:] == pytest.approx(11 * [0.02] + 6 * [0.002] + 2 * [0.0002])
        before = [learning_rate(settings, epoch * steps_per_epoch - 1, num_steps, batch_size=16) for epoch in (16, 22)]
        assert before == pytest.approx([0.02, 0.002])
    assert learning_rate(settings, 0, 240, batch_size=8) == pytest.approx(0.01 / 5)  # it warms up, too


def test_rate_steps_down_where_it_is_told_to() -> None:
    settings = TrainingSettings(lr_schedule="step", lr_drops=(0.5,), lr_drop_factor=0.5, warmup_steps=0, lr=0.4)
    assert [learning_rate(settings, step, 4, batch_size=16) for step in range(4)] == pytest.approx([0.4, 0.4, 0.2, 0.2])
    with pytest.raises(ValueError, match="lr_drops"):
        settings.merged({"lr_drops": (0.5, 0.4)})


def test_scales_and_biases_have_no_weight_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[0].weight.requires_grad_(True)
    decayed, free = build_optimizer(model, TrainingSettings(), fused=False).param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4]
    assert len(free["params"]) == 3 and free["weight_decay"] == 0.0


def test_one_seed_seeds_everything() -> None:
    def draw(*seed: int) -> tuple[float, ...]:
        draws = seed_everything(seed)
        return torch.rand(()).item(), float(np.random.rand()), random.random(), float(draws.random())

    assert draw(1, 2) == draw(1, 2)
    assert all(one != other for one, other in zip(draw(1, 2), draw(2, 1), strict=True))
    assert torch.are_deterministic_algorithms_enabled()
