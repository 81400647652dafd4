"""trials of earlier studies whose values can't be compared: whether they were good there"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("priors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("good", sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("priors", schema=None) as batch_op:
        batch_op.drop_column("good")
