"""The settings of a connection, changed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from msgspec.structs import replace as with_values

from api import edits
from api.connections import ConnectionChange
from api.etags import Precondition
from api.problems import FieldError, ProblemError, invalid
from api.routing import converted
from api.ui import form
from api.ui.connection import found, head
from api.ui.form import Filled
from api.ui.front import Route, Visit, go
from api.wanted import Wanted, stream_names
from store.connections import Connection


async def show(visit: Visit) -> web.Response:
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
    return await _form(visit, _as_filled(one), ())


async def save(visit: Visit) -> web.Response:
    """Change what was changed; what somebody else has changed meanwhile is not overwritten."""
    given = await form.filled(visit.request)
    connection_id = visit.call(None, None).id("connection")
    try:
        news = await _news(visit, given)

        def changed(stored: Wanted) -> Wanted:
            return with_values(stored, **news)

        seen = Precondition(frozenset({given.get("version")}))
        await edits.edit(visit.context, connection_id, changed, precondition=seen)
    except ProblemError as e:
        if e.status == 404:
            raise
        errors = form.wrong(e) or [FieldError("form", e.detail)]
        return await _form(visit, given, errors, e.status)
    return go(visit, f"connections/{connection_id}")


async def _news(visit: Visit, given: Filled) -> Mapping[str, Any]:
    credential = given.get("credential")
    body: dict[str, object] = {
        "name": given.get("name").strip(),
        "url": given.get("url").strip() or None,
        "credential_id": int(credential) if credential.isascii() and credential.isdigit() else None,
        "project_id": await form.project_of(visit, given),
        "frequency": given.frequency,
        "timezone": given.get("timezone").strip(),
        "streams": list(given.streams) if given.get("which") == "some" else None,
        "params": _params(given.get("params")),
    }
    change = converted(body, ConnectionChange)
    return {name: getattr(change, name) for name in body}


def _params(text: str) -> object:
    try:
        params = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError) as e:
        raise invalid(FieldError("params", f"This is not JSON: {e}.")) from None
    if not isinstance(params, dict):
        raise invalid(FieldError("params", 'Write an object, such as {"since": "2026-01-31"}.'))
    return params


def _as_filled(one: Connection) -> Filled:
    params = msgspec.json.format(msgspec.json.encode(one.params), indent=2).decode() if one.params else ""
    return Filled(
        {
            "name": one.name,
            "url": one.url or "",
            "system": one.system,
            "credential": "none" if one.credential_id is None else str(one.credential_id),
            "project": "" if one.project_id is None else str(one.project_id),
            "often": one.frequency if one.frequency in form.OFTEN else "other",
            "frequency": one.frequency,
            "timezone": one.timezone,
            "which": "all" if one.streams is None else "some",
            "params": params,
            "version": edits.version(one),
        },
        one.streams or (),
    )


async def _form(visit: Visit, given: Filled, errors: Any, status: int = 200) -> web.Response:
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
        values |= await form.choices(visit, connection)
        credentials = await form.credentials_of(visit, connection, one.system)
    adapter = visit.context.remotes.adapters.get(one.system)
    streams = stream_names(adapter) if adapter is not None else []
    return visit.page(
        "editing.html",
        status=status,
        **values,
        credentials=credentials,
        streams=streams,
        # Who wants only some has all to take away from.
        chosen=given.streams if given.get("which") == "some" else streams,
        given=given.shown,
        errors=errors,
        times=form.next_times(given.frequency, given.get("timezone"), datetime.now(UTC)),
    )


ROUTES = tuple(
    Route(method=method, path="/connections/{id}/edit", view=view, permission="write", by_project=True)
    for method, view in (("GET", show), ("POST", save))
)
