"""Simulated workers over real HTTP, each a thread, and the service that they work for as a real process."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.history import PREFIX, Answer, Call, Recorder, bytes_seen
from tests.faults.script import Surprise, work
from tests.walk.conftest import wait_until

LEASE_SECONDS = 5.0
_DIES, _SLEEPS = 8, 4  # in a thousand calls


class ServiceProcess:
    """`tuner serve` on a port that stays the same."""

    def __init__(self, home: Path, database: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.home, self.database, self.port, self.lease_seconds = home, database, _free_port(), lease_seconds
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        own = {"TUNER_HOME": str(self.home), "TUNER_LEASE_SECONDS": str(self.lease_seconds), "TUNER_CHECK_DATA": "0"}
        with (self.home / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuner", "serve", "--port", str(self.port), "--database", self.database],
                env=os.environ | own,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        wait_until(self.ready, seconds=120)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "serve.log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stands_still(self, seconds: float = 5.0) -> bool:
        """Whether every thread has heard of SIGSTOP by then: on another core one may go on for a moment."""
        assert self.process is not None
        tasks, until = Path(f"/proc/{self.process.pid}/task"), time.monotonic() + seconds
        while time.monotonic() < until:
            if all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()):
                return True
            time.sleep(0.01)
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def api(self) -> httpx2.Client:
        token = (self.home / "token").read_text().strip()
        return _client(self.port, token, timeout=30)


class Swarm:
    """Workers that go on until `stop`; what surprises them is in `problems`."""

    def __init__(self, port: int, token: str, recorder: Recorder, *, workers: int, seed: int) -> None:
        self.problems: list[str] = []
        self.deaths = self.sleeps = 0
        self._port, self._token, self._recorder = port, token, recorder
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(f"worker {number}", random.Random(f"{seed} {number}")))
            for number in range(workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, name: str, rng: random.Random) -> None:
        with _client(self._port, self._token, timeout=5) as client:
            life = 0
            while not self._ended.is_set():
                life += 1
                try:
                    self._live(f"{name}.{life}", client, rng)
                except Surprise as surprise:
                    self.problems.append(f"I1: {surprise}")

    def _live(self, name: str, client: httpx2.Client, rng: random.Random) -> None:
        """From birth to death, which leaves whatever it held without a word."""
        script = work(name, rng, wait_seconds=1.0)
        call = next(script)
        while not self._ended.wait(rng.uniform(0, 0.05)):
            struck = rng.randrange(1000)
            if struck < _DIES:
                self.deaths += 1
                return
            if struck < _DIES + _SLEEPS:
                self.sleeps += 1
                self._ended.wait(1.5 * LEASE_SECONDS)
            answer = self._make(name, client, call)
            if answer.status is not None and answer.status < 500:
                call = script.send(answer)
            else:
                self._ended.wait(0.2)

    def _make(self, name: str, client: httpx2.Client, call: Call) -> Answer:
        began, answer = time.monotonic(), Answer(status=None)
        try:
            answer = _answer(_send(client, call))
        except httpx2.RequestError:
            pass
        self._recorder.add(name, call, answer, began=began, ended=time.monotonic())
        return answer


def _send(client: httpx2.Client, call: Call) -> httpx2.Response:
    if call.data is not None:
        kind = {"Content-Type": "application/octet-stream"}
        return client.request(call.verb, call.path, params=dict(call.body or {}), content=call.data, headers=kind)
    return client.post(call.path, json=call.body) if call.verb == "POST" else client.get(call.path)


def _answer(response: httpx2.Response) -> Answer:
    kind = response.headers.get("content-type", "")
    if kind == "application/octet-stream":
        return Answer(status=response.status_code, body=bytes_seen(response.content))
    body: Any = response.json() if response.content else None
    return Answer(status=response.status_code, body=body)


def _client(port: int, token: str, *, timeout: float) -> httpx2.Client:
    # Reading certificates, of which plain HTTP needs none, would cost more than many calls.
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=f"http://127.0.0.1:{port}{PREFIX}", headers=headers, timeout=timeout, verify=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
