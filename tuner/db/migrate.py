"""Bring a database's schema up to date: one folder of Alembic migrations for SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from tuner.db.engine import make_engine, translated


def upgrade(url: str, revision: str = "head") -> None:
    """Run every migration that the database lacks, all in one transaction. Raises Unavailable."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    engine = make_engine(url)
    try:
        with engine.connect().execution_options(tuner_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                # Two services that start at once must not migrate at once; the lock goes with the transaction.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7821463501)")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except DBAPIError as error:
        raise translated(error) from error
    finally:
        engine.dispose()
