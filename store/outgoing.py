"""The tables of webhooks out: subscriptions, what was sent to each, and every attempt to send it."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text, text

from store.database import Json, UtcTime
from store.schema import Id, metadata

__all__ = ["attempts", "metadata", "sendings", "subscriptions"]

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("project_id", Id, ForeignKey("projects.id")),
    Column("url", Text, nullable=False),
    Column("secret", Text),  # sealed by the vault for this row, as is the one before it
    Column("old_secret", Text),
    Column("old_until", UtcTime),
    # Which events; null is all.
    Column("types", Json),
    Column("systems", Json),
    Column("connection_ids", Json),
    Column("states", Json),
    Column("healths", Json),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_at", UtcTime),
    Column("disabled_reason", Json),  # null: by hand
    # Every event up to here was sent, stands in `sendings`, or is not for this subscription.
    Column("position", BigInteger, nullable=False),
    # While the endpoint is down: since when, how often in a row, and when it is asked again.
    Column("failing_since", UtcTime),
    Column("failing_step", Integer, nullable=False, server_default=text("0")),
    Column("paused_until", UtcTime),
    Column("last_error", Json),
    Column("last_error_at", UtcTime),
    Column("last_success_at", UtcTime),
    # How many attempts were taken, and how many not.
    Column("delivered", BigInteger, nullable=False, server_default=text("0")),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    Column("event_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

# One event for one subscription. What was delivered is kept for a week, as the log of it.
sendings = Table(
    "sendings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subscription_id", Id, ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("uid", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Column("next_at", UtcTime),
    Column("status", Integer),  # of the last attempt, as is the error
    Column("error", Text),
    Index("sendings_one", "subscription_id", "position", unique=True),
    Index("sendings_log", "subscription_id", "id"),
    Index("sendings_last", "last_at"),
    Index(
        "sendings_pending",
        "subscription_id",
        "next_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    sqlite_autoincrement=True,
)

# Every request that was made for a sending.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sending_id", Id, ForeignKey("sendings.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("by_hand", Boolean, nullable=False),
    Column("status", Integer),
    Column("milliseconds", Integer, nullable=False),
    Column("error", Text),
    Column("excerpt", Text),  # of the answer
    Index("attempts_of_sending", "sending_id", "id"),
    sqlite_autoincrement=True,
)
