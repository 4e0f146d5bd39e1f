"""Adding a connection: recognised as it is pasted, tried before it is kept."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from api import checks, edits
from api.connections import NewConnection, wanted_of
from api.problems import FieldError, ProblemError
from api.routing import converted
from api.ui import form, recognising
from api.ui.form import Filled
from api.ui.front import Route, Visit, go
from api.wanted import Wanted

EMPTY = Filled({"often": "hourly", "timezone": "UTC"})


async def fresh(visit: Visit) -> web.Response:
    """The form, empty; a URL may be given along."""
    url = visit.request.query.get("url", "")
    given = Filled({**EMPTY.values, "url": url}) if url else EMPTY
    return await _form(visit, given, ())


async def test(visit: Visit) -> web.Response:
    """Try what is filled in. A new credential is kept if it works, and else it is not."""
    given = await form.filled(visit.request)
    credential_id, made = await form.credential_of(visit, given)
    try:
        wanted = Wanted(
            name="",
            system=given.get("system"),
            url=given.get("url").strip(),
            credential_id=credential_id,
            project_id=_number(given.get("project")),
            params=given.params,
        )
        tried = await checks.try_unsaved(visit.context, wanted)
    except ProblemError as e:
        await form.take_back(visit, credential_id, made=made)
        if visit.scripted:
            raise
        return await _form(visit, given, form.wrong(e) or [FieldError("url", e.detail)], e.status)
    if not tried.ok:
        await form.take_back(visit, credential_id, made=made)
    kept = credential_id if made and tried.ok else None
    if visit.scripted:
        return visit.page("tried_new.html", tried=tried, kept=kept, kept_name=_kept_name(given))
    values = {**given.values, "credential": str(credential_id)} if kept else given.values
    return await _form(visit, Filled(values, given.streams), (), tried=tried)


async def save(visit: Visit) -> web.Response:
    """Make the connection; its page shows how it fills."""
    given = await form.filled(visit.request)
    credential_id, made = None, False
    try:
        credential_id, made = await form.credential_of(visit, given)
        project_id = await form.project_of(visit, given)
        name = given.get("name").strip() or _name_of(visit, given)
        body: dict[str, object] = {
            "name": name,
            "system": given.get("system"),
            "url": given.get("url").strip(),
            "credential_id": credential_id,
            "project_id": project_id,
            "frequency": form.Filled(given.values).frequency,
            "timezone": given.get("timezone").strip() or "UTC",
            "params": given.params,
        }
        wanted = wanted_of(converted(body, NewConnection))
        connection = await edits.make(visit.context, wanted, None)
    except ProblemError as e:
        await form.take_back(visit, credential_id, made=made)
        errors = form.wrong(e) or [FieldError("form", e.detail)]
        return await _form(visit, given, errors, e.status)
    return go(visit, f"connections/{connection.id}")


async def recognised(visit: Visit) -> web.Response:
    """Which system a URL belongs to: a part of the form."""
    url = visit.request.query.get("url", "")[:10_000]
    return visit.page("recognised.html", **_recognised(visit, url, visit.request.query.get("system", "")))


async def credentials(visit: Visit) -> web.Response:
    """The credentials of a system: a part of the form."""
    system = visit.request.query.get("system", "")
    async with visit.context.database.read() as connection:
        values = await _credentials(visit, connection, system)
    return visit.page("credential_part.html", **values, given=EMPTY.shown, errors=())


async def times(visit: Visit) -> web.Response:
    """The next due times of a frequency: a part of the form."""
    given = Filled({name: value[:200] for name, value in visit.request.query.items()})
    told = form.next_times(given.frequency, given.get("timezone"), datetime.now(UTC))
    return visit.page("times.html", times=told)


async def _form(
    visit: Visit, given: Filled, errors: Any, status: int = 200, tried: checks.Tried | None = None
) -> web.Response:
    found = _recognised(visit, given.get("url"), given.get("system"))
    async with visit.context.database.read() as connection:
        values = await form.choices(visit, connection)
        values |= found | await _credentials(visit, connection, found["system"])
    told = form.next_times(given.frequency, given.get("timezone"), datetime.now(UTC))
    return visit.page(
        "adding.html", status=status, **values,
        given=given.shown, errors=errors, times=told, tried=tried, kept=None, kept_name="",
    )  # fmt: skip


def _recognised(visit: Visit, url: str, chosen: str) -> dict[str, Any]:
    adapters = visit.context.remotes.adapters
    found = recognising.candidates(adapters, url, {})
    systems = {one.system for one in found}
    if chosen not in systems:
        chosen = recognising.best(found) or ""
    return {"url": url, "found": found, "system": chosen}


async def _credentials(visit: Visit, connection: AsyncConnection, system: str) -> dict[str, Any]:
    adapter = visit.context.remotes.adapters.get(system)
    return {
        "system": system,
        "credentials": await form.credentials_of(visit, connection, system) if system else (),
        "kinds": form.kinds(adapter),
        "user_label": form.NAMES.get(system, "User name"),
        "secret_label": form.SECRETS.get(system, "Token, or password"),
        "whole": visit.caller.projects is None,
    }


def _name_of(visit: Visit, given: Filled) -> str:
    """The name of a connection that was given none: what it reads."""
    found = recognising.candidates(visit.context.remotes.adapters, given.get("url"), given.params)
    what = next((one.what for one in found if one.system == given.get("system")), None)
    return (what or given.get("url") or "Connection")[:200]


def _kept_name(given: Filled) -> str:
    return given.get("credential_name").strip() or given.get("username") or "The new one"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _route(method: str, path: str, view: Any) -> Route:
    return Route(method=method, path=path, view=view, permission="write", by_project=True)


ROUTES = (
    _route("GET", "/connections/new", fresh),
    _route("POST", "/connections/new", save),
    _route("POST", "/connections/new/test", test),
    _route("GET", "/ui/recognise", recognised),
    _route("GET", "/ui/credentials", credentials),
    _route("GET", "/ui/times", times),
)
