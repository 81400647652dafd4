"""A running application on a real database, and the parts that people and workers play in its life."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.server import Server, listen
from tuner.records import Role
from tuner.service import Service, utc_now
from tuner.settings import Settings

ADDRESS = "http://127.0.0.1:8321"
Json = dict[str, Any]


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, unless a test is parametrised with `both_databases`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'tuner.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def anonymous(app: FastAPI) -> Iterator[TestClient]:
    """Someone without a token."""
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        yield client


@pytest.fixture
def running(anonymous: TestClient, app: FastAPI) -> Service:
    """The service below the application."""
    service: Service = app.state.service
    return service


@pytest.fixture
def token_of(running: Service) -> Callable[[Role], str]:
    def make(role: Role) -> str:
        return running.access.create_token(role, f"a {role}", now=utc_now())[1]

    return make


@pytest.fixture
def client_of(anonymous: TestClient, app: FastAPI, token_of: Callable[[Role], str]) -> Callable[[Role], TestClient]:
    """A client with a role; it shares the running application and its loop."""

    def make(role: Role) -> TestClient:
        headers = {"Authorization": f"Bearer {token_of(role)}"}
        client = TestClient(app, base_url=ADDRESS, headers=headers, follow_redirects=False)
        client.portal = anonymous.portal
        return client

    return make


@pytest.fixture
def admin(client_of: Callable[[Role], TestClient]) -> TestClient:
    return client_of("admin")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Forty labelled texts of two classes."""
    file = tmp_path / "examples.csv"
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        writer.writerows([[f"text number {index}", "even" if index % 2 == 0 else "odd"] for index in range(40)])
    return file


@pytest.fixture
def spec(examples: Path) -> Json:
    """A study of two parameters on them."""
    return {
        "name": "parity",
        "task": "text-classification",
        "model": "builtin:minilm",
        "data": {"train": str(examples), "validation": 0.25},
        "parameters": {
            "learning_rate": {"min": 1e-5, "max": 1e-2, "log": True},
            "epochs": {"min": 1, "max": 4},
            "optimizer": {"values": ["adamw", "sgd"]},
        },
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "budget": {"trials": 5},
        "parallelism": 2,
    }


@pytest.fixture
def post_study(admin: TestClient, spec: Json) -> Callable[..., Json]:
    """Start the study, with some keys changed."""

    def post(**changes: Any) -> Json:
        answer = admin.post("/api/v1/studies", json=spec | changes)
        assert answer.status_code == 201, answer.text
        study: Json = answer.json()
        return study

    return post


class Trainer:
    """Plays a worker: asks for trials and reports what it is told to."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        answer = client.post("/api/v1/workers", json={"host": "node", "pid": 7, "gpus": [], "versions": {"python": "3"}})
        assert answer.status_code == 201, answer.text
        self.worker_id: str = answer.json()["worker_id"]

    def ask(self, **body: Any) -> Any:
        return self.client.post("/api/v1/leases", json={"worker_id": self.worker_id} | body)

    def lease(self, **body: Any) -> Json:
        answer = self.ask(**body)
        assert answer.status_code == 200, answer.text
        lease: Json = answer.json()
        return lease

    def post(self, lease: Mapping[str, Any], verb: str, body: object) -> Any:
        # Escaped, so that texts can be sent that UTF-8 cannot carry.
        headers = {"Content-Type": "application/json"}
        return self.client.post(f"/api/v1/leases/{lease['id']}/{verb}", content=json.dumps(body), headers=headers)

    def report(self, lease: Mapping[str, Any], value: object, *, epoch: int = 1) -> Any:
        metric = {"name": "accuracy", "step": epoch * 10, "epoch": epoch, "value": value, "split": "validation"}
        return self.post(lease, "metrics", {"metrics": [metric]})

    def wanted(self, lease: Mapping[str, Any], value: float) -> Any:
        return self.client.get(f"/api/v1/leases/{lease['id']}/wanted", params={"value": value})

    def finish(self, lease: Mapping[str, Any], value: object) -> Any:
        return self.post(lease, "finish", {"state": "completed", "values": {"accuracy": value}})

    def complete(self, value: float) -> Json:
        """One whole trial; returns its lease."""
        lease = self.lease()
        assert self.report(lease, value).status_code == 200
        assert self.finish(lease, value).json() == {"state": "completed"}
        return lease


@pytest.fixture
def trainer(client_of: Callable[[Role], TestClient]) -> Trainer:
    return Trainer(client_of("worker"))


@dataclass(frozen=True)
class Live:
    """A server that listens on a real port."""

    server: Server
    url: str
    token: str
    worker_token: str

    def client(self, token: str | None = None) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {token or self.token}"}, timeout=20)


@contextmanager
def serving(settings: Settings) -> Iterator[Live]:
    """Run a server in a thread until the end of the block."""
    announced: SimpleQueue[tuple[str, str, str]] = SimpleQueue()
    listening = listen(settings.model_copy(update={"port": 0}))
    bound = settings.model_copy(update={"port": listening.getsockname()[1]})
    server = Server(bound, lambda *told: announced.put(told))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Live(server, *announced.get(timeout=30))
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def live(settings: Settings) -> Iterator[Live]:
    with serving(settings) as server:
        yield server
