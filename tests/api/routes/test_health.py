from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
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
    assert [error["field"] for error in answer.json()["errors"]] == ["database"]
    assert anonymous.get("/healthz").status_code == 200


def wrong(client: TestClient) -> dict[str, str]:
    """What /readyz says is wrong: part → message."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


@both_databases
def test_a_schema_of_another_release_is_told_with_what_to_do(anonymous: TestClient, running: Service) -> None:
    running.ledger.database.write(lambda connection: connection.exec_driver_sql("UPDATE tuner_version SET version_num = '0002'"))
    assert "at 0002, this release needs" in wrong(anonymous)["schema"] and "tuner db upgrade" in wrong(anonymous)["schema"]
    running.ledger.database.write(lambda connection: connection.exec_driver_sql("UPDATE tuner_version SET version_num = '9999'"))
    assert "install the release that brought it there" in wrong(anonymous)["schema"]


@both_databases
def test_a_service_that_was_deposed_says_so(anonymous: TestClient, running: Service) -> None:
    running.ledger.database.write(lambda connection: connection.exec_driver_sql("UPDATE leader SET owner = 'other 1/1'"))
    assert "another service owns the database" in wrong(anonymous)["leadership"]


def test_a_full_disk_is_told_with_where(anonymous: TestClient, running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000, total=10**12))
    (message,) = wrong(anonymous).values()
    assert message == f"only 2 of 1000000 MB are free where {running.settings.home} lies: make room there"
