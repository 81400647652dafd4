from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from studies.text_classification import DEFINITION
from studies.training.optim import build_optimizer, build_schedule, learning_rate_share
from studies.training.settings import settings_of

SETTINGS = settings_of(DEFINITION.completed({"weight_decay": 0.1, "learning_rate": 0.5}))


def model() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))


def test_biases_and_norms_do_not_decay() -> None:
    decaying, other = build_optimizer(model(), SETTINGS).param_groups
    assert (decaying["weight_decay"], [tuple(p.shape) for p in decaying["params"]]) == (0.1, [(5, 4), (4, 4)])
    assert (other["weight_decay"], [tuple(p.shape) for p in other["params"]]) == (0.0, [(4,), (4,), (4,)])


def test_the_learning_rate_falls_from_block_to_block() -> None:
    stack = nn.Sequential(nn.Embedding(5, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 3))
    optimizer = build_optimizer(stack, replace(SETTINGS, layer_decay=0.5))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = [{rates[id(p)] for p in module.parameters()} for module in (stack[0], *stack[1], stack[2])]  # type: ignore[misc]
    assert found == [{0.5 / 8}, {0.5 / 4}, {0.5 / 2}, {0.5}]


def test_frozen_parameters_are_unknown_to_the_optimizer() -> None:
    layers = model()
    layers[0].requires_grad_(False)  # type: ignore[index]
    known = [p for group in build_optimizer(layers, SETTINGS).param_groups for p in group["params"]]
    assert len(known) == 4


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_optimizers_by_name(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = build_optimizer(model(), replace(SETTINGS, optimizer=name, momentum=0.7))  # type: ignore[arg-type]
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0].get("momentum") == (0.7 if name == "sgd" else None)


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.8535, 0.5, 0.1464]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_rise_then_fall(schedule: str, shares: list[float]) -> None:
    assert [learning_rate_share(step, 6, 2, schedule) for step in range(6)] == pytest.approx(shares, abs=1e-4)


def test_a_run_that_only_warms_up() -> None:
    assert [learning_rate_share(step, 4, 4, "linear") for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_schedule_moves_the_learning_rate_to_its_end() -> None:
    optimizer = build_optimizer(model(), SETTINGS)
    schedule = build_schedule(optimizer, replace(SETTINGS, warmup_ratio=0.5), legs=[4])
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [0.25, 0.5, 0.5, 0.25]
    assert optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_each_leg_of_an_extended_trial_has_the_schedules_shape_again_without_warmup(kind: Literal["linear", "cosine"]) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), SETTINGS)
    schedule = build_schedule(optimizer, replace(SETTINGS, schedule=kind, warmup_ratio=0.5), legs=[4, 6])
    [share] = {id(function): function for function in schedule.lr_lambdas}.values()
    shares = [share(step) for step in range(7)]
    assert shares[:4] == [learning_rate_share(step, 4, 2, kind) for step in range(4)]
    assert shares[4:6] == [learning_rate_share(step, 2, 0, kind) for step in range(2)]
    assert shares[4] == 1.0 and shares[6] == pytest.approx(0.0)
