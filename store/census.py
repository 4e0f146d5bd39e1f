"""The census: which keys the remote has, which of ours it lacks, and which of its own we lack."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Select, and_, bindparam, exists, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.schema import ENDED, census_seen, syncs
from store.streams import StreamTable

_seen = census_seen.c


class Span(msgspec.Struct, frozen=True):
    """What one census is about: a sync's, of one stream, which ignores what was observed since `began`."""

    sync_id: int
    connection_id: int
    table: StreamTable
    began: datetime


class Count(msgspec.Struct, frozen=True):
    """`seen` at the remote, of these `stored` and alive here; `living` here in all, of these `lost` there."""

    seen: int
    stored: int
    living: int
    lost: int

    @property
    def unknown(self) -> int:
        return self.seen - self.stored


async def see(connection: AsyncConnection, sync_id: int, stream: str, keys: Sequence[str]) -> None:
    """Note keys that the remote has. Noting one twice is no harm."""
    if not keys:
        return
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    rows = [{"sync_id": sync_id, "stream": stream, "key": key} for key in keys if "\x00" not in key]
    if rows:
        await connection.execute(insert(census_seen).on_conflict_do_nothing(), rows)


async def count(connection: AsyncConnection, of: Span) -> Count:
    """How here and there compare, once all keys are noted."""
    seen, stored = await matched(connection, of)
    living, lost = await _number(connection, _living(of)), await _number(connection, _lost(of))
    return Count(seen, stored, living, lost)


async def matched(connection: AsyncConnection, of: Span) -> tuple[int, int]:
    """How many keys the remote has, and of how many of these the record is stored and alive here."""
    return (
        await _number(connection, _all_seen(of)),
        await _number(connection, _all_seen(of).where(_alive_here(of))),
    )


async def _number(connection: AsyncConnection, query: Select[tuple[str]]) -> int:
    return int((await connection.execute(select(func.count()).select_from(query.subquery()))).scalar_one())


async def in_doubt(connection: AsyncConnection, of: Span, after: str, limit: int) -> list[str]:
    """Keys after `after` that must be asked for, in the database's order: alive here and not seen there, or
    seen there and not alive here.
    """
    c = of.table.table.c
    doubtful = union_all(
        select(_lost(of).where(c.key > after).order_by(c.key).limit(limit).subquery()),
        select(
            _all_seen(of)
            .where(_seen.key > after, ~_alive_here(of))
            .order_by(_seen.key)
            .limit(limit)
            .subquery()
        ),
    ).subquery()
    query = select(doubtful.c.key).order_by(doubtful.c.key).limit(limit)
    return list((await connection.execute(query)).scalars())


async def forget_some(connection: AsyncConnection, limit: int) -> int:
    """Delete some of what ended syncs noted. How many; 0 if nothing is left."""
    over = select(syncs.c.id).where(syncs.c.id == _seen.sync_id, syncs.c.state.in_(ENDED)).exists()
    some = select(_seen.sync_id, _seen.stream, _seen.key).where(over).limit(limit)
    rows = (await connection.execute(some)).all()
    if rows:
        here = and_(
            _seen.sync_id == bindparam("the_sync"),
            _seen.stream == bindparam("the_stream"),
            _seen.key == bindparam("the_key"),
        )
        named = [{"the_sync": sync, "the_stream": stream, "the_key": key} for sync, stream, key in rows]
        await connection.execute(census_seen.delete().where(here), named)
    return len(rows)


def _all_seen(of: Span) -> Select[tuple[str]]:
    return select(_seen.key).where(_seen.sync_id == of.sync_id, _seen.stream == of.table.stream.name)


def _alive_here(of: Span) -> ColumnElement[bool]:
    c = of.table.table.c
    return exists().where(c.connection_id == of.connection_id, c.key == _seen.key, c.gone_at.is_(None))


def _living(of: Span) -> Select[tuple[str]]:
    c = of.table.table.c
    began = literal(of.began, c.observed_at.type)
    return select(c.key).where(
        c.connection_id == of.connection_id, c.gone_at.is_(None), c.observed_at < began
    )


def _lost(of: Span) -> Select[tuple[str]]:
    seen = exists().where(
        _seen.sync_id == of.sync_id,
        _seen.stream == of.table.stream.name,
        _seen.key == of.table.table.c.key,
    )
    return _living(of).where(~seen)
