"""Problems that cost nothing to evaluate, and studies of them in memory: what `search_quality.py` and `transfer.py` share."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from studies.definition import ParamValue
from tuner.records import Facts, Prior, Study, Trial
from tuner.search import Search
from tuner.spec import parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Params = Mapping[str, Any]
UNIT = {"min": 0.0, "max": 0.99}
AXES = ("warmup_ratio", "weight_decay", "dropout", "label_smoothing", "momentum", "learning_rate")


@dataclass(frozen=True)
class Problem:
    """A score to maximise over a space in a study file's terms."""

    name: str
    space: Mapping[str, Any]
    score: Callable[[Params], float]


def _axes(params: Params, count: int) -> list[float]:
    return [float(params[name]) / 0.99 for name in AXES[:count]]


def branin(params: Params) -> float:
    """Two dimensions, three equal optima, -0.398 at best (Dixon and Szegö 1978)."""
    x, y = _axes(params, 2)
    x, y = 15 * x - 5, 15 * y
    return -((y - 5.1 * x * x / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann(params: Params) -> float:
    """Six dimensions, 3.322 at best (Hartmann 1973)."""
    x = _axes(params, 6)
    inner = (sum(a * (xi - p) ** 2 for a, xi, p in zip(_A[i], x, _P[i], strict=True)) for i in range(4))
    return sum(alpha * math.exp(-exponent) for alpha, exponent in zip((1.0, 1.2, 3.0, 3.2), inner, strict=True))


def fine_tuning(task: int = 0) -> Callable[[Params], float]:
    """Accuracy of fine-tuning a small encoder, shaped after measurements: a ridge in the rate that moves with the batch size,
    a fall towards frozen layers, a collapse above some rate. Tasks are related: each shifts all of it a little."""
    rng = random.Random(task)
    best, slope, top = rng.uniform(-3.9, -3.3), rng.uniform(0.01, 0.05), rng.uniform(0.8, 0.95)
    wanted = rng.uniform(3.0, 6.0)

    def accuracy(params: Params) -> float:
        rate = math.log10(float(params["learning_rate"])) - 0.5 * math.log10(float(params["batch_size"]) / 16)
        rate -= 1.5 if params.get("optimizer") == "sgd" else 0.0
        score = top - 0.25 * (rate - best) ** 2 - slope * float(params["frozen_layers"]) - (0.3 if rate > best + 0.9 else 0.0)
        score -= 0.02 * abs(float(params["epochs"]) - wanted) + 0.1 * abs(float(params.get("momentum", 0.9)) - 0.9)
        return max(score, 0.2)

    return accuracy


FINE_TUNING_SPACE: Mapping[str, Any] = {
    "learning_rate": {"min": 1e-6, "max": 1e-2, "log": True},
    "batch_size": {"values": [8, 16, 32, 64]},
    "epochs": {"min": 1, "max": 8},
    "frozen_layers": {"min": 0, "max": 6},
    "optimizer": {"values": ["adamw", "sgd"]},
    "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
}
UNITS = dict.fromkeys(AXES[:5], UNIT) | {"learning_rate": {"min": 1e-9, "max": 0.99}}
CELLS = {"epochs": {"min": 1, "max": 12}, "batch_size": {"min": 1, "max": 12}}
PROBLEMS = {
    "branin": Problem("Branin, 2 parameters", {name: UNIT for name in AXES[:2]}, branin),
    "hartmann": Problem("Hartmann, 6 parameters", UNITS, hartmann),
    "cells": Problem(
        "144 cells", CELLS, lambda p: branin({"warmup_ratio": p["epochs"] / 12.2, "weight_decay": p["batch_size"] / 12.2})
    ),
    "fine-tuning": Problem("fine-tuning, 6 parameters, one conditional", FINE_TUNING_SPACE, fine_tuning()),
}


class InMemory:
    """A study whose trials are only in memory: the service's search without its database."""

    def __init__(self, space: Params, sampler: Params, seed: int, priors: Sequence[Prior] = ()) -> None:
        body = {"task": "text-classification", "model": "m", "data": {"train": "d"}, "parameters": space, "sampler": sampler}
        spec = parse(body | {"seed": seed, "pruner": {"name": "none"}})
        facts = Facts(blocks=6)
        self.search = Search(
            Study(
                id="s", name="s", state="running", reason=None, spec=spec, facts=facts, n_created=0, version=1, search_attrs={},
                created_at=NOW, updated_at=NOW, finished_at=None,
            ),
            [],
            {},
            priors,
        )  # fmt: skip
        self.asked = 0

    def ask(self, given: Mapping[str, ParamValue] | None = None) -> tuple[int, Params]:
        number = self.asked
        self.asked += 1
        return number, self.search.ask(number, given).params

    def tell(self, number: int, params: Params, value: float) -> None:
        self.search.tell(
            Trial(
                id=number, study_id="s", number=number, state="completed", origin="sampled", params=params, value=value,
                values={}, epoch=None, step=None, attempt=1, retries=0, lease_id=None, worker_id=None, reason=None,
                failure_kind=None, failure_message=None, search_attrs={}, details={}, created_at=NOW, started_at=NOW,
                finished_at=NOW,
            )
        )  # fmt: skip


def median_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the 95 % interval of it by the bootstrap."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), medians[50], medians[1949]
