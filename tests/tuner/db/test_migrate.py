from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, make_url

import tuner.db.migrate
from tuner.db.engine import make_engine
from tuner.db.migrate import newest_revision, upgrade
from tuner.db.tables import metadata
from tuner.errors import Unavailable


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without our schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"empty_{uuid.uuid4().hex[:12]}"
    administer(server, f'CREATE DATABASE "{name}"')
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def administer(server: str, statement: str) -> None:
    engine = make_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        options = {"compare_type": True, "version_table": "tuner_version"}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_the_migrations_make_just_the_tables_that_the_code_knows(empty_url: str) -> None:
    upgrade(empty_url)
    engine = make_engine(empty_url)
    assert differences(engine) == []
    tables = set(inspect(engine).get_table_names())
    engine.dispose()
    assert tables == {*metadata.tables, "tuner_version"}


def test_upgrading_again_does_no_harm(empty_url: str) -> None:
    for _ in range(2):
        upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        assert len(connection.exec_driver_sql("SELECT version_num FROM tuner_version").all()) == 1
    engine.dispose()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        upgrade("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_a_database_that_is_up_to_date_is_opened_without_the_migration_tool(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'current.db'}"
    upgrade(url)
    code = f"import sys; from tuner.service import upgrade; upgrade({url!r}); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_database_that_is_up_to_date_may_be_locked(tmp_path: Path) -> None:
    """By an owner that was stopped while it wrote: whoever means to stand by can still begin to."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    upgrade(url)
    owner = sqlite3.connect(tmp_path / "tuner.db", isolation_level=None)
    owner.execute("BEGIN IMMEDIATE")
    before = time.monotonic()
    upgrade(url)
    owner.close()
    assert time.monotonic() - before < 5, "it waited for the lock"


def test_the_newest_revision_is_the_one_that_the_migration_tool_ends_at() -> None:
    folder = Path(tuner.db.migrate.__file__).with_name("migrations")
    config = Config()
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_current_head() == newest_revision()
