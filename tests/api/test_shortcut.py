"""Workers' calls get the same answer on either way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

import api.shortcut
from tests.api.conftest import Json, Trainer

GOOD_POINT = {"name": "accuracy", "step": 1, "epoch": 1, "value": 0.5, "split": "validation"}
LEASED = {
    "metrics of another name": ("metrics", {"metrics": [GOOD_POINT | {"name": "ψ"}]}),
    "a batch": ("metrics", {"metrics": [GOOD_POINT, GOOD_POINT | {"step": 2, "value": "nan"}]}),
    "no metrics": ("metrics", {"metrics": []}),
    "heartbeat": ("heartbeat", {}),
    "a heartbeat with GPUs": ("heartbeat", {"gpus": ["GPU-1"]}),
    "a heartbeat with a wrong GPU": ("heartbeat", {"gpus": [1]}),
    "a heartbeat without a body": ("heartbeat", b""),
    "a lone surrogate": ("metrics", b'{"metrics": [{"name": "\\ud800", "step": 1, "value": 1}]}'),
    "an unknown key": ("metrics", {"metrics": [], "more": 1}),
    "no number": ("metrics", {"metrics": [GOOD_POINT | {"value": "much"}]}),
    "no JSON": ("metrics", b'{"metrics": ['),
    "nothing": ("metrics", b""),
    "very deep": ("metrics", b"[" * 100_000),
    "no such call": ("notes", {}),
    "an end with a failure that is unknown": ("finish", {"state": "failed", "failure": {"kind": "flu"}}),
    "an end without the objective": ("finish", {"state": "completed", "values": {}}),
    "an end": ("finish", {"state": "completed", "values": {"accuracy": 0.5}, "details": {"seconds": {"train": 1.5}}}),
}


def note_calls(patch: pytest.MonkeyPatch) -> list[str]:
    """Which calls will have been answered on the short way, by their routes."""
    taken: list[str] = []
    answer = api.shortcut._answer

    async def noted(call: Any, given: Any, lease_id: Any, scope: Any, receive: Any) -> Any:
        taken.append(scope["route"].path)
        return await answer(call, given, lease_id, scope, receive)

    patch.setattr(api.shortcut, "_answer", noted)
    return taken


def content_of(body: object) -> dict[str, Any]:
    return {"content": body, "headers": {"Content-Type": "application/json"}} if isinstance(body, bytes) else {"json": body}


def answers_of(trainer: Trainer) -> dict[str, tuple[int, str, Json]]:
    lease = trainer.lease()
    found = {}
    for name, (call, body) in [*LEASED.items(), ("late", ("metrics", {"metrics": [GOOD_POINT | {"step": 9}]}))]:
        answer = trainer.client.post(f"/api/v1/leases/{lease['id']}/{call}", **content_of(body))
        text = answer.text.replace(lease["id"], "LEASE")
        found[name] = (answer.status_code, answer.headers["content-type"], json.loads(text))
    return found


def test_both_ways_answer_alike(trainer: Trainer, post_study: Callable[..., Json], monkeypatch: pytest.MonkeyPatch) -> None:
    post_study()
    taken = note_calls(monkeypatch)
    short = answers_of(trainer)
    calls = ["leases", *["metrics"] * 3, *["heartbeat"] * 2, *["finish"] * 2, "metrics"]
    assert [path.rpartition("/")[2] for path in taken] == calls
    monkeypatch.setattr(api.shortcut, "_is_known", lambda _: False)
    assert answers_of(trainer) == short
    assert len(taken) == 9, "none of the second trial's"
    assert {name: status for name, (status, *_) in short.items()} == {
        "metrics of another name": 200, "a batch": 200, "no metrics": 200, "heartbeat": 200, "a lone surrogate": 422,
        "a heartbeat with GPUs": 200, "a heartbeat with a wrong GPU": 422, "a heartbeat without a body": 200,
        "an unknown key": 422, "no number": 422, "no JSON": 400, "nothing": 422, "very deep": 400, "no such call": 404,
        "an end with a failure that is unknown": 422, "an end without the objective": 422, "an end": 200, "late": 409,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["short", "long"])
def test_asking_for_work(way: str, trainer: Trainer, post_study: Callable[..., Json], monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "long":
        monkeypatch.setattr(api.shortcut, "_is_known", lambda _: False)
    study = post_study(budget={"trials": 1})
    ask = {"worker_id": trainer.worker_id, "studies": [study["name"]]}
    lease = trainer.client.post("/api/v1/leases", json=ask)
    assert lease.status_code == 200 and lease.json()["study_id"] == study["id"] and lease.json()["resume"] is None
    assert trainer.client.post("/api/v1/leases", json=ask | {"wait_seconds": 0.01}).status_code == 204
    assert trainer.client.post("/api/v1/leases", json=ask | {"studies": ["none"]}).json()["detail"] == "no study 'none'"
    assert trainer.client.post("/api/v1/leases", json=ask | {"worker_id": "none"}).status_code == 404
    assert trainer.client.post("/api/v1/leases", json={}).status_code == 422


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_who_may_not_gets_no_further_on_the_short_way(
    client_of: Callable[[Any], TestClient], role: str, trainer: Trainer, post_study: Callable[..., Json]
) -> None:
    post_study()
    lease = trainer.lease()
    for _ in range(2):  # the second time the token is known
        assert client_of(role).post(f"/api/v1/leases/{lease['id']}/heartbeat", json={}).status_code == 403


def test_a_revoked_token_is_not_known(admin: TestClient, running: Any, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study()
    lease = trainer.lease()
    assert trainer.post(lease, "heartbeat", {}).status_code == 200
    for token in admin.get("/api/v1/tokens").json()["items"]:
        if token["role"] == "worker":
            assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    assert trainer.post(lease, "heartbeat", {}).status_code == 401


def test_a_body_that_is_too_long_is_refused(trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study()
    lease = trainer.lease()

    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 60_000

    path = f"/api/v1/leases/{lease['id']}/metrics"
    answer = trainer.client.post(path, content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    many = {"metrics": [GOOD_POINT | {"step": step} for step in range(3_000)]}
    assert trainer.client.post(path, json=many).json() == {"verdict": "continue", "reason": None}
