from __future__ import annotations

from starlette.testclient import TestClient

from tests.api.helpers import wrong_fields


def test_the_log_is_read_page_by_page(admin: TestClient) -> None:
    for name in ("a", "b", "c"):
        admin.post("/api/v1/tokens", json={"role": "viewer", "name": name})
    first = admin.get("/api/v1/audit?limit=2").json()
    assert [entry["detail"] for entry in first["items"]] == ["viewer c", "viewer b"]
    second = admin.get("/api/v1/audit", params={"limit": 2, "cursor": first["next"]}).json()
    assert [entry["detail"] for entry in second["items"]] == ["viewer a", "admin a admin"]
    assert (first["total"], second["total"], second["next"]) == (4, 4, None)


def test_a_made_up_cursor_is_refused(admin: TestClient) -> None:
    assert wrong_fields(admin.get("/api/v1/audit?cursor=LTE=")) == ["cursor"]
