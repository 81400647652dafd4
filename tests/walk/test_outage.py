"""A service that is away costs no trial anything: workers train on, and tell it when it is back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.walk.conftest import Spawn, connect, quick_study, wait_until
from tuner.client import Client
from tuner.errors import ServiceError

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk"), pytest.mark.timeout(900)]
PORT = "18741"
LEASE_SECONDS = 3


def test_a_trial_finishes_while_the_service_is_away_and_is_not_trained_again(spawn: Spawn, home: Path, scratch: Path) -> None:
    service = spawn("serve", "--port", PORT, TUNER_LEASE_SECONDS=str(LEASE_SECONDS))
    with connect(home) as client:
        worker = spawn("worker", "--slots", "1", "--gpus", "0", TMPDIR=str(scratch))
        parameters = {"epochs": {"value": 4}, "frozen_layers": {"value": 6}, "learning_rate": {"min": 1e-5, "max": 1e-3}}
        client.post("/studies", quick_study(name="outage", parameters=parameters, budget={"trials": 1}))
        wait_until(lambda: (client.get("/studies/outage/trials/0")["epoch"] or 0) >= 1, seconds=300)
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        away = time.monotonic()
        # The model is written once the last epoch is over: all of that without the service.
        wait_until(lambda: list(scratch.glob("tuner-worker-*/*/model/model.safetensors")), seconds=300)
        wait_until(lambda: time.monotonic() - away > LEASE_SECONDS + 1)
        spawn("serve", "--port", PORT, TUNER_LEASE_SECONDS=str(LEASE_SECONDS))
        study = wait_until(lambda: ended(client), seconds=300)
        assert study["state"] == "completed"
        trial = client.get("/studies/outage/trials/0")
        assert [attempt["outcome"] for attempt in trial["attempts"]] == ["completed"]
        assert (trial["retries"], trial["epoch"]) == (0, 4.0)
        epochs = [
            point["epoch"] for point in client.get("/studies/outage/trials/0/metrics")["items"] if point["name"] == "accuracy"
        ]
        assert epochs == [1.0, 2.0, 3.0, 4.0]
        assert worker.poll() is None


def ended(client: Client) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.get("/studies/outage")
    except ServiceError:
        return None
    return found if found["state"] != "running" else None
