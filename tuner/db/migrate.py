"""Bring a database's schema up to date: one folder of Alembic migrations for SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import column, inspect, select, table
from sqlalchemy.exc import DBAPIError

from tuner.db.engine import Connection, make_engine, translated

_MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "tuner_version"


def upgrade(url: str, revision: str = "head") -> None:
    """Run every migration that the database lacks, all in one transaction. Raises Unavailable."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            # One that is up to date is left alone: whoever means to stand by would have to wait for its lock.
            if revision == "head" and _revision(connection) == newest_revision():
                return
        with engine.connect().execution_options(tuner_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                # Two services that start at once must not migrate at once; the lock goes with the transaction.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7821463501)")
            if revision != "head" or _revision(connection) != newest_revision():
                _migrate(connection, revision)
    except DBAPIError as error:
        raise translated(error) from error
    finally:
        engine.dispose()


def newest_revision() -> str:
    """The last migration there is: their files are called by their numbers."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def out_of_date(connection: Connection) -> str | None:
    """What to do where the schema is another one than the code's; None if it is the same."""
    revision, newest = _revision(connection), newest_revision()
    if revision == newest:
        return None
    if revision is not None and revision > newest:
        return f"the schema is at {revision}, this release knows it up to {newest}: install the release that brought it there"
    return f"the schema is at {revision or 'nothing'}, this release needs {newest}: run `tuner db upgrade`"


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    return revision


def _migrate(connection: Connection, revision: str) -> None:
    # Loaded only where there is something to do: a service that starts again is up a quarter sooner without.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
