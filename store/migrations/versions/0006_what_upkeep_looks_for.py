"""Indexes by which the upkeep finds what it looks for, however many connections and syncs there are"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.create_index(
            "connections_limited",
            ["limited_until"],
            unique=False,
            sqlite_where=sa.text("limited_until IS NOT NULL"),
            postgresql_where=sa.text("limited_until IS NOT NULL"),
        )
    with op.batch_alter_table("syncs", schema=None) as batch_op:
        batch_op.create_index(
            "syncs_ended",
            ["finished_at"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NOT NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("syncs", schema=None) as batch_op:
        batch_op.drop_index("syncs_ended")
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.drop_index("connections_limited")
