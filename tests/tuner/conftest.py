"""Databases that are cheap to get: these tests ask for hundreds of them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, make_url

from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.db.engine import make_engine
from tuner.db.migrate import upgrade
from tuner.db.tables import metadata
from tuner.service import Service


@pytest.fixture(scope="session")
def reused_postgres_url(postgres_server: str, postgres_template: str) -> str:
    """One database for all tests of this folder: making one takes PostgreSQL up to seconds, emptying it milliseconds."""
    name = f"reused_{uuid.uuid4().hex[:12]}"
    engine = make_engine(postgres_server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"')
    engine.dispose()
    return make_url(postgres_server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def postgres_url(reused_postgres_url: str) -> Iterator[str]:
    yield reused_postgres_url
    engine = make_engine(reused_postgres_url)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """Each test that asks for it runs on both databases; each finds its own empty, with our schema."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def bench(service: Service, clock: Clock) -> Bench:
    """A study that draws at random and prunes nothing, and a worker."""
    return make_bench(service, clock)
