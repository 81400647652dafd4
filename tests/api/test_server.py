from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from api.server import main
from tests.api.conftest import Live, serving
from tuner.errors import Conflict
from tuner.settings import Settings

PROGRAM = """
import sys
from api.server import main
from tuner.settings import Settings
main(Settings(port=0), lambda *told: (sys.stdout.write(" ".join(told) + "\\n"), sys.stdout.flush()))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", port=0)


def test_a_service_says_where_it_is_and_who_may_enter(live: Live, settings: Settings) -> None:
    told = json.loads(settings.service_file.read_text())
    assert told == {"url": live.url, "pid": os.getpid()}
    assert stat.S_IMODE(settings.service_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.local_token_file.stat().st_mode) == 0o600
    assert settings.local_token_file.read_text().strip() == live.token
    with httpx2.Client(base_url=live.url) as browser:
        answer = browser.get("/login", params={"token": live.token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert browser.get("/").status_code == 200
        assert "server" not in answer.headers


def test_the_local_workers_token_lasts_one_run(settings: Settings) -> None:
    with serving(settings) as first:
        with first.client(first.worker_token) as worker:
            assert worker.post("/api/v1/workers", json={"host": "h", "pid": 1}).status_code == 201
    with serving(settings) as second:
        assert second.token == first.token
        with second.client(first.worker_token) as worker:
            assert worker.post("/api/v1/workers", json={"host": "h", "pid": 1}).status_code == 401


def test_the_address_is_forgotten_at_the_end(settings: Settings) -> None:
    with serving(settings):
        assert settings.service_file.exists()
    assert not settings.service_file.exists()


def test_answers_do_not_wait_for_acknowledgements(live: Live) -> None:
    """Nagle's algorithm and delayed acknowledgements together would cost 40 ms a call."""
    took = []
    with live.client() as client:
        for _ in range(20):
            started = time.monotonic()
            assert client.get("/healthz").status_code == 200
            took.append(time.monotonic() - started)
    assert min(took) < 0.03


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_quickly_and_well(settings: Settings, sign: signal.Signals) -> None:
    environment = os.environ | {"TUNER_HOME": str(settings.home)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process, process.stdout:
        url, token, _ = process.stdout.readline().split()
        with pytest.raises(Conflict, match=f"process {process.pid}"):
            main(settings, lambda *_: None)
        with httpx2.stream("GET", f"{url}/api/v1/events", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status_code == 200
            started = time.monotonic()
            process.send_signal(sign)
            assert process.wait(10) == 0
            assert time.monotonic() - started < 2.5
    assert not settings.service_file.exists()


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port}: .*--port"):
            main(settings.model_copy(update={"port": port}), lambda *_: None)
