"""What other products' clients keep with connections and credentials, and the debug log"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.database

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:

    op.create_table(
        "debug_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("connection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sync_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", store.database.UtcTime(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", store.database.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("debug_log", schema=None) as batch_op:
        batch_op.create_index("debug_log_at", ["at"], unique=False)
        batch_op.create_index("debug_log_of_connection", ["connection_id", "id"], unique=False)

    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index("audit_subject", ["subject", "subject_id", "id"], unique=False)

    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.add_column(sa.Column("debug", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        batch_op.add_column(
            sa.Column("attributes", store.database.Json(), server_default=sa.text("'{}'"), nullable=False)
        )

    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("attributes", store.database.Json(), server_default=sa.text("'{}'"), nullable=False)
        )


def downgrade() -> None:

    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.drop_column("attributes")

    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.drop_column("attributes")
        batch_op.drop_column("debug")

    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index("audit_subject")

    with op.batch_alter_table("debug_log", schema=None) as batch_op:
        batch_op.drop_index("debug_log_of_connection")
        batch_op.drop_index("debug_log_at")

    op.drop_table("debug_log")
