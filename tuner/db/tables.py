"""Every table. Migrations make them (`migrations/versions`); a test proves that the two agree.

Times are UTC. A metric's value is NULL where it is not a number, because SQLite cannot store NaN.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite would drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _trial_key(**options: Any) -> Column[int]:
    return Column("trial_id", Integer, ForeignKey("trials.id", ondelete="CASCADE"), nullable=False, **options)


studies = Table(
    "studies",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("live_name", String(200), unique=True),  # the name while running or paused: unique among live studies
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("spec", JSON, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("n_created", Integer, nullable=False),
    Column("max_trials", Integer),  # spec.budget.trials, where the statement that grants a trial can see it
    Column("parallelism", Integer, nullable=False),  # likewise
    Column("version", Integer, nullable=False),
    Column("search_attrs", JSON, nullable=False),
    Column("space_version", Integer, nullable=False, server_default="1"),
    Column("freed_bytes", BigInteger, nullable=False, server_default="0"),  # of models and checkpoints that were removed
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("reopened_from", String(16)),  # the state that it goes back to when its extended trials have ended
    Column("reopened_reason", Text),  # likewise
    Index("ix_studies_state", "state"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("gpus", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", String(32), ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("params", JSON, nullable=False),
    Column("value", Double),
    Column("values", JSON, nullable=False),
    Column("epoch", Double),
    Column("step", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("lease_id", String(32)),
    Column("worker_id", String(32), ForeignKey("workers.id")),
    Column("reason", Text),
    Column("failure_kind", String(16)),
    Column("failure_message", Text),
    Column("search_attrs", JSON, nullable=False),
    Column("space_version", Integer, nullable=False, server_default="1"),
    Column("details", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("busy_seconds", Double, nullable=False, server_default="0"),  # under leases that have ended
    Column("attempt_at", UtcDateTime),  # when the current lease began
    Column("reported_at", UtcDateTime),  # when its attempt last got on
    Column("extension", JSON(none_as_null=True)),
    Column("ended_state", String(16)),  # of an extended trial until it ends anew: how it had ended
    Column("ended_value", Double),  # likewise
    Column("set_aside_at", UtcDateTime),  # it waits to be promoted since then; NULL: it does not
    UniqueConstraint("study_id", "number"),
    Index("ix_trials_study_id_state", "study_id", "state"),
    Index("ix_trials_lease_id", "lease_id"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(32), primary_key=True),
    _trial_key(),
    Column("attempt", Integer, nullable=False),
    Column("worker_id", String(32), ForeignKey("workers.id"), nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("outcome", String(16)),
    Column("message", Text),
    Column("gpus", JSON(none_as_null=True)),  # ids of those of the worker that it trained on; NULL: not told
    UniqueConstraint("trial_id", "attempt"),
    Index("ix_leases_ended_at_expires_at", "ended_at", "expires_at"),
)

metrics = Table(
    "metrics",
    metadata,
    _trial_key(primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("split", String(16), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("epoch", Double),
    Column("value", Double),
    Column("reported_at", UtcDateTime, nullable=False),
    Column("superseded", Boolean, nullable=False),  # kept, but of an attempt that was started over
)

logs = Table(
    "logs",
    metadata,
    _trial_key(primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("logged_at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    _trial_key(primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempt", Integer),
    Column("sequence", BigInteger),  # of the upload within the attempt; null: its worker does not count
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _trial_key(primary_key=True),  # the newest one only
    Column("epoch", Double, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

loose_files = Table(
    "loose_files",
    metadata,
    Column("path", Text, primary_key=True),  # of a file that arrives, or is no longer needed
    Column("since", UtcDateTime, nullable=False),
)

spaces = Table(
    "spaces",
    metadata,
    Column("study_id", String(32), ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("parameters", JSON, nullable=False),
    Column("constraints", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

priors = Table(
    "priors",
    metadata,
    Column("study_id", String(32), ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("params", JSON, nullable=False),
    Column("value", Double, nullable=False),
    Column("source", String(300), nullable=False),
    Column("good", Boolean, nullable=True),  # null: of the same problem
)

leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True),  # there is one row
    Column("epoch", Integer, nullable=False),
    Column("owner", String(300)),
    Column("seen_at", UtcDateTime, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("used_at", UtcDateTime),
)

sessions = Table(
    "sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("token_id", String(32), ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("token_id", String(32)),
    Column("role", String(16)),
    Column("address", String(64)),
    Column("action", String(64), nullable=False),
    Column("subject", String(200)),
    Column("detail", Text),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("study_id", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
