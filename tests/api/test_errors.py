from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import tuner.errors
from api.deps import public
from tests.api.conftest import ADDRESS, Json
from tests.api.helpers import wrong_fields
from tuner.errors import Conflict, Deposed, NotFound, ServiceError, StaleLease, StaleVersion, TunerError, Unavailable

JSON = {"Content-Type": "application/json"}


def test_every_error_of_the_service_has_a_status(app: FastAPI) -> None:
    """But those that only clients of the service meet, and the base."""
    raised = [error for error in vars(tuner.errors).values() if isinstance(error, type) and issubclass(error, TunerError)]
    expected = {error for error in raised if not issubclass(error, ServiceError)} - {TunerError}
    assert expected <= set(app.exception_handlers)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NotFound("no such thing"), 404, "not-found"),
        (Conflict("not now"), 409, "conflict"),
        (StaleLease("abc"), 409, "stale-lease"),
        (StaleVersion(), 412, "stale-version"),
        (Unavailable("down"), 503, "unavailable"),
        (Deposed(), 503, "deposed"),
    ],
)
def test_a_refusal_is_a_problem(app: FastAPI, error: TunerError, status: int, kind: str) -> None:
    def refuse() -> None:
        raise error

    app.add_api_route("/refuse", refuse, dependencies=[public])
    with TestClient(app, base_url=ADDRESS) as client:
        answer = client.get("/refuse")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": f"urn:tuner:error:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": str(error),
        "instance": "/refuse",
    }
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_fault_of_ours_is_answered_without_its_traceback(app: FastAPI) -> None:
    def fail() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/fail", fail, dependencies=[public])
    with TestClient(app, base_url=ADDRESS) as client:
        answer = client.get("/fail")
        assert client.get("/healthz").status_code == 200
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_an_unknown_address_and_a_wrong_verb(admin: TestClient) -> None:
    unknown = admin.get("/api/v1/nowhere")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Not Found: GET /api/v1/nowhere")
    wrong = admin.put("/api/v1/audit")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert wrong.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff",
        b"{'task': 1}",
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=["unfinished", "empty", "no utf-8", "python", "huge number", "deep list", "deep object"],
)
def test_what_is_no_json_is_told_so(admin: TestClient, body: bytes) -> None:
    answer = admin.post("/api/v1/studies", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert admin.get("/api/v1/studies").json()["total"] == 0


def test_the_place_of_a_slip_is_named(admin: TestClient) -> None:
    answer = admin.post("/api/v1/studies", content=b'{"a": 1,}', headers=JSON)
    assert answer.status_code == 400
    assert "at character 8" in answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_and_named(admin: TestClient, spec: Json, number: str) -> None:
    body = json.dumps(spec | {"budget": {"hours": "here"}}).replace('"here"', number)
    assert wrong_fields(admin.post("/api/v1/studies", content=body, headers=JSON)) == ["budget.hours"]


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff"])
def test_texts_that_cannot_be_stored_are_refused_and_named(admin: TestClient, spec: Json, text: str) -> None:
    for field in ("name", "notes", "model"):
        answer = admin.post("/api/v1/studies", content=json.dumps(spec | {field: text}), headers=JSON)
        assert wrong_fields(answer) == [field]
    answer = admin.post("/api/v1/studies", content=json.dumps(spec | {"tags": {"team": text}}), headers=JSON)
    assert wrong_fields(answer) == ["tags.team"]
    answer = admin.post("/api/v1/studies", content=json.dumps(spec | {text: 1}), headers=JSON)
    assert answer.status_code == 422
    parameters = spec["parameters"] | {"optimizer": {"values": [text]}}
    answer = admin.post("/api/v1/studies", content=json.dumps(spec | {"parameters": parameters}), headers=JSON)
    assert wrong_fields(answer) == ["parameters.optimizer.values[0]"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=%00", "cursor=x", "q=%00", "tag=%00", "state=happy", "state=%00"]
)
def test_a_wrong_query_is_refused_and_named(admin: TestClient, query: str) -> None:
    assert wrong_fields(admin.get(f"/api/v1/studies?{query}")) == [query.partition("=")[0]]


@pytest.mark.parametrize("path", ["studies", "workers", "leases", "tokens"])
@pytest.mark.parametrize("body", ["null", "[]", '"x"', "1"])
def test_a_body_is_an_object(admin: TestClient, path: str, body: str) -> None:
    answer = admin.post(f"/api/v1/{path}", content=body, headers=JSON)
    assert wrong_fields(answer) == ["body"]
    assert "object" in answer.json()["detail"] or body == "null"


def test_a_path_that_cannot_be_stored_is_refused(admin: TestClient) -> None:
    assert wrong_fields(admin.get("/api/v1/studies/%00")) == ["study_id"]
    assert admin.delete("/api/v1/tokens/%00").status_code == 422


def test_unknown_keys_are_answered_with_the_known_ones(client_of: Callable[..., TestClient]) -> None:
    answer = client_of("worker").post("/api/v1/leases", json={"worker_id": "x", "wait": 3})
    assert wrong_fields(answer) == ["wait"]
    assert answer.json()["detail"] == "wait: unknown key; known: gpus, request, studies, wait_seconds, worker_id"
