"""A database of the oldest schema, with rows in every table, is brought up to date and every row is still what it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Integer, MetaData, Numeric, Table, insert, select

from tests.conftest import new_database
from tests.simulation import study_body
from tuner.db import metric_rows, study_rows, trial_rows
from tuner.db.engine import make_engine
from tuner.db.migrate import VERSION_TABLE, newest_revision, upgrade
from tuner.service import open_service
from tuner.settings import Settings
from tuner.spec import parse

OLDEST = "0001"
AT = datetime(2026, 1, 1, tzinfo=UTC)
GIVEN: dict[str, dict[str, Any]] = {
    "studies": {"id": "s", "live_name": "old", "name": "old", "state": "running", "n_created": 1, "parallelism": 1, "facts": {}},
    "trials": {"study_id": "s", "number": 0, "state": "completed", "params": {"epochs": 2}, "values": {"accuracy": 0.5}},
}


@pytest.fixture
def old_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return (
        f"sqlite:///{tmp_path / 'old.db'}"
        if request.param == "sqlite"
        else new_database(request.getfixturevalue("postgres_server"))
    )


def a_value(table: Table, column: Column[Any], references: dict[str, Any]) -> Any:
    """Something that the column may hold, other than its default where it has one."""
    if column.name in GIVEN.get(table.name, {}):
        return GIVEN[table.name][column.name]
    for key in column.foreign_keys:
        return references[key.target_fullname]
    if isinstance(column.type, DateTime):
        return AT
    if isinstance(column.type, Boolean):
        return False
    if isinstance(column.type, Integer):
        return 1
    if isinstance(column.type, Numeric | Float):
        return 0.5
    if column.name in ("spec", "facts", "search_attrs", "details", "values", "params", "versions"):
        return parse(study_body()).model_dump(mode="json") if column.name == "spec" else {}
    return [] if isinstance(column.type, JSON) or column.name == "gpus" else f"a {column.name}"[:16]


def fill(url: str) -> dict[str, dict[str, Any]]:
    """One row in every table of the schema as it stands; table → its row."""
    engine, known = make_engine(url), MetaData()
    rows: dict[str, dict[str, Any]] = {}
    references: dict[str, Any] = {}
    with engine.begin() as connection:
        known.reflect(connection)
        for table in known.sorted_tables:
            if table.name == VERSION_TABLE:
                continue
            filled = [column for column in table.c if not (column.nullable and column.name.endswith("_at"))]
            values = {column.name: a_value(table, column, references) for column in filled}
            connection.execute(insert(table).values(values))
            rows[table.name] = dict(connection.execute(select(table)).mappings().one())
            references.update({f"{table.name}.{name}": value for name, value in rows[table.name].items()})
    engine.dispose()
    return rows


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    engine, known = make_engine(url), MetaData()
    with engine.connect() as connection:
        known.reflect(connection)
        found = {table.name: [dict(row) for row in connection.execute(select(table)).mappings()] for table in known.sorted_tables}
    engine.dispose()
    return found


@pytest.mark.parametrize("old_url", ["sqlite", "postgres"], indirect=True)
def test_the_oldest_schema_with_rows_in_it_is_brought_up_to_date(old_url: str, tmp_path: Any) -> None:
    upgrade(old_url, OLDEST)
    before = fill(old_url)
    assert {"studies", "trials", "leases", "metrics", "workers", "tokens", "audit"} <= set(before)
    upgrade(old_url)
    after = rows_of(old_url)
    assert after[VERSION_TABLE] == [{"version_num": newest_revision()}]
    for name, row in before.items():
        (now,) = after[name]
        assert json.dumps({key: now[key] for key in row}, default=str) == json.dumps(row, default=str), name
    with open_service(Settings(home=tmp_path / "home", database_url=old_url)) as service, service.ledger.read() as connection:
        study = study_rows.get_study(connection, "s")
        assert study is not None and study.spec == parse(study_body()) and study.state == "running"
        (trial,) = trial_rows.trials_of(connection, "s")
        assert (trial.values, trial.params, trial.space_version) == ({"accuracy": 0.5}, {"epochs": 2}, study.space_version)
        (point,) = metric_rows.metrics_of(connection, trial.id)
        assert (point.value, point.step) == (0.5, 1)
