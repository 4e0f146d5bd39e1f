"""Tidegate's own service hook subscriptions at Azure DevOps: made, looked after, and removed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec

from adapters.azure.credential import HOOKS
from adapters.azure.project_list import ProjectList
from adapters.azure.site import Envelope, Site
from adapters.azure.urls import segment
from adapters.base import AdapterError, Forbidden, NotFound, QueryRejected, Registered
from adapters.reply import decode

#: Each kind of event takes a subscription of its own (vendor docs).
EVENTS = (
    "workitem.created",
    "workitem.updated",
    "workitem.deleted",
    "workitem.restored",
    "workitem.commented",
    "build.complete",
)
_PATH = "/_apis/hooks/subscriptions"
_CONSUMER, _ACTION = "webHooks", "httpRequest"
_USER = "tidegate"
_OFF = "disabled"


class _Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """One as it is listed; passwords are masked there, the URL is not (documented examples)."""

    id: str
    event_type: str = ""
    consumer_action_id: str = ""
    status: str | None = None
    publisher_inputs: Mapping[str, object] = {}
    consumer_inputs: Mapping[str, object] = {}

    @property
    def url(self) -> str:
        url = self.consumer_inputs.get("url")
        return url if isinstance(url, str) and self.consumer_action_id == _ACTION else ""

    @property
    def project(self) -> str:
        project = self.publisher_inputs.get("projectId")
        return project.lower() if isinstance(project, str) else ""


_subscription = msgspec.json.Decoder(_Subscription)


class Subscriptions:
    """All that call one URL are one webhook to us; its id is made of that URL, which it does not reveal."""

    def __init__(self, site: Site, projects: ProjectList) -> None:
        self._site = site
        self._projects = projects

    async def make(self, url: str, secret: str | None) -> Registered:
        """Have events sent to `url`: for the one project, else for the whole organisation.

        Who may not do that for the organisation may still for each project. On a refusal nothing new stays.
        Raises `Forbidden` if neither is allowed.
        """
        there = [one for one in await self._listed() if one.url == url]
        place = await self._site.place()
        if place.project is None:
            try:
                await self._settle(url, secret, there, [""])
                return _registered(url)
            except (Forbidden, QueryRejected):
                pass
        projects = [project.id for project in await self._projects.all()]
        if not projects:
            raise NotFound(f"{self._site.host} shows no project whose events could be sent.")
        await self._settle(url, secret, there, projects)
        return _registered(url)

    async def keep(self, id: str) -> Registered:
        """Raises `NotFound` if one is missing, or was switched off: made again, all are there and on."""
        mine = [one for one in await self._listed() if one.url and _id(one.url) == id]
        live = {(one.project, one.event_type) for one in mine if not (one.status or "").startswith(_OFF)}
        if {("", kind) for kind in EVENTS} <= live:
            return Registered(id)
        wanted = {(project.id, kind) for project in await self._projects.all() for kind in EVENTS}
        if not wanted or wanted - live:
            raise NotFound(
                f"Of our service hook subscriptions at {self._site.host} some are missing or disabled.",
                "Register the webhook again; Azure DevOps disables subscriptions that it cannot deliver.",
            )
        return Registered(id)

    async def remove(self, id: str) -> None:
        for one in await self._listed():
            if one.url and _id(one.url) == id:
                await self._drop(one.id)

    async def _settle(
        self, url: str, secret: str | None, there: Sequence[_Subscription], projects: Sequence[str]
    ) -> None:
        """Make each that is missing, bring the others up to date, and drop what is there twice."""
        left = list(there)
        made: list[str] = []
        try:
            for project in projects:
                for kind in EVENTS:
                    body = _body(url, secret, kind, project)
                    known = [one for one in left if (one.event_type, one.project) == (kind, project)]
                    if known:
                        await self._site.change("PUT", f"{_PATH}/{segment(known[0].id)}", body, HOOKS)
                        left.remove(known[0])
                    else:
                        reply = await self._site.change("POST", _PATH, body, HOOKS)
                        made.append(decode(reply, _Subscription).id)
        except AdapterError:
            with suppress(AdapterError):
                for one in made:
                    await self._drop(one)
            raise
        for superfluous in left:
            await self._drop(superfluous.id)

    async def _drop(self, id: str) -> None:
        with suppress(NotFound):
            await self._site.change("DELETE", f"{_PATH}/{segment(id)}", None, HOOKS)

    async def _listed(self) -> list[_Subscription]:
        """Subscriptions of the kind we make. Ours are among those that we may see."""
        reply = await self._site.get(_PATH, {"publisherId": "tfs", "consumerId": _CONSUMER}, HOOKS)
        await self._site.prove(reply)
        return [one for raw in decode(reply, Envelope).value if (one := _legible(raw))]


def _body(url: str, secret: str | None, kind: str, project: str) -> dict[str, object]:
    consumer: dict[str, str] = {
        "url": url,
        # Of an update only the whole resource tells its work item for sure.
        "resourceDetailsToSend": "all",
        "messagesToSend": "none",
        "detailedMessagesToSend": "none",
    }
    if secret is not None and urlsplit(url).scheme == "https":
        consumer |= {"basicAuthUsername": _USER, "basicAuthPassword": secret}
    elif secret is not None:
        # A password is taken for https only (vendor docs).
        consumer |= {"httpHeaders": f"X-Tidegate-Token: {secret}"}
    return {
        "publisherId": "tfs",
        "eventType": kind,
        "resourceVersion": "1.0",
        "consumerId": _CONSUMER,
        "consumerActionId": _ACTION,
        "publisherInputs": {"projectId": project} if project else {},
        "consumerInputs": consumer,
        "status": "enabled",
    }


def _legible(raw: msgspec.Raw) -> _Subscription | None:
    """One of another shape is not ours."""
    try:
        return _subscription.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def _registered(url: str) -> Registered:
    return Registered(_id(url))


def _id(url: str) -> str:
    return sha256(url.encode()).hexdigest()[:32]
