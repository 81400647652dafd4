"""The optimiser and how its learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from studies.training.freezing import prefix_parts
from studies.training.settings import Settings


def build_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """An optimiser of the parameters that are trained; frozen ones are unknown to it, so it holds no state for them.

    Raises TrialFailure("code") where the learning rate is to fall from block to block and the blocks can't be told.
    """
    share = _shares(model, settings.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in (parameter for parameter in model.parameters() if parameter.requires_grad):
        # Vectors are biases and the scales of norms: pulling them to 0 only hurts.
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((share.get(id(parameter), 1.0), decay), []).append(parameter)
    made = [
        {"params": parameters, "weight_decay": decay, "lr": settings.learning_rate * rate}
        for (rate, decay), parameters in groups.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(made, lr=settings.learning_rate, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    # Fused: one pass over the parameters instead of a dozen.
    return kind(made, lr=settings.learning_rate, fused=True)


def _shares(model: nn.Module, decay: float) -> dict[int, float]:
    """By id, the share of the learning rate that parameters below the head get (Howard & Ruder 2018, discriminative rates)."""
    if decay == 1.0:
        return {}
    parts = prefix_parts(model)
    return {
        id(parameter): decay ** (len(parts) - index)
        for index, modules in enumerate(parts)
        for module in modules
        for parameter in module.parameters()
    }


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
