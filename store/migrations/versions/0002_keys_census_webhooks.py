"""Keys, the audit log, the census, tokens that are renewed, webhooks in"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.database

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", store.database.UtcTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("detail", store.database.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index("audit_at", ["at"], unique=False)

    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("at", store.database.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key"),
    )
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.create_index("idempotency_at", ["at"], unique=False)

    op.create_table(
        "keys",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("permissions", store.database.Json(), nullable=False),
        sa.Column("projects", store.database.Json(), nullable=True),
        sa.Column("created_at", store.database.UtcTime(), nullable=False),
        sa.Column("last_used_at", store.database.UtcTime(), nullable=True),
        sa.Column("revoked_at", store.database.UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deliveries",
        sa.Column("connection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("at", store.database.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
        ),
        sa.PrimaryKeyConstraint("connection_id", "uid"),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index("deliveries_at", ["at"], unique=False)

    op.create_table(
        "census_seen",
        sa.Column("sync_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sync_id"], ["syncs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sync_id", "stream", "key"),
    )
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.add_column(sa.Column("webhook", store.database.Json(), nullable=True))
        batch_op.add_column(sa.Column("last_webhook_at", store.database.UtcTime(), nullable=True))
        batch_op.add_column(sa.Column("webhook_missed_at", store.database.UtcTime(), nullable=True))

    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.add_column(sa.Column("token", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("token_expires_at", store.database.UtcTime(), nullable=True))
        batch_op.add_column(sa.Column("renewing", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("renewing_until", store.database.UtcTime(), nullable=True))

    with op.batch_alter_table("syncs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("accept_loss", sa.Boolean(), server_default=sa.text("false"), nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("syncs", schema=None) as batch_op:
        batch_op.drop_column("accept_loss")

    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.drop_column("renewing_until")
        batch_op.drop_column("renewing")
        batch_op.drop_column("token_expires_at")
        batch_op.drop_column("token")

    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.drop_column("webhook_missed_at")
        batch_op.drop_column("last_webhook_at")
        batch_op.drop_column("webhook")

    op.drop_table("census_seen")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("deliveries_at")

    op.drop_table("deliveries")
    op.drop_table("keys")
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.drop_index("idempotency_at")

    op.drop_table("idempotency")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index("audit_at")

    op.drop_table("audit")
