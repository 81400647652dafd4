"""The optimiser and how its learning rate moves."""

from __future__ import annotations

import math

import torch
from torch import nn

from studies.training.settings import Settings


def build_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """An optimiser of the parameters that are trained; frozen ones are unknown to it, so it holds no state for them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        # Vectors are biases and the scales of norms: pulling them to 0 only hurts.
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    # Fused: one pass over the parameters instead of a dozen.
    return kind(groups, lr=settings.learning_rate, fused=True)


def build_schedule(optimizer: torch.optim.Optimizer, settings: Settings, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule of a run of exactly `steps` optimiser steps."""
    warmup = round(settings.warmup_ratio * steps)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, steps, warmup, settings.schedule))


def learning_rate_share(step: int, steps: int, warmup: int, schedule: str) -> float:
    """The share of the largest learning rate at `step`, counted from 0, of `steps`, the first `warmup` of which rise."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
