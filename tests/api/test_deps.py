from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.app import ROUTERS
from api.deps import declared_role
from tests.api.conftest import Json
from tuner.records import Role
from tuner.service import Service, utc_now

# Written down once more, by hand: a route that appears or changes its role has to be decided on here too.
ROLES: dict[str, Role | None] = {
    "POST /api/v1/studies": "editor",
    "GET /api/v1/studies": "viewer",
    "GET /api/v1/studies/{study_id}": "viewer",
    "PATCH /api/v1/studies/{study_id}": "editor",
    "POST /api/v1/studies/{study_id}/pause": "editor",
    "POST /api/v1/studies/{study_id}/resume": "editor",
    "POST /api/v1/studies/{study_id}/stop": "editor",
    "DELETE /api/v1/studies/{study_id}": "admin",
    "POST /api/v1/studies/{study_id}/trials": "editor",
    "GET /api/v1/studies/{study_id}/trials": "viewer",
    "GET /api/v1/studies/{study_id}/trials/{number}": "viewer",
    "GET /api/v1/studies/{study_id}/trials/{number}/metrics": "viewer",
    "GET /api/v1/studies/{study_id}/trials/{number}/logs": "viewer",
    "GET /api/v1/studies/{study_id}/trials/{number}/artifacts": "viewer",
    "GET /api/v1/studies/{study_id}/trials/{number}/artifacts/{name}": "viewer",
    "POST /api/v1/studies/{study_id}/trials/{number}/stop": "editor",
    "POST /api/v1/studies/{study_id}/trials/{number}/clone": "editor",
    "POST /api/v1/studies/{study_id}/trials/{number}/extend": "editor",
    "GET /api/v1/studies/{study_id}/best": "viewer",
    "GET /api/v1/studies/{study_id}/figures/{name}": "viewer",
    "GET /api/v1/studies/{study_id}/export": "viewer",
    "GET /api/v1/studies/{study_id}/usage": "viewer",
    "GET /api/v1/studies/{study_id}/compare": "viewer",
    "GET /api/v1/compare": "viewer",
    "GET /api/v1/compare/figures/{name}": "viewer",
    "POST /api/v1/study-files": "viewer",
    "POST /api/v1/studies/import": "editor",
    "GET /api/v1/events": "viewer",
    "GET /api/v1/studies/{study_id}/events": "viewer",
    "GET /api/v1/definitions": "viewer",
    "GET /api/v1/workers": "viewer",
    "GET /api/v1/audit": "admin",
    "POST /api/v1/tokens": "admin",
    "GET /api/v1/tokens": "admin",
    "DELETE /api/v1/tokens/{token_id}": "admin",
    "POST /api/v1/workers": "worker",
    "PATCH /api/v1/workers/{worker_id}": "worker",
    "GET /api/v1/workers/demand": "worker",
    "POST /api/v1/leases": "worker",
    "POST /api/v1/leases/{lease_id}/heartbeat": "worker",
    "POST /api/v1/leases/{lease_id}/metrics": "worker",
    "POST /api/v1/leases/{lease_id}/logs": "worker",
    "PUT /api/v1/leases/{lease_id}/artifacts/{name}": "worker",
    "GET /api/v1/leases/{lease_id}/wanted": "worker",
    "PUT /api/v1/leases/{lease_id}/checkpoint": "worker",
    "GET /api/v1/leases/{lease_id}/checkpoint": "worker",
    "POST /api/v1/leases/{lease_id}/finish": "worker",
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
    "GET /openapi.json": "viewer",
    "GET /login": None,
    "POST /login": None,
    "POST /logout": "viewer",
    "GET /": "viewer",
    "GET /new": "viewer",
    "GET /compare": "viewer",
    "GET /audit": "viewer",
    "GET /tokens": "viewer",
    "GET /studies/{study_id}": "viewer",
    "GET /studies/{study_id}/compare": "viewer",
    "GET /studies/{study_id}/trials/{number}": "viewer",
    "GET /workers": "viewer",
    "GET /static/{version}/{name}": None,
}
GRANTS: dict[Role, set[Role]] = {
    "viewer": {"viewer"},
    "editor": {"viewer", "editor"},
    "worker": {"worker"},
    "admin": {"viewer", "editor", "worker", "admin"},
}
ENDLESS = {"GET /api/v1/events", "GET /api/v1/studies/{study_id}/events"}


def routes() -> dict[str, APIRoute]:
    found = {}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            found.update({f"{method} {route.path}": route for method in route.methods or ()})
    return found


def address(name: str) -> tuple[str, str]:
    """A request for things that do not exist: whoever has the role is told so, whoever has not is told that first."""
    method, path = name.split(" ")
    filled = path.format(
        study_id="nothing", number=9, lease_id="nothing", token_id="nothing", worker_id="nothing", name="nothing", version="none"
    )
    return method, filled


def test_every_route_has_the_role_that_is_written_here() -> None:
    assert {name: declared_role(route) for name, route in routes().items()} == ROLES


def test_the_description_names_every_route(admin: TestClient) -> None:
    described = {f"{verb.upper()} {path}" for path, verbs in admin.get("/openapi.json").json()["paths"].items() for verb in verbs}
    pages = {name for name in ROLES if not name.split(" ")[1].startswith("/api/")} - {
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "POST /login",
        "POST /logout",
    }
    assert described == set(ROLES) - pages


def test_every_route_with_every_role(client_of: Callable[[Role], TestClient]) -> None:
    wrong = {}
    for role in GRANTS:
        client = client_of(role)
        for name, needed in ROLES.items():
            allowed = needed is None or needed in GRANTS[role]
            if allowed and name in ENDLESS:
                continue
            method, path = address(name)
            status = client.request(method, path).status_code
            if (status == 403) == allowed or status == 401:
                wrong[role, name] = status
    assert wrong == {}


def test_every_route_without_a_token(anonymous: TestClient) -> None:
    wrong = {}
    for name, needed in ROLES.items():
        method, path = address(name)
        answer = anonymous.request(method, path)
        page = method == "GET" and not path.startswith("/api/") and path != "/openapi.json"
        expected = 303 if page else 401
        if needed is not None and answer.status_code != expected:
            wrong[name] = answer.status_code
        if needed is None and answer.status_code in (303, 403):
            wrong[name] = answer.status_code
    assert wrong == {}


def test_a_route_that_declares_nothing_stops_the_start() -> None:
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: None)
    (route,) = router.routes
    assert isinstance(route, APIRoute)
    with pytest.raises(LookupError, match="/forgotten declares neither"):
        declared_role(route)


def test_the_refusal_names_the_role(client_of: Callable[[Role], TestClient], spec: Json) -> None:
    answer = client_of("viewer").post("/api/v1/studies", json=spec)
    assert answer.status_code == 403
    assert answer.json()["detail"] == "this needs the role editor; the token has the role viewer"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "Bearer tuner_admin_0_0", "Basic dTpw", "Bearer tuner_admin_%00_x", "Bearer é_é_é_é"],
)
def test_a_wrong_header_is_unknown(anonymous: TestClient, header: str) -> None:
    answer = anonymous.get("/api/v1/studies", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_right_id_with_a_wrong_secret_is_unknown(anonymous: TestClient, token_of: Callable[[Role], str]) -> None:
    wrong = token_of("admin")[:-1] + "~"
    assert anonymous.get("/api/v1/studies", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401


def test_a_revoked_token_ends_at_once(admin: TestClient, client_of: Callable[[Role], TestClient], running: Service) -> None:
    viewer = client_of("viewer")
    assert viewer.get("/api/v1/studies").status_code == 200
    (token,) = [token for token in running.access.tokens() if token.role == "viewer"]
    assert admin.delete(f"/api/v1/tokens/{token.id}").status_code == 204
    assert viewer.get("/api/v1/studies").status_code == 401


def test_an_expired_token_is_unknown(anonymous: TestClient, running: Service) -> None:
    now, past = utc_now(), utc_now() - timedelta(minutes=1)
    _, secret = running.access.create_token("viewer", "short", now=now, expires_at=past)
    assert anonymous.get("/api/v1/studies", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_studies_are_found_by_id_and_by_name(admin: TestClient, post_study: Callable[..., Json]) -> None:
    study = post_study()
    assert admin.get(f"/api/v1/studies/{study['id']}").json()["id"] == study["id"]
    assert admin.get("/api/v1/studies/parity").json()["id"] == study["id"]
    answer = admin.get("/api/v1/studies/nope")
    assert (answer.status_code, answer.json()["detail"]) == (404, "no study 'nope'")


def test_a_missing_trial_is_named(admin: TestClient, post_study: Callable[..., Json]) -> None:
    post_study()
    answer = admin.get("/api/v1/studies/parity/trials/7")
    assert (answer.status_code, answer.json()["detail"]) == (404, "study 'parity' has no trial 7")


@pytest.mark.parametrize("number", ["-1", "x", str(2**31), str(10**30), "1.5"])
def test_a_number_beyond_reason_is_refused(admin: TestClient, post_study: Callable[..., Json], number: str) -> None:
    post_study()
    answer = admin.get(f"/api/v1/studies/parity/trials/{number}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["number"]
