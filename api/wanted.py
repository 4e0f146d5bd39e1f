"""A connection as someone wants it, and everything that may speak against it. No request is made."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Adapter, BadTarget, Target
from api import binding
from api.access import Caller
from api.problems import FieldError, invalid
from config.frequency import Frequency, FrequencyError, census_period, parse_frequency
from config.logs import SECRET_KEY
from store import credentials, projects
from store.connections import Connection
from store.schema import connections
from worker.remote import Adapters


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as it is to be; of a stored one, as it is."""

    name: str
    system: str
    url: str | None = None
    credential_id: int | None = None
    project_id: int | None = None
    frequency: str = "hourly"
    timezone: str = "UTC"
    streams: list[str] | None = None
    params: Mapping[str, object] = {}
    enabled: bool = True
    debug: bool = False
    #: What clients of other products' APIs keep with it, by dialect.
    attributes: Mapping[str, object] = {}


class Checked(msgspec.Struct, frozen=True):
    """A wanted connection that can be had. `target` is None for a draft."""

    target: Target | None
    frequency: Frequency
    streams: list[str] | None
    #: The server that is asked, as credentials are bound to it.
    place: str | None = None

    @property
    def canonical(self) -> str | None:
        return None if self.target is None else self.target.canonical

    def due_from(self, wanted: Wanted, now: datetime) -> datetime | None:
        """`now` for a connection that is to be synced at its frequency, None for one that is not."""
        runs = wanted.enabled and self.target is not None and self.frequency.text != "manually"
        return now if runs else None


def as_stored(connection: Connection) -> Wanted:
    return Wanted(**{name: getattr(connection, name) for name in Wanted.__struct_fields__})


#: Taken in silence, the first would store what someone asked to keep out.
_NOT_YET = {
    "exclude": "Fields cannot be excluded yet: leave this out, and all fields are stored.",
    "columns": "Columns of one's own cannot be made yet: leave this out.",
}


async def check(
    connection: AsyncConnection,
    adapters: Adapters,
    wanted: Wanted,
    caller: Caller,
    before: Connection | None = None,
) -> Checked:
    """What the wanted connection comes to. Raises 422 with all that is wrong with it, for this caller.

    `before` is how it is stored: where it sends its credential already, it may go on to.
    """
    wrong: list[FieldError] = []
    adapter = adapters.get(wanted.system)
    target = _target(adapter, wanted, wrong)
    frequency = _frequency(wanted, wrong)
    streams = _streams(adapter, wanted, wrong)
    wrong += [FieldError(f"params.{name}", _NOT_YET[name]) for name in _NOT_YET if wanted.params.get(name)]
    wrong += _census(wanted)
    place = place_of(adapters, wanted)
    await _credential(connection, adapter, wanted, wrong, caller)
    # Of a credential that is not there for this caller nothing more is said: not that it is.
    usable = not any(error.field == "credential_id" for error in wrong)
    if usable and (before is None or sends(adapters, before) != (wanted.credential_id, place)):
        problem = await binding.problem(connection, wanted.credential_id, place, caller)
        wrong += [FieldError("credential_id", problem)] if problem else []
    await _project(connection, wanted, wrong, caller)
    if wrong or frequency is None:
        raise invalid(*wrong)
    return Checked(target, frequency, streams, place)


def place_of(adapters: Adapters, of: Wanted | Connection) -> str | None:
    """The server that a connection asks, as credentials are bound to it."""
    return binding.place_of(adapters, of.system, of.url, of.params)


def sends(adapters: Adapters, of: Wanted | Connection) -> tuple[int | None, str | None]:
    """Which credential a connection sends where."""
    return of.credential_id, place_of(adapters, of)


def _target(adapter: type[Adapter] | None, wanted: Wanted, wrong: list[FieldError]) -> Target | None:
    if adapter is None or wanted.url is None:
        wrong += _secrets_in(wanted)
        return None
    try:
        return adapter.parse(wanted.url, wanted.params)
    except BadTarget as e:
        wrong.append(FieldError(e.field, e.message))
        return None


def _secrets_in(wanted: Wanted) -> list[FieldError]:
    """Secrets in places that are shown and stored in clear; an adapter refuses them itself."""
    found = [
        FieldError(f"params.{name}", "A secret belongs in a credential.")
        for name in wanted.params
        if SECRET_KEY.search(name)
    ]
    try:
        url = wanted.url or ""
        if "@" in urlsplit(url if "://" in url else f"//{url}").netloc:
            found.append(FieldError("url", "Leave user name and password out; use a credential for them."))
    except ValueError:
        found.append(FieldError("url", "This is not a URL."))
    return found


def _census(wanted: Wanted) -> list[FieldError]:
    try:
        census_period(wanted.params)
    except FrequencyError as e:
        return [FieldError("params.census_every", e.message)]
    return []


def _frequency(wanted: Wanted, wrong: list[FieldError]) -> Frequency | None:
    try:
        return parse_frequency(wanted.frequency, wanted.timezone)
    except FrequencyError as e:
        wrong.append(FieldError(e.field, e.message))
        return None


def _streams(adapter: type[Adapter] | None, wanted: Wanted, wrong: list[FieldError]) -> list[str] | None:
    if wanted.streams is None:
        return None
    if not wanted.streams:
        wrong.append(FieldError("streams", "Name at least one, or leave this out for all."))
    if adapter is not None:
        known = stream_names(adapter)
        unknown = [name for name in wanted.streams if name not in known]
        if unknown:
            there = f"{wanted.system} has {', '.join(known)}"
            wrong.append(FieldError("streams", f"There is no stream {', '.join(unknown)}; {there}."))
    return list(dict.fromkeys(wanted.streams))


def stream_names(adapter: type[Adapter]) -> list[str]:
    return [stream.name for feed in adapter.feeds for stream in feed.streams]


async def _project(
    connection: AsyncConnection, wanted: Wanted, wrong: list[FieldError], caller: Caller
) -> None:
    if caller.projects is not None and not caller.sees(wanted.project_id):
        allowed = ", ".join(map(str, sorted(caller.projects)))
        wrong.append(FieldError("project_id", f"This API key is limited to these projects: {allowed}."))
    elif wanted.project_id is not None and await projects.get(connection, wanted.project_id) is None:
        wrong.append(FieldError("project_id", f"There is no project {wanted.project_id}."))


async def _credential(
    connection: AsyncConnection,
    adapter: type[Adapter] | None,
    wanted: Wanted,
    wrong: list[FieldError],
    caller: Caller,
) -> None:
    if wanted.credential_id is None:
        return
    found = await credentials.get(connection, wanted.credential_id)
    if found is not None and not await _may_use(connection, found.id, caller):
        found = None
    if found is None:
        wrong.append(FieldError("credential_id", f"There is no credential {wanted.credential_id}."))
        return
    if found.system != wanted.system:
        message = f"Credential {found.name} is for {found.system}, not for {wanted.system}."
        wrong.append(FieldError("credential_id", message))
        return
    try:
        if adapter is not None:
            adapter.auth(found.kind, found.username, str)
    except BadTarget as e:
        wrong.append(FieldError("credential_id", e.message))


async def _may_use(connection: AsyncConnection, credential_id: int, caller: Caller) -> bool:
    """Credentials belong to the account: a key limited to projects may use those that these use already."""
    if caller.projects is None:
        return True
    c = connections.c
    mine = (c.credential_id == credential_id, c.deleted_at.is_(None), *caller.limits(c.project_id))
    return (await connection.execute(select(c.id).where(*mine).limit(1))).first() is not None
