"""Aha!'s answers: integrations, lists of them, and what went wrong."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec.structs import replace

from api.connections import why
from api.context import Context
from api.dialects.aha_services import AHA, base_of, service_of
from api.problems import ProblemError
from api.routing import JSON, Dialect
from api.shapes import moment
from store.connections import Connection
from store.projects import Project

ACCOUNT = "1"  # an installation is one account


class AhaOwner(msgspec.Struct, frozen=True):
    """Whose it is: `Account`, or `Project` for that of a product."""

    type: str
    id: str
    url: str
    resource: str


class AhaIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """An integration. `callback_token` is for keys with `write` only; `problem` what stands in its way."""

    id: str
    service_name: str
    template_id: str | None = None
    name: str
    enabled: bool
    callback_token: str | None
    created_at: str | None
    updated_at: str | None
    last_error_at: str | None
    last_webhook_request_at: str | None
    url: str
    resource: str
    owner: AhaOwner
    problem: str | None


class AhaOne(msgspec.Struct, frozen=True):
    integration: AhaIntegration


class AhaItem(msgspec.Struct, frozen=True):
    """An integration in a list."""

    id: str
    name: str
    service_name: str
    created_at: str | None


class AhaPagination(msgspec.Struct, frozen=True):
    total_records: int
    total_pages: int
    current_page: int


class AhaList(msgspec.Struct, frozen=True):
    """Some integrations, ascending by id."""

    integrations: Sequence[AhaItem]
    pagination: AhaPagination


class AhaProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong; `errors` are messages by field."""

    error: str
    message: str
    status: int
    errors: Mapping[str, Sequence[str]] = {}


_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Record not found",
    422: "Validation failed",
}


def word(error: ProblemError) -> web.Response:
    """A problem in the form of this document."""
    errors: dict[str, list[str]] = {}
    for each in error.errors:
        errors.setdefault(each.field.removeprefix("integration."), []).append(each.message)
    title = _TITLES.get(error.status, "Failed")
    body = msgspec.json.encode(AhaProblem(title, error.detail, error.status, errors))
    return web.Response(status=error.status, body=body, content_type=JSON, headers=error.headers)


DIALECT = Dialect(name=AHA, word=word, problem=AhaProblem)


def answer_of(context: Context, found: Connection, project: Project | None) -> AhaOne:
    base = base_of(context)
    # A draft lacks something, also while it is switched off and nothing is the matter with that.
    message, hint = why(replace(found, cause="incomplete") if found.draft else found)
    return AhaOne(
        AhaIntegration(
            id=str(found.id),
            service_name=service_of(found.system, found.canonical, found.attributes),
            name=found.name,
            enabled=found.enabled,
            callback_token=found.callback_token if context.caller.may("write") else None,
            created_at=moment(found.created_at),
            updated_at=moment(found.updated_at),
            last_error_at=moment(found.last_error_at),
            last_webhook_request_at=moment(found.last_webhook_at),
            url=f"{base}/integrations/{found.id}",
            resource=f"{base}/api/v1/integrations/{found.id}",
            owner=_owner(base, project),
            problem=" ".join(text for text in (message, hint) if text) or None,
        )
    )


def _owner(base: str, project: Project | None) -> AhaOwner:
    if project is None:
        address = f"{base}/account/{ACCOUNT}"
        return AhaOwner("Account", ACCOUNT, address, address)
    address = f"{base}/projects/{quote(project.key, safe='')}"
    return AhaOwner("Project", str(project.id), address, address)
