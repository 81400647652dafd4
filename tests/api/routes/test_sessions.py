from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import ADDRESS
from tuner.records import Role
from tuner.service import Service, utc_now

OWN = {"Origin": ADDRESS, "X-Tuner-Request": "1"}


def test_a_token_is_exchanged_for_a_cookie_and_leaves_the_address(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    answer = anonymous.get(f"/login?token={token_of('viewer')}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("tuner_session=")
    for part in ("httponly", "samesite=strict", "path=/", "max-age=43200"):
        assert part in cookie
    assert "secure" not in cookie
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert anonymous.get("/api/v1/studies").status_code == 200
    assert anonymous.get("/").status_code == 200


def test_the_cookie_is_kept_to_tls_where_there_is_tls(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    answer = anonymous.get(f"https://127.0.0.1:8321/login?token={token_of('viewer')}")
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_form_posts_the_token(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    assert anonymous.post("/login", json={"token": token_of("editor")}).status_code == 204
    assert anonymous.get("/api/v1/studies").status_code == 200


def test_a_wrong_token_opens_nothing(anonymous: TestClient) -> None:
    for answer in (anonymous.get("/login?token=wrong"), anonymous.post("/login", json={"token": "wrong"})):
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    assert "not known" in anonymous.get("/login?token=wrong").text


@pytest.mark.parametrize("token", ["\0", "tuner_admin_\0_x", "", "é" * 100])
def test_any_text_can_be_a_wrong_token(anonymous: TestClient, token: str) -> None:
    assert anonymous.post("/login", json={"token": token}).status_code in (401, 422)


def test_without_a_token_there_is_a_form(anonymous: TestClient) -> None:
    answer = anonymous.get("/login")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_pages_lead_to_the_form_and_back(anonymous: TestClient) -> None:
    answer = anonymous.get("/studies/x?metric=a&b=c")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fstudies%2Fx%3Fmetric%3Da%26b%3Dc"


def test_ten_wrong_tokens_are_enough(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    right = token_of("viewer")
    for _ in range(10):
        assert anonymous.post("/login", json={"token": "wrong"}).status_code == 401
    answer = anonymous.post("/login", json={"token": right})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert anonymous.get(f"/login?token={right}").status_code == 429


def test_signing_out_ends_the_session(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    anonymous.get(f"/login?token={token_of('viewer')}")
    secret = anonymous.cookies["tuner_session"]
    assert anonymous.post("/logout").status_code == 403
    assert anonymous.post("/logout", headers=OWN).status_code == 204
    assert "tuner_session" not in anonymous.cookies
    answer = anonymous.get("/api/v1/studies", headers={"Cookie": f"tuner_session={secret}"})
    assert answer.status_code == 401


def test_a_session_ends_with_its_token(anonymous: TestClient, token_of: Callable[[Role], str], running: Service) -> None:
    anonymous.get(f"/login?token={token_of('viewer')}")
    (token,) = running.access.tokens()
    running.access.revoke(token.id, now=utc_now())
    assert anonymous.get("/api/v1/studies").status_code == 401


def test_a_session_ends_after_half_a_day(anonymous: TestClient, token_of: Callable[[Role], str], running: Service) -> None:
    anonymous.get(f"/login?token={token_of('viewer')}")
    secret = anonymous.cookies["tuner_session"]
    assert running.access.session(secret, now=utc_now() + timedelta(hours=11)) is not None
    assert running.access.session(secret, now=utc_now() + timedelta(hours=13)) is None


def test_signing_in_is_told_in_the_audit_log(admin: TestClient, anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    anonymous.get(f"/login?token={token_of('viewer')}")
    entry = admin.get("/api/v1/audit").json()["items"][0]
    assert (entry["action"], entry["role"], entry["address"]) == ("session.open", "viewer", "testclient")
