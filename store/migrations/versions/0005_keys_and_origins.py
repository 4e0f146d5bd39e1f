"""Which secret keys a running process has, and to which servers a credential may be sent"""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

import store.database

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CONNECTIONS = sa.table(
    "connections", sa.column("credential_id", sa.BigInteger), sa.column("canonical", sa.Text)
)
_CREDENTIALS = sa.table("credentials", sa.column("id", sa.BigInteger), sa.column("origins", sa.Text))


#: Tables that lost it when they were made anew by earlier migrations: their ids could be given twice.
_COUNTING = ("credentials", "connections", "syncs", "outbox")


def upgrade() -> None:
    # Read before anything is locked: others go on meanwhile, and it takes a while with many connections.
    origins = _origins()
    op.add_column("processes", sa.Column("keys", sa.Text(), nullable=True))
    op.add_column("credentials", sa.Column("origins", store.database.Json(), nullable=True))
    if origins:
        c = _CREDENTIALS.c
        made = (
            sa.update(_CREDENTIALS).where(c.id == sa.bindparam("which")).values(origins=sa.bindparam("where"))
        )
        rows = [{"which": one, "where": json.dumps(sorted(places))} for one, places in origins.items()]
        op.get_bind().execute(made, rows)
    if op.get_bind().dialect.name == "sqlite":
        for name in _COUNTING:
            with op.batch_alter_table(name, recreate="always", table_kwargs={"sqlite_autoincrement": True}):
                pass


def _origins() -> Mapping[int, set[str]]:
    """Where each credential is used by now: there it was meant to be used."""
    c = _CONNECTIONS.c
    used = sa.select(c.credential_id, c.canonical).where(
        c.credential_id.is_not(None), c.canonical.is_not(None)
    )
    origins: dict[int, set[str]] = {}
    for credential_id, canonical in op.get_bind().execute(used.distinct()):
        if place := _place(canonical):
            origins.setdefault(credential_id, set()).add(place)
    return origins


def _place(canonical: str) -> str | None:
    """As `api/binding.py` wrote it when this migration was made."""
    try:
        url = urlsplit(canonical)
        host, port = url.hostname, url.port
    except ValueError:
        return None
    if not host:
        return None
    shown = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(url.scheme)
    place = f"{url.scheme}://{shown}" if port in (None, default) else f"{url.scheme}://{shown}:{port}"
    if host == "api.atlassian.com":
        place += "/".join(url.path.split("/")[:4])
    return place


def downgrade() -> None:
    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.drop_column("origins")
    with op.batch_alter_table("processes", schema=None) as batch_op:
        batch_op.drop_column("keys")
