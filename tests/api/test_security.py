from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from api.security import LoginThrottle, allowed_hosts
from tests.api.conftest import ADDRESS, Json
from tuner.records import Role
from tuner.settings import Settings

HEADERS = {
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cache-control",
}
JSON = {"Content-Type": "application/json"}


def test_the_hosts_are_the_bound_address_and_the_named_ones(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="::1", port=99, allowed_hosts=("Tuner.example",))
    assert allowed_hosts(settings) == {"localhost:99", "127.0.0.1:99", "[::1]:99", "tuner.example:99", "tuner.example"}


@pytest.mark.parametrize("host", ["127.0.0.1:8321", "localhost:8321", "LOCALHOST:8321", "[::1]:8321"])
def test_the_service_answers_under_its_own_names(anonymous: TestClient, host: str) -> None:
    assert anonymous.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8321", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8321.evil.example", "localhost.:8321"],
)
def test_the_service_answers_under_no_other_name(anonymous: TestClient, host: str) -> None:
    for path in ("/healthz", "/", "/static/x/y", "/api/v1/studies"):
        answer = anonymous.get(path, headers={"Host": host})
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"


def test_two_hosts_are_one_too_many(anonymous: TestClient) -> None:
    answer = anonymous.get("/healthz", headers=[("Host", "127.0.0.1:8321"), ("Host", "evil.example")])
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/healthz", "/", "/login", "/api/v1/studies", "/api/v1/nowhere", "/openapi.json"])
def test_every_answer_carries_the_security_headers(anonymous: TestClient, admin: TestClient, path: str) -> None:
    for client in (anonymous, admin):
        answer = client.get(path)
        assert set(answer.headers) >= HEADERS
        assert answer.headers["x-frame-options"] == "DENY"
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert "unsafe-eval" not in answer.headers["content-security-policy"]
    assert set(anonymous.get(path, headers={"Host": "evil"}).headers) >= HEADERS
    assert "server" not in anonymous.get(path).headers


def test_answers_of_the_api_are_not_kept(admin: TestClient) -> None:
    assert admin.get("/api/v1/studies").headers["cache-control"] == "no-store"


@pytest.fixture
def browser(anonymous: TestClient, token_of: Callable[[Role], str]) -> TestClient:
    """Someone who has signed in."""
    assert anonymous.get(f"/login?token={token_of('admin')}").status_code == 303
    return anonymous


OWN = {"Origin": ADDRESS, "X-Tuner-Request": "1"}


@pytest.mark.parametrize(
    "headers",
    [
        OWN,
        {"Sec-Fetch-Site": "same-origin", "X-Tuner-Request": "1"},
        {"Origin": "http://localhost:8321", "Host": "localhost:8321", "X-Tuner-Request": "1"},
        {"Origin": "https://127.0.0.1:8321", "X-Tuner-Request": "1"},  # behind a proxy that speaks TLS
    ],
)
def test_a_write_of_our_own_pages_is_let_in(browser: TestClient, spec: Json, headers: dict[str, str]) -> None:
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
    answer = browser.post("/api/v1/studies?dry_run=true", json=spec, headers=headers | {"Cookie": cookies})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Tuner-Request": "1"},
        {"Origin": ADDRESS},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://127.0.0.1:9999", "X-Tuner-Request": "1"},
        {"Origin": "http://evil.example", "X-Tuner-Request": "1", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "X-Tuner-Request": "1"},
        {"Origin": ADDRESS + ".evil.example", "X-Tuner-Request": "1"},
        {"Sec-Fetch-Site": "same-site", "X-Tuner-Request": "1"},
        {"Sec-Fetch-Site": "cross-site", "X-Tuner-Request": "1"},
        {"Sec-Fetch-Site": "none", "X-Tuner-Request": "1"},
    ],
)
def test_a_write_of_another_site_is_refused(browser: TestClient, spec: Json, headers: dict[str, str]) -> None:
    assert browser.post("/api/v1/studies", json=spec, headers=headers).status_code == 403
    assert browser.delete("/api/v1/tokens/x", headers=headers).status_code == 403
    assert browser.get("/api/v1/studies").json()["total"] == 0


def test_a_program_with_a_token_needs_no_origin(admin: TestClient, spec: Json) -> None:
    assert admin.post("/api/v1/studies", json=spec, headers={"Origin": "http://evil.example"}).status_code == 201


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream", None]
)
def test_a_body_that_is_not_json_is_refused(admin: TestClient, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = admin.post("/api/v1/studies", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_a_charset_does_no_harm(admin: TestClient) -> None:
    answer = admin.post("/api/v1/studies", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 422


def test_files_come_as_bytes(client_of: Callable[[Role], TestClient]) -> None:
    answer = client_of("worker").put("/api/v1/leases/x/artifacts/y", content=b"{}", headers=JSON)
    assert answer.status_code == 415
    assert "application/octet-stream" in answer.json()["detail"]


def test_a_body_that_is_too_large_is_refused(admin: TestClient) -> None:
    answer = admin.post("/api/v1/studies", content=b" " * 1_000_001, headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "1000000 bytes" in answer.json()["detail"]


def test_a_body_of_unknown_length_is_counted(admin: TestClient) -> None:
    answer = admin.post("/api/v1/studies", content=iter([b" " * 600_000] * 2), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_address_has_ten_tries_a_minute() -> None:
    throttle, now = LoginThrottle(), datetime(2026, 1, 1, tzinfo=UTC)
    for second in range(10):
        throttle.check("a", now=now + timedelta(seconds=second))
        throttle.failed("a", now=now + timedelta(seconds=second))
    with pytest.raises(HTTPException) as refused:
        throttle.check("a", now=now + timedelta(seconds=59))
    assert refused.value.status_code == 429
    throttle.check("b", now=now + timedelta(seconds=59))
    throttle.check("a", now=now + timedelta(seconds=61))
