"""Webhooks out: subscriptions, what was sent, and every attempt"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.database

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_until", store.database.UtcTime(), nullable=True),
        sa.Column("types", store.database.Json(), nullable=True),
        sa.Column("systems", store.database.Json(), nullable=True),
        sa.Column("connection_ids", store.database.Json(), nullable=True),
        sa.Column("states", store.database.Json(), nullable=True),
        sa.Column("healths", store.database.Json(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", store.database.UtcTime(), nullable=True),
        sa.Column("disabled_reason", store.database.Json(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", store.database.UtcTime(), nullable=True),
        sa.Column("failing_step", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused_until", store.database.UtcTime(), nullable=True),
        sa.Column("last_error", store.database.Json(), nullable=True),
        sa.Column("last_error_at", store.database.UtcTime(), nullable=True),
        sa.Column("last_success_at", store.database.UtcTime(), nullable=True),
        sa.Column("delivered", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("event_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", store.database.UtcTime(), nullable=False),
        sa.Column("updated_at", store.database.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sendings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subscription_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("step", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_at", store.database.UtcTime(), nullable=False),
        sa.Column("last_at", store.database.UtcTime(), nullable=False),
        sa.Column("next_at", store.database.UtcTime(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("sendings", schema=None) as batch_op:
        batch_op.create_index("sendings_last", ["last_at"], unique=False)
        batch_op.create_index("sendings_log", ["subscription_id", "id"], unique=False)
        batch_op.create_index("sendings_one", ["subscription_id", "position"], unique=True)
        batch_op.create_index(
            "sendings_pending",
            ["subscription_id", "next_at"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sending_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", store.database.UtcTime(), nullable=False),
        sa.Column("by_hand", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sending_id"], ["sendings.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index("attempts_of_sending", ["sending_id", "id"], unique=False)

    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "subscription_id",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default=sa.text("0"),
                nullable=False,
            )
        )
        batch_op.drop_index("outbox_sequence")
        batch_op.create_index(
            "outbox_sequence", ["connection_id", "subscription_id", "sequence"], unique=True
        )


def downgrade() -> None:
    # What happened to subscriptions has no place in the older shape.
    op.execute("DELETE FROM outbox WHERE subscription_id <> 0")
    op.execute("DELETE FROM duties WHERE name = 'webhooks'")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("outbox_sequence")
        batch_op.create_index("outbox_sequence", ["connection_id", "sequence"], unique=True)
        batch_op.drop_column("subscription_id")

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index("attempts_of_sending")

    op.drop_table("attempts")
    with op.batch_alter_table("sendings", schema=None) as batch_op:
        batch_op.drop_index("sendings_pending")
        batch_op.drop_index("sendings_one")
        batch_op.drop_index("sendings_log")
        batch_op.drop_index("sendings_last")

    op.drop_table("sendings")
    op.drop_table("subscriptions")
