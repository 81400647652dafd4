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


GPU = {"id": "GPU-1", "name": "H200", "memory": 150_000_000_000}


def test_a_worker_tells_how_busy_its_gpus_are(admin: TestClient, client_of: Callable[[Role], TestClient]) -> None:
    worker = client_of("worker")
    worker_id = worker.post("/api/v1/workers", json=WORKER).json()["worker_id"]
    busy = GPU | {"memory_used": 3, "utilisation": 97}
    gone = GPU | {"set_aside": "vanished"}
    assert worker.patch(f"/api/v1/workers/{worker_id}", json={"gpus": [busy, gone]}).status_code == 204
    assert admin.get("/api/v1/workers").json()["items"][0]["gpus"] == [busy, gone]
    assert worker.patch("/api/v1/workers/nobody", json={"gpus": []}).status_code == 404


@pytest.mark.parametrize(
    ("gpu", "field"),
    [({"utilisation": 101}, "gpus.0.utilisation"), ({"memory": -1}, "gpus.0.memory"), ({"heat": 90}, "gpus.0.heat")],
)
def test_what_a_gpu_cannot_be_is_refused(client_of: Callable[[Role], TestClient], gpu: Json, field: str) -> None:
    assert wrong_fields(client_of("worker").patch("/api/v1/workers/w", json={"gpus": [GPU | gpu]})) == [field]


@pytest.mark.parametrize(("version", "status"), [("0.1.99", 201), ("99.1.0", 409), ("0.2.0", 409)])
def test_only_workers_of_the_same_release_may_join(client_of: Callable[[Role], TestClient], version: str, status: int) -> None:
    answer = client_of("worker").post("/api/v1/workers", json=WORKER | {"versions": {"tuner": version}})
    assert answer.status_code == status
    assert status == 201 or f"this worker is Tuner {version}, the service is" in answer.json()["detail"]


def test_demand_is_what_runs_and_what_could(
    trainer: Trainer, client_of: Callable[[Role], TestClient], post_study: Callable[..., Json], admin: TestClient
) -> None:
    def demand() -> int:
        return int(client_of("worker").get("/api/v1/workers/demand").json()["trials"])

    assert demand() == 0
    study = post_study(parallelism=3, budget={"trials": 4})
    assert demand() == 3
    for left in (3, 3, 2, 1, 0):
        assert demand() == left
        if left:
            trainer.complete(0.5)
    assert admin.get(f"/api/v1/studies/{study['id']}").json()["state"] == "completed"
