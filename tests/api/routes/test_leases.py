from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Json, Live, Trainer
from tests.api.helpers import both_databases, run, wrong_fields
from tuner.service import Service, utc_now
from tuner.settings import Settings

PostStudy = Callable[..., Json]


@both_databases
def test_a_trial_from_lease_to_result(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    study = post_study()
    lease = trainer.lease()
    assert lease["study_id"] == study["id"]
    assert (lease["trial"], lease["attempt"], lease["resume"]) == (0, 1, None)
    assert lease["spec"]["objective"] == {"metric": "accuracy", "direction": "maximize"}
    assert lease["fingerprint"] == study["facts"]["fingerprint"]
    assert lease["expires_in"] == 60.0
    for epoch, value in enumerate([0.5, 0.75], start=1):
        assert trainer.report(lease, value, epoch=epoch).json() == {"verdict": "continue", "reason": None}
    assert trainer.post(lease, "heartbeat", {}).json() == {"verdict": "continue", "reason": None}
    assert trainer.post(lease, "logs", {"text": "one\ntwo"}).status_code == 204
    details = {"seconds": {"train": 1.5}, "parameters": 22_000_000}
    end = {"state": "completed", "values": {"accuracy": 0.75, "loss": 0.4}, "details": details}
    assert trainer.post(lease, "finish", end).json() == {"state": "completed"}

    trial = admin.get(f"/api/v1/studies/{study['id']}/trials/0").json()
    assert (trial["state"], trial["value"], trial["values"]) == ("completed", 0.75, {"accuracy": 0.75, "loss": 0.4})
    assert (trial["epoch"], trial["step"], trial["origin"], trial["details"]) == (2.0, 20, "default", details)
    assert [attempt["outcome"] for attempt in trial["attempts"]] == ["completed"]
    assert lease["id"] not in str(trial)
    now = admin.get("/api/v1/studies/parity").json()
    assert (now["counts"]["completed"], now["best"]["value"], now["baseline"]["default"]) == (1, 0.75, 0.75)


@both_databases
def test_a_trial_asked_for_again_is_the_same_one(trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    first, again = (trainer.lease(request="one wish") for _ in range(2))
    assert again == first
    other = trainer.lease(request="another wish")
    assert (first["trial"], other["trial"]) == (0, 1)
    trainer.finish(first, 0.5)
    assert trainer.ask(request="one wish").status_code == 204, "an old wish that comes late is no new one"
    assert trainer.lease(request="a third wish")["trial"] == 2
    assert wrong_fields(trainer.ask(request="short")) == ["request"]


@both_databases
def test_a_trial_whose_checkpoint_file_is_gone_starts_over(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, running: Service
) -> None:
    post_study()
    sent = {"Content-Type": "application/octet-stream"}

    def keep(lease: Json, epoch: int) -> None:
        query = f"epoch={epoch}&step={epoch * 10}"
        answer = trainer.client.put(f"/api/v1/leases/{lease['id']}/checkpoint?{query}", content=b"weights", headers=sent)
        assert answer.status_code == 200, answer.text

    lost = trainer.lease()
    for epoch in (1, 2):
        trainer.report(lost, 0.1 * epoch, epoch=epoch)
    keep(lost, 2)
    trainer.post(lost, "finish", {"state": "released"})
    for file in running.artifacts.folder.glob("*/*"):
        file.unlink()
    again = trainer.lease()
    assert (again["trial"], again["resume"]["epoch"]) == (0, 2.0)
    assert trainer.client.get(f"/api/v1/leases/{again['id']}/checkpoint").status_code == 404
    trainer.report(again, 0.1, epoch=1)
    keep(again, 1)
    assert trainer.client.get(f"/api/v1/leases/{again['id']}/checkpoint").content == b"weights"
    trainer.report(again, 0.2, epoch=2)
    points = admin.get("/api/v1/studies/parity/trials/0/metrics").json()["items"]
    assert [point["step"] for point in points] == [10, 20]
    assert trainer.finish(again, 0.2).status_code == 200


@both_databases
def test_calls_sent_again_get_the_same_answer(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    answers = [trainer.report(lease, 0.5).json() for _ in range(2)]
    assert answers[0] == answers[1]
    answers = [trainer.finish(lease, 0.5).json() for _ in range(2)]
    assert answers == [{"state": "completed"}] * 2
    assert trainer.report(lease, 0.5).status_code == 200
    points = admin.get("/api/v1/studies/parity/trials/0/metrics").json()
    assert points["total"] == 1


@both_databases
def test_a_lease_that_was_lost_changes_nothing(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, running: Service
) -> None:
    post_study()
    lost = trainer.lease()
    assert running.manager.expire(now=utc_now() + timedelta(minutes=2)) == 1
    current = trainer.lease()
    assert (current["trial"], current["attempt"]) == (0, 2)
    late: list[Any] = [
        trainer.report(lost, 0.9),
        trainer.finish(lost, 0.9),
        trainer.post(lost, "heartbeat", {}),
        trainer.post(lost, "logs", {"text": "late"}),
        put(trainer, lost, "model.bin", b"late"),
    ]
    assert [answer.status_code for answer in late] == [409] * 5
    assert {answer.json()["type"] for answer in late} == {"urn:tuner:error:stale-lease"}
    trial = admin.get("/api/v1/studies/parity/trials/0").json()
    assert (trial["state"], trial["value"], trial["retries"]) == ("running", None, 1)
    assert admin.get("/api/v1/studies/parity/trials/0/logs").text == ""


def test_a_pruned_trial_ends_at_once_and_keeps_its_last_value(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study(pruner={"name": "median", "startup_trials": 1})
    trainer.complete(0.9)
    lease = trainer.lease()
    assert trainer.report(lease, 0.1).json() == {"verdict": "stop", "reason": "pruned"}
    trial = admin.get("/api/v1/studies/parity/trials/1").json()
    assert (trial["state"], trial["value"]) == ("pruned", 0.1)
    assert trainer.finish(lease, 0.1).json() == {"state": "pruned"}


def test_a_failure_is_kept_with_its_kind(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    failure = {"kind": "oom", "message": "CUDA out of memory"}
    assert trainer.post(trainer.lease(), "finish", {"state": "failed", "failure": failure}).json() == {"state": "failed"}
    assert admin.get("/api/v1/studies/parity/trials/0").json()["failure"] == failure


def test_a_released_trial_waits_again_at_no_cost(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    answers = [trainer.post(lease, "finish", {"state": "released"}).json() for _ in range(2)]
    assert answers == [{"state": "released"}] * 2
    assert trainer.lease()["trial"] == 0
    assert admin.get("/api/v1/studies/parity/trials/0").json()["retries"] == 0


@both_databases
@pytest.mark.parametrize(("sent", "kept"), [("nan", "nan"), ("inf", "inf"), ("-inf", "-inf"), (1, 1.0)])
def test_numbers_that_json_lacks_travel_as_text(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, sent: object, kept: object
) -> None:
    post_study()
    assert trainer.report(trainer.lease(), sent).status_code == 200
    (point,) = admin.get("/api/v1/studies/parity/trials/0/metrics").json()["items"]
    assert point["value"] == kept


@both_databases
def test_an_infinite_result_is_kept_and_shown(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study(objective={"metric": "loss"})
    lease = trainer.lease()
    assert trainer.post(lease, "finish", {"state": "completed", "values": {"loss": "inf"}}).json() == {"state": "completed"}
    for path in ("studies/parity", "studies", "studies/parity/trials", "studies/parity/best", "studies/parity/figures/history"):
        assert admin.get(f"/api/v1/{path}").status_code == 200
    assert admin.get("/api/v1/studies/parity").json()["best"]["value"] == "inf"


METRIC = {"name": "accuracy", "step": 1, "epoch": 1, "value": 0.5, "split": "validation"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": "much"}, "metrics.0.value"),
        ({"value": True}, "metrics.0.value"),
        ({"value": None}, "metrics.0.value"),
        ({"step": -1}, "metrics.0.step"),
        ({"step": 2**53 + 1}, "metrics.0.step"),
        ({"step": 10**400}, "metrics.0.step"),
        ({"step": 1.5}, "metrics.0.step"),
        ({"epoch": "nan"}, "metrics.0.epoch"),
        ({"epoch": -1}, "metrics.0.epoch"),
        ({"name": ""}, "metrics.0.name"),
        ({"name": "x" * 201}, "metrics.0.name"),
        ({"name": "a\0b"}, "metrics.0.name"),
        ({"name": "a\ud800b"}, "metrics.0.name"),
        ({"split": "dev"}, "metrics.0.split"),
        ({"unknown": 1}, "metrics.0.unknown"),
    ],
)
def test_a_wrong_metric_is_refused_and_named(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, change: Json, field: str
) -> None:
    post_study()
    lease = trainer.lease()
    assert wrong_fields(trainer.post(lease, "metrics", {"metrics": [METRIC | change]})) == [field]
    assert admin.get("/api/v1/studies/parity/trials/0/metrics").json()["total"] == 0


@both_databases
def test_the_largest_step_is_kept_exactly(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    assert trainer.post(trainer.lease(), "metrics", {"metrics": [METRIC | {"step": 2**53}]}).status_code == 200
    (point,) = admin.get("/api/v1/studies/parity/trials/0/metrics").json()["items"]
    assert point["step"] == 2**53


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"state": "done"}, "state"),
        ({"state": "completed"}, "values.accuracy"),
        ({"state": "failed", "failure": {"kind": "bad luck"}}, "failure.kind"),
        ({"state": "failed", "failure": {"kind": "code", "message": "\0"}}, "failure.message"),
        ({"state": "completed", "values": {"accuracy": 1}, "details": {"a": {"b": "\0"}}}, "details"),
        ({"state": "completed", "values": {"accuracy": 1}, "details": {"a": 2**60}}, "details"),
    ],
)
def test_a_wrong_end_is_refused_and_named(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, body: Json, field: str
) -> None:
    post_study()
    assert wrong_fields(trainer.post(trainer.lease(), "finish", body)) == [field]
    assert admin.get("/api/v1/studies/parity/trials/0").json()["state"] == "running"


@pytest.mark.parametrize(
    ("body", "field"),
    [({"wait_seconds": 61}, "wait_seconds"), ({"wait_seconds": "nan"}, "wait_seconds"), ({"studies": "all"}, "studies")],
)
def test_a_wrong_question_is_refused_and_named(trainer: Trainer, body: Json, field: str) -> None:
    assert wrong_fields(trainer.ask(**body)) == [field]


def test_an_unknown_worker_is_told_to_register(trainer: Trainer) -> None:
    answer = trainer.ask(worker_id="nobody")
    assert answer.status_code == 404
    assert "POST /workers" in answer.json()["detail"]


def test_without_work_the_answer_is_empty(trainer: Trainer) -> None:
    assert trainer.ask().status_code == 204


def test_only_the_named_studies_are_served(trainer: Trainer, post_study: PostStudy) -> None:
    study = post_study()
    unknown = trainer.ask(studies=["parity", "another"])
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "no study 'another'")
    assert trainer.lease(studies=[study["id"]])["study_id"] == study["id"]


def test_a_waiting_worker_is_woken_by_a_new_study(trainer: Trainer, post_study: PostStudy) -> None:
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(trainer.ask(wait_seconds=30)))
    waiting.start()
    time.sleep(0.3)  # long enough to be waiting; were it not, the test would still pass
    assert answers == []
    started = time.monotonic()
    post_study()
    waiting.join(10)
    assert answers[0].status_code == 200
    assert time.monotonic() - started < 5


def test_waiting_ends_without_work(trainer: Trainer) -> None:
    started = time.monotonic()
    assert trainer.ask(wait_seconds=0.2).status_code == 204
    assert 0.2 <= time.monotonic() - started < 5


def put(trainer: Trainer, lease: Json, name: str, content: bytes) -> Any:
    path = f"/api/v1/leases/{lease['id']}/artifacts/{name}"
    return trainer.client.put(path, content=content, headers={"Content-Type": "application/octet-stream"})


def test_an_artifact_comes_back_as_it_was(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    content = bytes(range(256)) * 5000
    assert put(trainer, lease, "model.safetensors", b"first").status_code == 200
    stored = put(trainer, lease, "model.safetensors", content).json()
    assert (stored["name"], stored["size"]) == ("model.safetensors", len(content))
    where = "/api/v1/studies/parity/trials/0/artifacts"
    (listed,) = admin.get(where).json()["items"]
    assert listed == stored
    answer = admin.get(f"{where}/model.safetensors", headers={"Range": "bytes=0-9"})
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "application/octet-stream"


def test_only_the_best_trials_files_are_kept(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, running: Service
) -> None:
    post_study()
    for value in (0.5, 0.9, 0.7):
        lease = trainer.lease()
        assert put(trainer, lease, "model.bin", b"weights").status_code == 200
        trainer.finish(lease, value)
    kept = [admin.get(f"/api/v1/studies/parity/trials/{number}/artifacts").json()["total"] for number in range(3)]
    assert kept == [0, 1, 0]
    assert len([path for path in running.artifacts.folder.rglob("*") if path.is_file()]) == 1


def test_a_model_is_wanted_if_it_could_be_kept(trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease, other = trainer.lease(), trainer.lease()
    assert trainer.wanted(lease, 0.1).json() == {"model": True}
    trainer.post(other, "finish", {"state": "completed", "values": {"accuracy": 0.5}})
    assert [trainer.wanted(lease, value).json()["model"] for value in (0.4, 0.5, 0.6)] == [False, True, True]
    assert trainer.wanted(other, 0.6).status_code == 409


@pytest.mark.parametrize("name", [".hidden", "a%2Fb", "%00", "x" * 101, "..%5C"])
def test_an_artifacts_name_is_no_path(trainer: Trainer, post_study: PostStudy, running: Service, name: str) -> None:
    post_study()
    answer = put(trainer, trainer.lease(), name, b"x")
    assert answer.status_code in (404, 422)
    assert not running.artifacts.folder.exists()


def test_a_stopped_study_stops_its_workers(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    admin.post("/api/v1/studies/parity/stop")
    assert trainer.post(lease, "heartbeat", {}).json() == {"verdict": "stop", "reason": "stopped"}


def test_a_paused_study_frees_its_workers_and_goes_on(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    admin.post("/api/v1/studies/parity/pause")
    assert trainer.report(lease, 0.5).json() == {"verdict": "stop", "reason": "paused"}
    trainer.post(lease, "finish", {"state": "released"})
    assert trainer.ask().status_code == 204
    admin.post("/api/v1/studies/parity/resume")
    assert trainer.lease()["trial"] == 0


class TestLimits:
    @pytest.fixture
    def settings(self, database_url: str, tmp_path: Path) -> Settings:
        return Settings(home=tmp_path / "home", database_url=database_url, max_artifact_bytes=100)

    @pytest.mark.parametrize("content", [b"x" * 101, [b"x" * 60] * 2], ids=["announced", "counted"])
    def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(
        self, trainer: Trainer, post_study: PostStudy, running: Service, content: Any
    ) -> None:
        post_study()
        lease = trainer.lease()
        assert put(trainer, lease, "model.bin", b"x" * 100).status_code == 200
        answer = put(trainer, lease, "model.bin", content if isinstance(content, bytes) else iter(content))
        assert answer.status_code == 413
        assert "100 bytes" in answer.json()["detail"]
        assert [file.stat().st_size for file in running.artifacts.folder.rglob("*") if file.is_file()] == [100]


@pytest.fixture
def live_lease(live: Live, spec: Json) -> Json:
    with live.client() as client, live.client(live.worker_token) as worker:
        assert client.post("/api/v1/studies", json=spec).status_code == 201
        worker_id = worker.post("/api/v1/workers", json={"host": "h", "pid": 1}).json()["worker_id"]
        lease: Json = worker.post("/api/v1/leases", json={"worker_id": worker_id}).json()
        return lease


def quiet(live: Live) -> None:
    """Wait until the server has no request at work."""
    while live.server.server_state.tasks:
        time.sleep(0.01)


def test_an_upload_that_is_cut_leaves_nothing(live: Live, live_lease: Json) -> None:
    head = (
        f"PUT /api/v1/leases/{live_lease['id']}/artifacts/model.bin HTTP/1.1\r\nHost: {live.url.removeprefix('http://')}\r\n"
        f"Authorization: Bearer {live.worker_token}\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n"
    )
    folder = Path(live.server.settings.artifact_place)
    with socket.create_connection(("127.0.0.1", live.server.settings.port)) as connection:
        connection.sendall(head.encode() + b"x" * 500_000)
        while not list(folder.rglob("*.part")):
            time.sleep(0.01)
    quiet(live)
    assert [file for file in folder.rglob("*") if file.is_file()] == []
    with live.client() as client:
        assert client.get("/api/v1/studies/parity/trials/0/artifacts").json()["total"] == 0


def test_a_worker_that_went_away_while_waiting_gets_no_trial(live: Live, live_lease: Json, spec: Json) -> None:
    with live.client() as client, live.client(live.worker_token) as worker:
        body = {"worker_id": client.get("/api/v1/workers").json()["items"][0]["id"], "studies": None, "wait_seconds": 60}
        client.post("/api/v1/studies/parity/pause")
        with pytest.raises(httpx2.ReadTimeout):
            worker.post("/api/v1/leases", json=body, timeout=0.5)
        client.post("/api/v1/studies", json=spec | {"name": "later"})
        quiet(live)
        trial = client.get("/api/v1/studies/later/trials/0").json()
    assert (trial["state"], trial["retries"]) == ("waiting", 0)


def test_workers_that_wait_hold_no_thread(live: Live) -> None:
    waiting = 60  # more than the threads that the framework has

    async def crowd() -> list[int]:
        headers = {"Authorization": f"Bearer {live.worker_token}"}
        limits = httpx2.Limits(max_connections=waiting + 1)
        async with httpx2.AsyncClient(base_url=live.url, headers=headers, limits=limits, timeout=30) as client:
            worker_id = (await client.post("/api/v1/workers", json={"host": "h", "pid": 1})).json()["worker_id"]
            body = {"worker_id": worker_id, "wait_seconds": 60}
            polls = [asyncio.create_task(client.post("/api/v1/leases", json=body)) for _ in range(waiting)]
            while len(live.server.server_state.tasks) < waiting:
                await asyncio.sleep(0.01)
            assert (await client.get("/readyz")).status_code == 200  # needs a thread
            live.server.should_exit = True
            return [answer.status_code for answer in await asyncio.gather(*polls)]

    assert run(crowd()) == [204] * waiting
