from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from tests.api.helpers import both_databases
from tuner.service import Service


@both_databases
def test_a_service_that_is_well_says_so(anonymous: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = anonymous.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_service_without_its_database_lives_but_is_not_ready(anonymous: TestClient, running: Service, tmp_path: Path) -> None:
    running.ledger.database.engine.dispose()
    (tmp_path / "tuner.db").unlink()
    (tmp_path / "tuner.db").mkdir()
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["type"] == "urn:tuner:error:unavailable"
    assert anonymous.get("/healthz").status_code == 200
