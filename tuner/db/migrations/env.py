"""Run by Alembic; the connection comes from `tuner.db.migrate`."""

from __future__ import annotations

from alembic import context

from tuner.db.migrate import VERSION_TABLE
from tuner.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
