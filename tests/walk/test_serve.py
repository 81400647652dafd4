"""`tuner serve` and `tuner worker` as separate processes over HTTP, on both databases."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.walk.conftest import Spawn, connect, quick_study, wait_until

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]


def test_a_posted_study_is_trained_by_a_worker_elsewhere(spawn: Spawn, home: Path, database_url: str, tmp_path: Path) -> None:
    spawn("serve", "--port", "0", "--database", database_url)
    with connect(home) as client:
        token = client.post("/tokens", {"role": "worker", "name": "a GPU node"})["token"]
        study = client.post("/studies", quick_study(name="posted"))
        assert study["state"] == "running"
        # The worker has another home: all that it knows of the service is its address and a worker's token.
        worker = spawn("worker", "--slots", "2", TUNER_HOME=str(tmp_path / "node"), TUNER_SERVER=client.server, TUNER_TOKEN=token)
        done = wait_until(lambda: found if (found := client.get("/studies/posted"))["state"] != "running" else None, seconds=200)
        assert done["state"] == "completed", done
        trials = client.get("/studies/posted/trials")["items"]
        assert [trial["number"] for trial in trials] == [0, 1, 2]
        best = client.get("/studies/posted/best")
        names = {artifact["name"] for artifact in client.get(f"/studies/posted/trials/{best['number']}/artifacts")["items"]}
        assert {"config.json", "model.safetensors"} <= names
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)


def test_serve_with_local_workers_trains_and_leaves_no_process_behind(spawn: Spawn, home: Path) -> None:
    service = spawn("serve", "--port", "0", "--workers", "1")
    with connect(home) as client:
        client.post("/studies", quick_study(name="local", budget={"trials": 50}))
        wait_until(lambda: client.get("/studies/local")["counts"]["running"])
        pid = client.get("/workers")["items"][0]["pid"]
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), seconds=10)
    assert not os.path.exists(home / "service.json")


def test_serve_starts_a_local_worker_that_died_again(spawn: Spawn, home: Path) -> None:
    service = spawn("serve", "--port", "0", "--workers", "1")
    with connect(home) as client:
        first = wait_until(lambda: client.get("/workers")["items"])[0]["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: {worker["pid"] for worker in client.get("/workers")["items"]} - {first})
    service.send_signal(signal.SIGTERM)
    output = service.ended(30)
    assert service.returncode == 0 and "a worker ended" in output, output
