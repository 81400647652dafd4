from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases, wrong_fields
from tuner.records import Role

WORKER = {"host": "n1", "pid": 7, "gpus": [{"name": "H200", "memory": 150_000_000_000}], "versions": {"torch": "2.13"}}


@both_databases
def test_a_worker_is_shown_with_what_it_trains(
    admin: TestClient, client_of: Callable[[Role], TestClient], trainer: Trainer, post_study: Callable[..., Json]
) -> None:
    study = post_study()
    trainer.lease()
    assert client_of("worker").post("/api/v1/workers", json=WORKER).status_code == 201
    page = admin.get("/api/v1/workers").json()
    assert page["total"] == 2
    busy, idle = sorted(page["items"], key=lambda worker: len(worker["running"]), reverse=True)
    assert busy["running"] == [{"study_id": study["id"], "number": 0}]
    assert idle["running"] == []
    assert {key: idle[key] for key in WORKER} == WORKER


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"host": ""}, "host"),
        ({"host": "a\0"}, "host"),
        ({"pid": -1}, "pid"),
        ({"pid": 2**80}, "pid"),
        ({"gpus": [1]}, "gpus.0"),
        ({"gpus": [{"name": "\0"}]}, "gpus.0"),
        ({"versions": {"torch": 2}}, "versions.torch"),
        ({"slots": 3}, "slots"),
    ],
)
def test_a_wrong_worker_is_refused_and_named(client_of: Callable[[Role], TestClient], change: Json, field: str) -> None:
    assert wrong_fields(client_of("worker").post("/api/v1/workers", json=WORKER | change)) == [field]
