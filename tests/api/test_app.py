from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import APIRouter
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

import api.app
from api.app import create_app
from tuner.settings import Settings


def test_importing_the_app_loads_no_training_library() -> None:
    code = "import sys, api.app; sys.exit(bool({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_route_without_a_role_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: None)
    monkeypatch.setattr(api.app, "ROUTERS", [router])
    with pytest.raises(LookupError, match="/forgotten"):
        create_app(Settings(home=tmp_path))


def test_a_route_that_cannot_have_a_role_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()
    router.add_route("/raw", lambda _: PlainTextResponse("x"))
    monkeypatch.setattr(api.app, "ROUTERS", [router])
    with pytest.raises(LookupError, match="raw"):
        create_app(Settings(home=tmp_path))


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api/v1/studies/", "/api/v1"])
def test_what_is_not_offered(admin: TestClient, path: str) -> None:
    assert admin.get(path).status_code == 404
