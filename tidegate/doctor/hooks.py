"""Webhooks in that fall silent, subscriptions that are switched off, and records that could not be read."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store.outgoing import subscriptions
from store.schema import connections, quarantine
from tidegate.doctor.finding import Finding, ok, warn

SHOWN = 10


async def look(connection: AsyncConnection) -> Sequence[Finding]:
    return [
        *await _silent(connection),
        *await _subscriptions(connection),
        *await _quarantine(connection),
    ]


async def _silent(connection: AsyncConnection) -> Sequence[Finding]:
    c = connections.c
    query = select(c.id, c.name, c.last_webhook_at).where(
        c.webhook_missed_at.is_not(None), c.enabled, c.deleted_at.is_(None)
    )
    rows = (await connection.execute(query.order_by(c.id).limit(SHOWN))).all()
    if not rows:
        return [ok("webhooks in", "None has fallen silent.")]
    return [
        warn(
            f"webhook of connection {number}",
            f"{name} changed, and no webhook told of it; the last came {at:%Y-%m-%d %H:%M} UTC."
            if at
            else f"{name} changed, and no webhook told of it.",
            "Look at the remote whether it is still set up, and sent to the right address. Polling goes on.",
        )
        for number, name, at in rows
    ]


async def _subscriptions(connection: AsyncConnection) -> Sequence[Finding]:
    c = subscriptions.c
    off = ~c.enabled & c.disabled_reason.is_not(None)
    query = select(c.id, c.name, c.enabled).where(off | c.failing_since.is_not(None)).order_by(c.id)
    rows = (await connection.execute(query.limit(SHOWN))).all()
    if not rows:
        return [ok("subscriptions", "None is in trouble.")]
    return [
        warn(
            f"subscription {number}",
            f"{name} does not take what is sent to it."
            if enabled
            else f"{name} was switched off, as its endpoint took nothing for days or asked for it.",
            "`tidegate subscriptions list` says why; then `tidegate subscriptions enable`, or remove it.",
        )
        for number, name, enabled in rows
    ]


async def _quarantine(connection: AsyncConnection) -> Sequence[Finding]:
    c, q = connections.c, quarantine.c
    query = (
        select(c.id, c.name, func.count().label("records"))
        .join(quarantine, q.connection_id == c.id)
        .where(c.deleted_at.is_(None))
        .group_by(c.id, c.name)
        .order_by(func.count().desc(), c.id)
    )
    rows = (await connection.execute(query.limit(SHOWN))).all()
    if not rows:
        return [ok("quarantine", "Every record could be read.")]
    advice = (
        "GET /v1/connections/{id}/quarantine, or the page, has the reasons; a full sync tries them again."
    )
    return [
        warn(f"quarantine of connection {number}", f"{count} records of {name} could not be read.", advice)
        for number, name, count in rows
    ]
