from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Json
from tests.api.helpers import both_databases, wrong_fields


@both_databases
def test_a_token_is_made_used_listed_and_revoked(admin: TestClient, anonymous: TestClient) -> None:
    made = admin.post("/api/v1/tokens", json={"role": "viewer", "name": "a colleague", "expires_at": "2100-01-01T00:00:00+01:00"})
    assert made.status_code == 201
    token = made.json()
    assert token["token"].startswith("tuner_viewer_")
    assert token["expires_at"] == "2099-12-31T23:00:00Z"
    header = {"Authorization": f"Bearer {token['token']}"}
    assert anonymous.get("/api/v1/studies", headers=header).status_code == 200
    (listed,) = [entry for entry in admin.get("/api/v1/tokens").json()["items"] if entry["id"] == token["id"]]
    assert token["used_at"] is None and listed["used_at"] is not None
    assert listed | {"used_at": None} == {key: value for key, value in token.items() if key != "token"}
    assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    assert anonymous.get("/api/v1/studies", headers=header).status_code == 401
    assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 404
    actions = [entry["action"] for entry in admin.get("/api/v1/audit").json()["items"]]
    assert actions[:2] == ["token.revoke", "token.create"]


def test_no_answer_tells_a_secret(admin: TestClient) -> None:
    secret = admin.post("/api/v1/tokens", json={"role": "viewer", "name": "x"}).json()["token"].split("_", 3)[3]
    for path in ("tokens", "audit"):
        assert secret not in admin.get(f"/api/v1/{path}").text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x"}, "role"),
        ({"role": "king", "name": "x"}, "role"),
        ({"role": "viewer"}, "name"),
        ({"role": "viewer", "name": "\0"}, "name"),
        ({"role": "viewer", "name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"role": "viewer", "name": "x", "expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"role": "viewer", "name": "x", "secret": "mine"}, "secret"),
    ],
)
def test_a_wrong_token_is_refused_and_named(admin: TestClient, body: Json, field: str) -> None:
    assert wrong_fields(admin.post("/api/v1/tokens", json=body)) == [field]
