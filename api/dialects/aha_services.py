"""Aha!'s services as our systems, and an integration as its clients want it as a connection."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import Caller
from api.context import Context
from api.problems import FieldError, invalid
from api.shapes import Id, Name, Text, Word
from api.wanted import Wanted, as_stored
from store import connections
from store.projects import Project

#: What its clients keep with a connection stands under this name.
AHA = "aha"

#: By service: our system, and what one is called if nobody says.
SERVICES: Mapping[str, tuple[str, str]] = {
    "audit_webhook": ("audit_webhook", "Activity webhook"),
    "github_issues": ("github_issues", "GitHub Issues"),
    "jenkins": ("jenkins", "Jenkins"),
    "jira": ("jira", "Jira"),
    "jira_connect": ("jira", "Jira via Connect"),
    "rally": ("rally", "Rally"),
    "salesforce": ("salesforce", "Salesforce"),
    "security_webhook": ("security_webhook", "Security webhook"),
    "slack": ("slack", "To Slack"),
    "slack_commands": ("slack_commands", "From Slack"),
    "tfs": ("azure", "Azure DevOps Services"),
    "trello": ("trello", "Trello"),
    "vsts": ("azure", "Azure DevOps Services"),
    "zendesk": ("zendesk", "Zendesk"),
}

#: An id as a number or as digits.
Number = Id | Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,17}$")]


class AhaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand inside the integration or beside it."""

    service_name: Text | UnsetType = UNSET
    integration_version: int | Word | UnsetType | None = UNSET
    product_id: Id | Word | UnsetType | None = UNSET


class AhaWanted(AhaOptions, frozen=True, kw_only=True):
    """An integration as it is to be; what is left out stays, or is that of the template.

    `template_id` counts when one is made: its set-up is copied. From `url` on these are Tidegate's: what is
    read, as whom and how often.
    """

    enabled: bool | UnsetType = UNSET
    template_id: Number | UnsetType | None = UNSET
    name: Name | UnsetType = UNSET
    url: Text | UnsetType | None = UNSET
    credential_id: Number | UnsetType | None = UNSET
    params: dict[str, object] | UnsetType = UNSET
    streams: list[Name] | UnsetType | None = UNSET
    frequency: Text | UnsetType = UNSET
    timezone: Text | UnsetType = UNSET


class AhaNew(AhaOptions, frozen=True, kw_only=True):
    """An integration to be made."""

    integration: AhaWanted = AhaWanted()


def option(body: AhaNew, name: str) -> object:
    """What stands inside the integration, or else beside it; None for neither."""
    inside = getattr(body.integration, name)
    given = getattr(body, name) if inside is UNSET else inside
    return None if given is UNSET else given


async def wanted_of(
    context: Context, connection: AsyncConnection, body: AhaNew, project: Project | None
) -> Wanted:
    """The connection that a new integration is. Raises 422."""
    service = option(body, "service_name")
    if not isinstance(service, str):
        raise invalid(FieldError("service_name", f"This field is needed; {_there_are(context)}."))
    system, name = _known(context, service)
    given = replace(
        body.integration, service_name=service, integration_version=option(body, "integration_version")
    )
    place = None if project is None else project.id
    wanted = Wanted(name=name, system=system, enabled=False, project_id=place)
    if given.template_id:
        wanted = await _like(context.caller, connection, wanted, int(given.template_id))
    return replace(wanted, **given_of(context, given), attributes=kept_of(context, wanted, given))


async def _like(caller: Caller, connection: AsyncConnection, wanted: Wanted, template_id: int) -> Wanted:
    """The same, set up like another; whether its credential may be used is checked with all else."""
    template = await connections.get(connection, template_id)
    if template is None or not caller.sees(template.project_id):
        raise invalid(FieldError("template_id", f"There is no integration {template_id}."))
    if template.system != wanted.system:
        wrong = f"Integration {template_id} is of {template.system}, and this one of {wanted.system}."
        raise invalid(FieldError("template_id", wrong))
    stored = as_stored(template)
    copied = ("url", "credential_id", "params", "streams", "frequency", "timezone")
    return replace(wanted, **{name: getattr(stored, name) for name in copied})


def given_of(context: Context, given: AhaWanted) -> dict[str, object]:
    """What an integration says of a connection.

    Clients that send back what they got send the address of the integration as its `url`: it says nothing.
    """
    names = ("name", "enabled", "url", "params", "streams", "frequency", "timezone")
    values = {name: getattr(given, name) for name in names if getattr(given, name) is not UNSET}
    if isinstance(given.url, str) and given.url.startswith(f"{base_of(context)}/integrations/"):
        del values["url"]
    if given.credential_id is not UNSET:
        values["credential_id"] = None if given.credential_id is None else int(given.credential_id)
    return values


def kept_of(context: Context, stored: Wanted, given: AhaWanted) -> dict[str, object]:
    """The attributes with what this document has beyond ours. Raises 422."""
    mine = stored.attributes.get(AHA)
    kept: dict[str, object] = dict(mine) if isinstance(mine, dict) else {}
    if isinstance(given.service_name, str):
        system, _ = _known(context, given.service_name)
        if system != stored.system:
            wrong = f"This is an integration of {stored.system}; make a new one for {given.service_name}."
            raise invalid(FieldError("service_name", wrong))
        kept["service_name"] = given.service_name
    version = given.integration_version
    if version is not UNSET and version is not None:
        if str(version) not in ("1", "2"):
            raise invalid(FieldError("integration_version", f"There is no version {version}: give 1 or 2."))
        kept["integration_version"] = int(version)
    return {**stored.attributes, AHA: kept}


def _known(context: Context, service: str) -> tuple[str, str]:
    """Our system, and a name, for a service: of the table, or one with an adapter. Raises 422."""
    if service in SERVICES:
        return SERVICES[service]
    if service in context.remotes.adapters:
        return service, service.replace("_", " ").capitalize()
    raise invalid(FieldError("service_name", f"There is no service {service[:50]}; {_there_are(context)}."))


def _there_are(context: Context) -> str:
    return f"there are {', '.join(sorted({*SERVICES, *context.remotes.adapters}))}"


def service_of(system: str, canonical: str | None, attributes: Mapping[str, Any]) -> str:
    """The name that was sent, or one that fits a connection that was made elsewhere."""
    kept = attributes.get(AHA, {}).get("service_name")
    if isinstance(kept, str):
        return kept
    if system != "azure":
        return system
    host = urlsplit(canonical or "https://dev.azure.com").hostname or ""
    return "vsts" if host == "dev.azure.com" or host.endswith(".visualstudio.com") else "tfs"


def base_of(context: Context) -> str:
    """Where this API is, without a slash at the end."""
    return context.public_url.rstrip("/")
