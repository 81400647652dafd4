"""extended trials, studies taken up again, time under leases"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reopened_from", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("reopened_reason", sa.Text(), nullable=True))
    with op.batch_alter_table("trials", schema=None) as batch_op:
        batch_op.add_column(sa.Column("busy_seconds", sa.Double(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("attempt_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("extension", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("ended_state", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("ended_value", sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("trials", schema=None) as batch_op:
        for name in ("ended_value", "ended_state", "extension", "reported_at", "attempt_at", "busy_seconds"):
            batch_op.drop_column(name)
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_column("reopened_reason")
        batch_op.drop_column("reopened_from")
