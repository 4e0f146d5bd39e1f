"""Settings: keys, credentials, and the audit log."""

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api import audit as api_audit
from api import credentials as api_credentials
from api import keys as api_keys
from api.credentials import CredentialChange, NewCredential
from api.keys import NewKey
from api.problems import FieldError, ProblemError, not_found
from api.routing import converted
from api.ui import form
from api.ui.form import OAUTH2, Filled
from api.ui.front import Route, Visit, go
from store import audit, credentials, keys, projects
from store.schema import audit as audit_table
from store.schema import connections as connection_table

PAGE = 100
SECRETS = ("secret", "refresh_token")


async def first(visit: Visit) -> web.Response:
    """The first of the settings that this key may see."""
    if visit.caller.projects is not None:
        return go(visit, "settings/subscriptions")
    return go(visit, "settings/credentials")


async def all_keys(visit: Visit) -> web.Response:
    return await _keys(visit)


async def make_key(visit: Visit) -> web.Response:
    """Make a key. Its text is on the page that answers, and never again."""
    given = await visit.request.post()
    permission = str(given.get("permission", "read"))
    limited = [str(one) for one in given.getall("projects", [])] if given.get("which") == "some" else None
    body = {"name": str(given.get("name", "")).strip(), "permissions": [permission], "projects": limited}
    try:
        made = await api_keys.make(visit.context, converted(body, NewKey))
    except ProblemError as e:
        return await _keys(visit, errors=e.errors or [FieldError("name", e.detail)], status=e.status)
    return await _keys(visit, made=made)


async def revoke_key(visit: Visit) -> web.Response:
    await api_keys.revoke(visit.context, visit.call(None, None).id("key"))
    return go(visit, "settings/keys")


async def _keys(visit: Visit, made: Any = None, errors: Any = (), status: int = 200) -> web.Response:
    async with visit.context.database.read() as connection:
        known = await keys.listed(connection, 0, 1000)
        groups = await projects.listed(connection, 0, 1000)
    names = {one.id: one.name for one in groups}
    return visit.page(
        "keys.html", status=status, here="Keys", keys=known, projects=groups, names=names,
        made=made, errors=errors,
    )  # fmt: skip


async def all_credentials(visit: Visit) -> web.Response:
    async with visit.context.database.read() as connection:
        known = await credentials.listed(connection, 0, 1000)
        used = await _used(connection)
    systems = sorted(visit.context.remotes.adapters)
    return visit.page("credentials.html", here="Credentials", credentials=known, used=used, systems=systems)


async def _used(connection: AsyncConnection) -> dict[int, int]:
    """How many connections use each credential."""
    c = connection_table.c
    query = select(c.credential_id, func.count()).where(c.deleted_at.is_(None), c.credential_id.is_not(None))
    rows = (await connection.execute(query.group_by(c.credential_id))).all()
    return {row[0]: row[1] for row in rows}


async def one_credential(visit: Visit) -> web.Response:
    """The form of a credential; a new one is of the system in the address."""
    return await _credential(visit, None, ())


async def save_credential(visit: Visit) -> web.Response:
    """Make or change it. A secret that is left empty stays as it is."""
    given = await form.filled(visit.request)
    credential_id = _id(visit)
    try:
        if credential_id is None:
            body: dict[str, object] = {name: given.get(name) for name in ("name", "system", "kind")}
            body |= {name: given.get(name) for name in ("username", *OAUTH2, "secret") if given.get(name)}
            await api_credentials.make(visit.context, converted(body, NewCredential))
        else:
            news: dict[str, object] = {name: given.get(name) for name in ("name", "kind") if given.get(name)}
            oauth2 = ("token_url", "client_id", "scope") if given.get("kind") == "oauth2" else ()
            news |= {name: given.get(name) or None for name in ("username", *oauth2) if name in given.values}
            news |= {name: given.get(name) for name in SECRETS if given.get(name)}
            await api_credentials.edit(visit.context, credential_id, converted(news, CredentialChange))
    except ProblemError as e:
        if e.status == 404:
            raise
        return await _credential(visit, given, e.errors or [FieldError("name", e.detail)], e.status)
    return go(visit, "settings/credentials")


async def remove_credential(visit: Visit) -> web.Response:
    await api_credentials.discard(visit.context, visit.call(None, None).id("credential"))
    return go(visit, "settings/credentials")


def _id(visit: Visit) -> int | None:
    return visit.call(None, None).id("credential") if "id" in visit.request.match_info else None


async def _credential(visit: Visit, given: Filled | None, errors: Any, status: int = 200) -> web.Response:
    credential_id, stored = _id(visit), None
    if credential_id is not None:
        async with visit.context.database.read() as connection:
            stored = await credentials.get(connection, credential_id)
        if stored is None:
            raise not_found("credential", credential_id)
    told = api_credentials.answer(stored) if stored is not None else None
    asked = given.get("system") if given else visit.request.query.get("system", "jira")
    system = told.system if told else asked
    if given is None:
        stored_values = {} if told is None else {name: value or "" for name, value in _fields(told).items()}
        given = Filled(stored_values)
    return visit.page(
        "credential.html",
        status=status,
        here="Credentials",
        stored=told,
        system=system,
        kinds=form.kinds(visit.context.remotes.adapters.get(system)),
        user_label=form.NAMES.get(system, "User name"),
        secret_label=form.SECRETS.get(system, "Token, or password"),
        given=given.shown,
        errors=errors,
    )


def _fields(told: msgspec.Struct) -> dict[str, Any]:
    return {
        name: getattr(told, name) for name in ("name", "kind", "username", "token_url", "client_id", "scope")
    }


async def audit_log(visit: Visit) -> web.Response:
    """Who changed what, newest first."""
    query = visit.request.query
    before = query.get("before", "")
    until = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    chosen = {name: query.get(name, "")[:200] for name in ("actor", "subject")}
    filters = [audit_table.c[name] == value for name, value in chosen.items() if value]
    async with visit.context.database.read() as connection:
        found = await audit.listed(connection, until, PAGE + 1, *filters)
        known = select(audit_table.c.subject).distinct().order_by(audit_table.c.subject)
        subjects = list((await connection.execute(known)).scalars())
    return visit.page(
        "audit.html",
        here="Audit log",
        entries=[api_audit.answer(one) for one in found[:PAGE]],
        more=len(found) > PAGE,
        until=until,
        chosen=chosen,
        subjects=subjects,
    )


def _route(method: str, path: str, view: Any, permission: Any, *, by_project: bool = False) -> Route:
    whole = f"/settings{path}"
    return Route(method=method, path=whole, view=view, permission=permission, by_project=by_project)


ROUTES = (
    _route("GET", "", first, "read", by_project=True),
    _route("GET", "/keys", all_keys, "admin"),
    _route("POST", "/keys", make_key, "admin"),
    _route("POST", "/keys/{id}/revoke", revoke_key, "admin"),
    _route("GET", "/credentials", all_credentials, "read"),
    _route("GET", "/credentials/new", one_credential, "write"),
    _route("POST", "/credentials/new", save_credential, "write"),
    _route("GET", "/credentials/{id}", one_credential, "write"),
    _route("POST", "/credentials/{id}", save_credential, "write"),
    _route("POST", "/credentials/{id}/remove", remove_credential, "write"),
    _route("GET", "/audit", audit_log, "admin"),
)
