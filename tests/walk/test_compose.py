"""What `docker compose up` starts, in the same order and with the same commands, without containers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import new_database
from tests.deploy.compose import environment, placed, services
from tests.walk.conftest import Spawn, Started, quick_study, wait_until
from tuner.client import Client
from tuner.settings import Settings

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]
# Nothing but the head is trained: two workers share two cores here.
FROZEN = {
    "learning_rate": {"min": 1e-4, "max": 1e-3, "log": True},
    "epochs": {"value": 1},
    "frozen_layers": {"value": 6},
    "max_length": {"value": 16},
}


@pytest.fixture
def places(tmp_path: Path, scratch: Path, postgres_server: str) -> dict[str, str]:
    """Where this machine has what the compose file names; the database is empty, without our schema."""
    for folder in ("secrets", "worker-token", "home"):
        (tmp_path / folder).mkdir()
    return {
        "/secrets": str(tmp_path / "secrets"),
        "/worker-token": str(tmp_path / "worker-token"),
        "/scratch": str(scratch),
        "postgresql://tuner@postgres/tuner": new_database(postgres_server),
        "http://service:8321": f"http://127.0.0.1:{_free_port()}",
    }


@pytest.mark.timeout(1000)  # two workers import torch side by side, perhaps beside another test that trains
def test_the_compose_files_commands_in_order_run_a_study(places: dict[str, str], spawn: Spawn, home: Path) -> None:
    parts = services()
    _make_secrets(parts["secrets"], places)

    def start(name: str, *more: str, **changes: str) -> Started:
        # `${TMPDIR}` and the home folder are the image's own.
        return spawn(
            *parts[name].get("command", ["worker"]),
            *more,
            **(environment(parts[name], places) | {"TMPDIR": places["/scratch"]} | changes),
        )

    migrate = start("migrate")
    assert "up to date" in migrate.ended(60)
    assert migrate.returncode == 0

    url = places["http://service:8321"]
    port = url.rpartition(":")[2]
    start("service", "--port", port)
    wait_until(lambda: _status(f"{url}/readyz") == 200, seconds=60)
    # Workers come under the service's name in the network of containers.
    assert _status(f"{url}/healthz", Host=f"service:{port}") == 200
    assert _status(f"{url}/healthz", Host=f"other:{port}") == 400

    token_file = Path(places["/worker-token"]) / "token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    workers = [start("worker-cpu", "--slots", "1", TUNER_HOME=str(home.parent / f"worker-{index}")) for index in (1, 2)]

    with Client(url, (home / "token").read_text().strip(), settings=Settings(home=home)) as client:
        wait_until(lambda: len(client.get("/workers")["items"]) == 2, seconds=400)
        study = client.post("/studies", quick_study(budget={"trials": 4}, parameters=FROZEN))
        done = wait_until(lambda: _ended(client.study(study["id"])), seconds=400)
        assert done["state"] == "completed", done["reason"]
        trials = client.get(f"/studies/{study['id']}/trials")["items"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert len({trial["worker_id"] for trial in trials}) == 2
    for worker in workers:
        worker.terminate()
        assert worker.wait(60) == 0


def _make_secrets(service: dict[str, Any] | Any, places: dict[str, str]) -> None:
    """The password is made once: a second start must not change it."""
    shell, options = service["entrypoint"]
    (script,) = service["command"]
    folder = Path(places["/secrets"])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    made = []
    for _ in range(2):
        # `$$` is how a compose file writes `$`.
        subprocess.run([shell, options, placed(script.replace("$$", "$"), places)], check=True, env={"PATH": path})
        made.append(((folder / "postgres-password").read_text(), (folder / "pgpass").read_text()))
    assert made[0] == made[1]
    password, pgpass = made[0]
    assert len(password) >= 40 and pgpass == f"*:*:*:*:{password}\n"
    assert stat.S_IMODE((folder / "pgpass").stat().st_mode) == 0o600


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _status(url: str, **headers: str) -> int | None:
    try:
        return httpx2.get(url, headers=headers).status_code
    except httpx2.TransportError:
        return None


def _ended(study: dict[str, Any]) -> dict[str, Any] | None:
    return study if study["state"] not in ("running", "paused") else None
