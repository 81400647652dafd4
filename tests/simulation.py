"""A study whose training is simulated: workers that play through the manager, with learning curves from a formula."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.records import MetricPoint, Study
from tuner.service import Service
from tuner.spec import check, parse
from tuner.workforce import add_worker


def study_body(**changes: Any) -> dict[str, Any]:
    """A study over a mixed, partly conditional space on data that need not be read."""
    return {
        "name": "simulated",
        "task": "text-classification",
        "model": "builtin:minilm",
        "data": {"train": "builtin:trec"},
        "parameters": {
            "learning_rate": {"min": "1e-6", "max": 1e-3, "log": True},
            "batch_size": {"values": [8, 16, 32]},
            "epochs": {"min": 1, "max": 9},
            "frozen_layers": {"min": 0, "max": 6},
            "optimizer": {"values": ["adamw", "sgd"]},
            "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
            "weight_decay": {"value": 0.01},
        },
        "budget": {"trials": 30},
    } | changes


def start_study(service: Service, now: datetime, **changes: Any) -> Study:
    return service.lifecycle.create(check(parse(study_body(**changes)), check_data=False), actor=Actor(), now=now)


def start_worker(service: Service, now: datetime) -> str:
    return add_worker(service.ledger, host="here", pid=1, gpus=[], versions={}, now=now).id


def accuracy(params: Any, epoch: int) -> float:
    """Best at a learning rate of 1e-4 and nothing frozen, rising with every epoch."""
    distance = abs(math.log10(params["learning_rate"]) + 4) / 3
    ceiling = max(0.0, 0.9 - 0.5 * distance - 0.02 * float(params["frozen_layers"]))
    return ceiling * (1 - math.exp(-epoch / 2))


def point(epoch: int, value: float) -> MetricPoint:
    return MetricPoint(name="accuracy", value=value, step=10 * epoch, epoch=float(epoch), split="validation")


def keep_checkpoint(service: Service, lease: Lease, epoch: int, now: datetime) -> None:
    """What a worker does before it gives back a trial that will be taken up again."""
    upload = service.artifacts.receive([b"weights"], now=now)
    trial = service.manager.holder(lease.id)
    service.artifacts.attach_checkpoint(lease.id, trial, upload, epoch=float(epoch), step=10 * epoch, now=now)


@dataclass
class _Running:
    lease: Lease
    epoch: int = 0


def play(
    service: Service, clock: Callable[[], datetime], *, side_by_side: int, before_each_call: Callable[[], None]
) -> list[Any]:
    """Work off all that there is to do, `side_by_side` trials at a time in a seeded order; returns every decision made."""
    rng = random.Random(7)
    worker_id = start_worker(service, clock())
    decisions: list[tuple[Any, ...]] = []
    running: list[_Running] = []
    while True:
        while len(running) < side_by_side:
            before_each_call()
            lease = service.manager.lease(worker_id, now=clock())
            if lease is None:
                break
            decisions.append((lease.trial, dict(lease.params), lease.resume and lease.resume.epoch))
            running.append(_Running(lease, int(lease.resume.epoch) if lease.resume else 0))
        if not running:
            return decisions
        chosen = rng.choice(running)
        chosen.epoch += 1
        value = accuracy(chosen.lease.params, chosen.epoch)
        before_each_call()
        verdict = service.manager.report(chosen.lease.id, [point(chosen.epoch, value)], now=clock())
        decisions.append((chosen.lease.trial, chosen.epoch, verdict))
        if verdict.stop or chosen.epoch == chosen.lease.params["epochs"]:
            before_each_call()
            later = verdict.reason == "promoted_later"
            if later and chosen.lease.trial % 3 > 0:  # every third keeps no checkpoint and starts anew
                keep_checkpoint(service, chosen.lease, chosen.epoch, clock())
            cost = {"trained_parameters": 1000 * (7 - int(str(chosen.lease.params.get("frozen_layers", 0))))}
            ending = Ending(state="released") if later else Ending(state="completed", values={"accuracy": value}, details=cost)
            outcome = service.manager.finish(chosen.lease.id, ending, now=clock())
            decisions.append((chosen.lease.trial, outcome))
            running.remove(chosen)
