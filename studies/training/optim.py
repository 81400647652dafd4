"""The optimiser and how its learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

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


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: Settings, legs: Sequence[int]
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule of a run whose legs end at these optimiser steps; only an extended trial has more than one.

    The first leg warms up; each later one has the schedule's shape again, from the largest rate on (SGDR, Loshchilov & Hutter
    2017). A constant schedule is the same however many legs there are.
    """
    warmup = round(settings.warmup_ratio * legs[0])

    def share(step: int) -> float:
        start, end = next((leg for leg in pairwise((0, *legs)) if step < leg[1]), (legs[-2] if len(legs) > 1 else 0, legs[-1]))
        return learning_rate_share(step - start, end - start, 0 if start else warmup, settings.schedule)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def learning_rate_share(step: int, steps: int, warmup: int, schedule: str) -> float:
    """The share of the largest learning rate at `step`, counted from 0, of `steps`, the first `warmup` of which rise."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
