"""The service or its database is away for a while, leases are as long as they are by default: training goes on, nothing is lost.

For 2 s in short; with TUNER_TEST_FAULT_SECONDS (`make faults`) for 0, 20 and 60 s.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.places import crash, own_postgres, started
from tests.faults.swarm import ServiceProcess
from tests.simulation import accuracy, study_body
from tests.walk.conftest import wait_until
from tuner.client import Client
from tuner.settings import Settings

pytestmark = [pytest.mark.walk, pytest.mark.timeout(600)]
CASES = [("PostgreSQL", 2.0)]
if os.environ.get("TUNER_TEST_FAULT_SECONDS"):
    CASES = [(gone, seconds) for gone in ("service", "PostgreSQL") for seconds in (0.0, 20.0, 60.0)]


class Training:
    """Two workers of `tuner.client`, each with one trial that trains until it is told that it is over."""

    def __init__(self, client: Client) -> None:
        self.client, self.over = client, threading.Event()
        self.epochs: dict[int, int] = {}  # trial → how far it is
        self._threads = [threading.Thread(target=self._work) for _ in range(2)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _work(self) -> None:
        trial = self.client.lease(self.client.register())
        assert trial is not None
        with trial:
            while not self.over.wait(0.2):
                epoch = self.epochs[trial.number] = self.epochs.get(trial.number, 0) + 1
                assert not trial.report(step=epoch, epoch=epoch, accuracy=accuracy(trial.params, epoch)).stop
            trial.finish({"accuracy": accuracy(trial.params, self.epochs[trial.number])})


@pytest.mark.parametrize(("gone", "seconds"), CASES)
def test_an_outage_costs_no_trial_anything(gone: str, seconds: float, tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        server = cleanup.enter_context(own_postgres())
        url = Settings(database_url=server.get_uri()).url
        service = ServiceProcess(tmp_path / "home", url, lease_seconds=Settings().lease_seconds)
        cleanup.callback(service.kill)
        service.start()
        service.wait_ready()
        token = (service.home / "token").read_text().strip()
        client = cleanup.enter_context(Client(f"http://127.0.0.1:{service.port}", token))
        parameters = {"epochs": {"value": 10_000}, "frozen_layers": {"value": 0}, "learning_rate": {"min": 1e-6, "max": 1e-3}}
        client.post("/studies", study_body(name="outage", parameters=parameters, pruner={"name": "none"}, budget={"trials": 2}))
        training = Training(client)
        cleanup.callback(training.over.set)
        training.start()
        wait_until(lambda: sorted(training.epochs) == [0, 1] and min(training.epochs.values()) > 3)

        service.kill() if gone == "service" else crash(server)
        time.sleep(1.0)  # the calls that are on their way break off
        before = dict(training.epochs)
        time.sleep(seconds)
        trained = {number: epoch - before[number] for number, epoch in training.epochs.items()}
        assert min(trained.values()) >= seconds, f"in {seconds} s without {gone} the trials trained {trained} epochs"
        service.start() if gone == "service" else wait_until(lambda: started(server))
        service.wait_ready()
        training.end()
        for number, epochs in training.epochs.items():
            trial = client.get(f"/studies/outage/trials/{number}")
            assert [attempt["outcome"] for attempt in trial["attempts"]] == ["completed"]
            assert trial["retries"] == 0
            told = client.get(f"/studies/outage/trials/{number}/metrics", limit=1000)["items"]
            expected = [(epoch, accuracy(trial["params"], epoch)) for epoch in range(1, epochs + 1)]
            assert [(point["step"], point["value"]) for point in told] == expected
