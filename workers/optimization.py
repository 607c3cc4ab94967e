"""SGD and its schedule, per step.

Invariant: the rate of a step depends only on the settings, the batch, the step and the number of steps.
"""

import math

import torch
from torch import nn

from workers.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, num_steps: int, *, batch_size: int) -> float:
    """The rate of one step: a linear warm-up from 0, then a cosine from `lr` to `final_lr`, or steps down from `lr`.

    Args:
        settings: rates are scaled by the batch over lr_batch_size where the latter is given.
        step: from 0 to num_steps - 1.
        num_steps: of the whole training; a warm-up as long as that is cut to a third of it.
        batch_size: images that a step really takes.
    """
    scale = batch_size / settings.lr_batch_size if settings.lr_batch_size else 1.0
    warmup = min(settings.warmup_steps, num_steps // 3)
    if step < warmup:
        return scale * settings.lr * (step + 1) / (warmup + 1)
    if settings.lr_schedule == "step":
        num_drops = sum(step >= round(share * num_steps) for share in settings.lr_drops)
        return scale * settings.lr * settings.lr_drop_factor**num_drops
    done = (step - warmup) / max(num_steps - warmup - 1, 1)
    return scale * (settings.final_lr + (settings.lr - settings.final_lr) * (1 + math.cos(math.pi * done)) / 2)


def build_optimizer(model: nn.Module, settings: TrainingSettings, *, fused: bool) -> torch.optim.SGD:
    """SGD over the parameters that train; scales and biases (at most one dimension) have no weight decay.

    Args:
        model: parameters without a gradient are left out.
        settings: momentum and weight decay; the rate is set before each step.
        fused: one kernel for all parameters, on CUDA.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, fused=fused)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All that it trains, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
