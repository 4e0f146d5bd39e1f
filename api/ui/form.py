"""The form of a connection: what was filled in, as the API takes it, and what there is to choose from."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Adapter, BadTarget
from api import credentials as api_credentials
from api import projects as api_projects
from api.credentials import NewCredential
from api.etags import Versioned
from api.problems import FieldError, ProblemError, invalid
from api.projects import NewProject
from api.routing import converted
from api.shapes import Nothing
from api.ui.front import Visit
from config.frequency import FrequencyError, parse_frequency
from store import credentials, projects
from store.credentials import Credential
from store.database import to_text
from store.projects import Project
from store.schema import connections as table
from store.schema import credentials as credential_table
from store.schema import projects as project_table

OFTEN: Mapping[str, str] = {
    "every 5m": "Every 5 minutes",
    "every 15m": "Every 15 minutes",
    "hourly": "Every hour",
    "daily": "Every day",
    "weekly": "Every week",
    "monthly": "Every month",
    "manually": "Only when asked",
    "other": "Something else",
}
#: How the kinds of credentials are called, and their name and secret, where a system calls them its own way.
KINDS: Mapping[str, str] = {
    "basic": "User name and token",
    "pat": "Personal access token",
    "bearer": "Bearer token",
    "oauth2": "OAuth 2",
}
NAMES: Mapping[str, str] = {"jira": "Email, or user name", "jenkins": "User name"}
SECRETS: Mapping[str, str] = {
    "jira": "API token, or password",
    "jenkins": "API token",
    "azure": "Personal access token",
}
_UNSHOWN = ("secret", "refresh_token")
#: The fields that templates show again, empty where they were not sent.
_SHOWN = tuple(
    "url system jql credential kind username token_url client_id scope credential_name often frequency "
    "timezone name project project_name which params version".split()
)
OAUTH2 = ("token_url", "client_id", "scope", "refresh_token")


class Filled(msgspec.Struct, frozen=True):
    """What was filled in; secrets are in it, so it is never shown as it is."""

    values: Mapping[str, str]
    streams: Sequence[str] = ()

    def __repr__(self) -> str:
        return "Filled(...)"

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    @property
    def shown(self) -> Mapping[str, str]:
        """The same without secrets, to be shown again."""
        given = {name: value for name, value in self.values.items() if name not in _UNSHOWN}
        return {**dict.fromkeys(_SHOWN, ""), **given}

    @property
    def frequency(self) -> str:
        often = self.get("often", "hourly")
        return self.get("frequency").strip() if often == "other" else often

    @property
    def params(self) -> dict[str, object]:
        jql = self.get("jql").strip()
        return {"jql": jql} if jql and self.get("system") == "jira" else {}


async def filled(request: web.Request) -> Filled:
    form = await request.post()
    values = {name: str(value)[:20_000] for name, value in form.items()}
    return Filled(values, [str(one) for one in form.getall("streams", [])])


async def choices(visit: Visit, connection: AsyncConnection) -> dict[str, Any]:
    """What there is to choose from, for this key."""
    mine = visit.caller.limits(project_table.c.id)
    known = await projects.listed(connection, 0, 1000, *mine)
    return {
        "projects": known,
        "whole": visit.caller.projects is None,
        "often": OFTEN,
        "zones": zones(),
    }


async def credentials_of(visit: Visit, connection: AsyncConnection, system: str) -> Sequence[Credential]:
    """The credentials of a system that this key may use."""
    limits = []
    if visit.caller.projects is not None:
        used = select(table.c.credential_id).where(
            table.c.deleted_at.is_(None), *visit.caller.limits(table.c.project_id)
        )
        limits.append(credential_table.c.id.in_(used))
    return await credentials.listed(connection, 0, 1000, credential_table.c.system == system, *limits)


def kinds(adapter: type[Adapter] | None) -> dict[str, str]:
    """The kinds of credentials that a system takes, by what they are called."""
    found = {}
    for kind, name in KINDS.items():
        try:
            if adapter is not None:
                adapter.auth(kind, "somebody", str)
        except BadTarget:
            continue
        found[kind] = name
    return found


async def credential_of(visit: Visit, given: Filled) -> tuple[int | None, bool]:
    """The id of the credential that is chosen, made if it is a new one; and whether it was. Raises 422."""
    chosen = given.get("credential")
    if chosen != "new":
        return (int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 19 else None), False
    if visit.caller.projects is not None:
        raise invalid(FieldError("credential", "This key may use credentials, and make none."))
    body: dict[str, object] = {
        "name": given.get("credential_name").strip() or _called(given),
        "system": given.get("system"),
        "kind": given.get("kind"),
    }
    body |= {name: given.get(name) for name in ("username", "secret", *OAUTH2) if given.get(name)}
    made = await api_credentials.make(visit.context, converted(body, NewCredential))
    return made.id, True


def _called(given: Filled) -> str:
    """The name of a credential that was given none."""
    host = given.get("url").partition("://")[2].partition("/")[0] or given.get("system")
    return f"{given.get('username')} at {host}" if given.get("username") else f"Token for {host}"


async def project_of(visit: Visit, given: Filled) -> int | None:
    """The id of the project that is chosen, made if it is a new one. Raises 409 or 422."""
    chosen = given.get("project")
    if chosen != "new":
        return int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 19 else None
    if visit.caller.projects is not None:
        raise invalid(FieldError("project_id", "This key may use projects, and make none."))
    name = given.get("project_name").strip()
    key = "".join(char for char in name.upper() if char.isalnum())[:20]
    if not key:
        raise invalid(FieldError("project_name", "A new project needs a name."))
    made: Versioned = await api_projects.create(visit.call(NewProject(name, key), Nothing()))
    assert isinstance(made.answer, api_projects.ProjectAnswer)
    return made.answer.id


async def take_back(visit: Visit, credential_id: int | None, *, made: bool) -> None:
    """Remove a credential that was only made for something that then did not come about."""
    if made and credential_id is not None:
        await api_credentials.discard(visit.context, credential_id)


class Times(msgspec.Struct, frozen=True):
    """The next due times in their zone; not `exact` ones are spread, so that not all come at once."""

    text: str
    zone: str
    exact: bool
    times: Sequence[tuple[str, str]]
    problem: str | None = None


def next_times(frequency: str, zone: str, now: datetime) -> Times:
    """The next three."""
    try:
        known = parse_frequency(frequency, zone or "UTC")
    except FrequencyError as e:
        return Times(frequency, zone, False, (), e.message)
    found, at = [], now
    for _ in range(3):
        upcoming = _next(known.interval, at) or known.next_after(at, 0)
        if upcoming is None:
            break
        at = upcoming
        local = at.astimezone(ZoneInfo(known.timezone))
        found.append((to_text(at), f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"))
    return Times(known.text, known.timezone, known.cron is not None, found)


def _next(interval: timedelta | None, at: datetime) -> datetime | None:
    return None if interval is None else at.astimezone(UTC) + interval


@lru_cache(maxsize=1)
def zones() -> Sequence[str]:
    """The names of all time zones."""
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")


def wrong(error: ProblemError) -> list[FieldError]:
    """What is wrong by field, where the fields of the form are called otherwise than those of the API."""
    names = {"credential_id": "credential", "project_id": "project", "params.jql": "jql"}
    return [FieldError(names.get(one.field, one.field), one.message) for one in error.errors]


def project_name(known: Sequence[Project], project_id: int | None) -> str:
    return next((one.name for one in known if one.id == project_id), "")
