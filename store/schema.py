"""The fixed tables. Alembic's migrations make them; the streams' tables are made by `store/streams.py`."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, text

from store.database import Json, UtcTime

Id = BigInteger().with_variant(Integer, "sqlite")

OPEN = ("running", "waiting")
LIVE = ("queued", "running", "waiting")
ENDED = ("succeeded", "partial", "failed", "cancelled")

metadata = MetaData()


def _where_set(name: str, column: str) -> Index:
    """An index of the rows that have a value there: the others are many, and never looked for."""
    there = text(f"{column} IS NOT NULL")
    return Index(name, column, sqlite_where=there, postgresql_where=there)


# Facts about this installation: the fingerprint of the secret key, the shape of the streams' views.
instance = Table(
    "instance",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("username", Text),
    Column("secret", Text),  # sealed by the vault for this row
    Column("options", Json, nullable=False),  # oauth2: token URL, client id, scope
    Column("attributes", Json, nullable=False, server_default=text("'{}'")),  # as those of connections
    Column("origins", Json),  # the servers it may be sent to; null: the one that it is first used for
    # oauth2: the access token in use, sealed, and who is fetching the next one.
    Column("token", Text),
    Column("token_expires_at", UtcTime),
    Column("renewing", Text),
    Column("renewing_until", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

connections = Table(
    "connections",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("project_id", Id, ForeignKey("projects.id")),
    Column("credential_id", Id, ForeignKey("credentials.id")),
    Column("system", Text, nullable=False),
    Column("url", Text),  # as typed
    Column("canonical", Text),
    Column("frequency", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("streams", Json),
    Column("params", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("debug", Boolean, nullable=False, server_default=text("false")),
    # By dialect: what clients of another product's API keep with it, and Tidegate only gives back.
    Column("attributes", Json, nullable=False, server_default=text("'{}'")),
    Column("webhook_secret", Text),  # sealed
    Column("callback_token", Text, nullable=False, unique=True),
    Column("webhook", Json),  # what was registered at the remote: its id there, until when it lives
    Column("last_webhook_at", UtcTime),
    Column("webhook_missed_at", UtcTime),  # since when polling finds what no webhook told of
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("deleted_at", UtcTime),
    Column("purge", Boolean, nullable=False, server_default=text("false")),
    # When something is to be done; null for never.
    Column("next_due_at", UtcTime),
    Column("next_look_at", UtcTime),
    Column("next_check_at", UtcTime),
    Column("stale_at", UtcTime),
    Column("census_at", UtcTime),
    Column("catch_up", Boolean, nullable=False, server_default=text("false")),
    Column("remembered", Integer, nullable=False, server_default=text("0")),
    # Facts that health is computed from, and the health last told.
    Column("failure", Json),  # kind, message, hint of a failure of the whole connection
    Column("partial", Json),  # the same of a sync that could not read everything
    Column("unavailable", Integer, nullable=False, server_default=text("0")),
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("limited_until", UtcTime),
    Column("ingesting", Boolean, nullable=False, server_default=text("false")),
    Column("health", Text, nullable=False),
    Column("cause", Text),
    Column("since", UtcTime, nullable=False),
    Column("last_sync_at", UtcTime),
    Column("last_success_at", UtcTime),
    Column("last_error_at", UtcTime),
    # Counters under this row's lock.
    Column("event_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("change_sequence", BigInteger, nullable=False, server_default=text("0")),
    _where_set("connections_due", "next_due_at"),
    _where_set("connections_look", "next_look_at"),
    _where_set("connections_check", "next_check_at"),
    _where_set("connections_stale", "stale_at"),
    _where_set("connections_limited", "limited_until"),
    Index("connections_purge", "id", sqlite_where=text("purge"), postgresql_where=text("purge")),
    sqlite_autoincrement=True,
)

syncs = Table(
    "syncs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection_id", Id, ForeignKey("connections.id"), nullable=False),
    Column("lane", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("keys", Json),  # by stream
    Column(
        "look", Boolean, nullable=False, server_default=text("false")
    ),  # with what is due to be looked at again
    Column("census", Boolean, nullable=False, server_default=text("false")),
    # Whoever asked for the census knows that many records are gone.
    Column("accept_loss", Boolean, nullable=False, server_default=text("false")),
    Column("joined", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    Column("queued_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("run_at", UtcTime, nullable=False),
    Column("resume_at", UtcTime),
    Column("waiting_since", UtcTime),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("lease_owner", Text),
    Column("lease_until", UtcTime),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("claim_pages", Integer, nullable=False, server_default=text("0")),
    Column("pages", BigInteger, nullable=False, server_default=text("0")),
    Column("planned", Boolean, nullable=False, server_default=text("false")),
    Column("progress_at", UtcTime),
    Column("counters", Json, nullable=False),
    Column("requests", BigInteger, nullable=False, server_default=text("0")),
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("waited", BigInteger, nullable=False, server_default=text("0")),  # ms
    Column("receipt", Json),
    Column("error", Json),
    # At most one open and one queued per lane: held here, not by code.
    Index(
        "syncs_one_open",
        "connection_id",
        "lane",
        unique=True,
        sqlite_where=text("state IN ('running', 'waiting')"),
        postgresql_where=text("state IN ('running', 'waiting')"),
    ),
    Index(
        "syncs_one_queued",
        "connection_id",
        "lane",
        unique=True,
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "syncs_to_run",
        "run_at",
        sqlite_where=text("state IN ('queued', 'running', 'waiting')"),
        postgresql_where=text("state IN ('queued', 'running', 'waiting')"),
    ),
    Index("syncs_of_connection", "connection_id", "id"),
    _where_set("syncs_ended", "finished_at"),
    _where_set("syncs_leased", "lease_owner"),
    sqlite_autoincrement=True,
)

# What one sync of the bulk lane has to read, and how far it is. Gone when the sync has ended.
sync_parts = Table(
    "sync_parts",
    metadata,
    Column("sync_id", Id, ForeignKey("syncs.id", ondelete="CASCADE"), primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("turns", Integer, nullable=False, server_default=text("0")),
    Column("cursor", Text),
    Column("done", Boolean, nullable=False, server_default=text("false")),
    Column("ended", Boolean, nullable=False, server_default=text("false")),
    Column("error", Json),
    Column("expected", Json),
    Column("stored", Json, nullable=False),
)

# The keys that a census, or a full read, has seen so far. Gone when the sync has ended.
census_seen = Table(
    "census_seen",
    metadata,
    Column("sync_id", Id, ForeignKey("syncs.id", ondelete="CASCADE"), primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("key", Text, primary_key=True),
)

# How far each partition of a connection has been read, and what last went wrong there.
cursors = Table(
    "cursors",
    metadata,
    Column("connection_id", Id, ForeignKey("connections.id"), primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("cursor", Text),
    Column("error", Json),
    Column("updated_at", UtcTime, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection_id", Id, ForeignKey("connections.id"), nullable=False),
    Column("stream", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("sync_id", Id, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index("quarantine_one", "connection_id", "stream", "key", unique=True),
    sqlite_autoincrement=True,
)

# What happened, written with what it is about. `position` is given by the relay when it is published.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    # What it happened to: a connection, or a subscription; the other is 0.
    Column("connection_id", Id, nullable=False),
    Column("subscription_id", Id, nullable=False, server_default=text("0")),
    Column("sequence", BigInteger, nullable=False),
    Column("uid", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("data", Text, nullable=False),
    Column("position", BigInteger),
    Index("outbox_sequence", "connection_id", "subscription_id", "sequence", unique=True),
    Index("outbox_at", "at"),
    Index(
        "outbox_position",
        "position",
        unique=True,
        sqlite_where=text("position IS NOT NULL"),
        postgresql_where=text("position IS NOT NULL"),
    ),
    Index(
        "outbox_unsent",
        "id",
        sqlite_where=text("position IS NULL"),
        postgresql_where=text("position IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# Work that one process at a time does (the relay): a lease with a fence, and a counter of its own.
duties = Table(
    "duties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text),
    Column("lease_until", UtcTime),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("counter", BigInteger, nullable=False, server_default=text("0")),
)

# Who is running: every process says so every few seconds.
processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("keys", Text),  # the ids of the secret keys that it has, the one that it seals with first
)

# Until when a host asked for no requests: outlives Redis.
host_pauses = Table(
    "host_pauses",
    metadata,
    Column("host", Text, primary_key=True),
    Column("until", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
)

# API keys: only a hash is kept. `projects` limits a key to some; null is all.
keys = Table(
    "keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("permissions", Json, nullable=False),
    Column("projects", Json),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
    sqlite_autoincrement=True,
)

# Who changed what, and when. Never a secret.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Id),
    Column("detail", Json, nullable=False),
    Index("audit_at", "at"),
    Index("audit_subject", "subject", "subject_id", "id"),
    sqlite_autoincrement=True,
)

# Answers to creations that carried an Idempotency-Key, so that the same request again makes nothing anew.
idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", Text, nullable=False),  # a hash of method, path and body
    Column("status", Integer),
    Column("body", Text),
    Column("at", UtcTime, nullable=False),
    Index("idempotency_at", "at"),
)

# Inbound webhooks that were taken, so that the same delivery again opens nothing.
deliveries = Table(
    "deliveries",
    metadata,
    Column("connection_id", Id, ForeignKey("connections.id"), primary_key=True),
    Column("uid", Text, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Index("deliveries_at", "at"),
)

# What syncs of connections with `debug` did, line by line.
debug_log = Table(
    "debug_log",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection_id", Id, ForeignKey("connections.id"), nullable=False),
    Column("sync_id", Id, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Index("debug_log_of_connection", "connection_id", "id"),
    Index("debug_log_at", "at"),
    sqlite_autoincrement=True,
)
