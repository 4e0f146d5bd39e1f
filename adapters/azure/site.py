"""One organisation or collection: where it is, how it is asked, and as whom."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from adapters.azure.errors import judge
from adapters.azure.urls import segment
from adapters.base import AuthFailed, NotFound, QueryRejected, Target
from adapters.http import Http
from adapters.reply import Reply, decode

API_VERSION = "7.1"
#: Connection data never left preview; without the suffix it is refused (reported by users).
_PREVIEW = "7.1-preview"
PROJECTS_PATH = "/_apis/projects"
#: Only projects that can be read: one being created, deleted or in the bin has no readable content, and
#: leaving the list is what makes a census ask about it. Stated, because a server's default may differ.
PROJECTS_PARAMS = {"stateFilter": "wellFormed", "$top": "100"}
#: A bad token is told to our face, not by a redirect to a sign-in page (reported by users).
_HEADERS = {"X-TFS-FedAuthRedirect": "Suppress"}
#: Who an anonymous caller is to Azure DevOps (seen in answers quoted by users).
_NOBODY = ("00000000-0000-0000-0000-000000000000", "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa")


class Place(msgspec.Struct, frozen=True):
    """Where requests go: `root` is put before every path; `project` is the one that is read, if one."""

    root: str = ""
    project: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """What lists come in. The member must be there: its absence is never an empty list."""

    value: list[msgspec.Raw]


class _Property(msgspec.Struct, frozen=True):
    text: object = msgspec.field(name="$value", default=None)


class _Properties(msgspec.Struct, frozen=True):
    account: _Property = msgspec.field(name="Account", default=_Property())


class _User(msgspec.Struct, frozen=True, rename="camel"):
    id: str = ""
    descriptor: str = ""
    provider_display_name: str | None = None
    custom_display_name: str | None = None
    properties: _Properties = _Properties()


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """Who the remote takes us for, and what kind of installation it says it is."""

    authenticated_user: _User
    deployment_type: str = ""

    @property
    def anonymous(self) -> bool:
        user = self.authenticated_user
        return user.id in ("", *_NOBODY) or user.descriptor.startswith("System:PublicAccess")

    @property
    def name(self) -> str:
        if self.anonymous:
            return "anonymous"
        user = self.authenticated_user
        name = user.custom_display_name or user.provider_display_name or user.id
        account = user.properties.account.text
        return f"{name} ({account})" if isinstance(account, str) and account != name else name


class Site:
    """Requests below the place that a connection names; what was learned is kept for one slice."""

    def __init__(self, http: Http, target: Target) -> None:
        self._http = http
        self._tail = target.options.get("tail")
        self._place = None if self._tail else Place(project=target.options.get("project"))
        self._asking = asyncio.Lock()
        self._opening: Reply | None = None
        # Who goes anonymously claims nothing that would have to be proved.
        self._known = http.anonymous

    @property
    def host(self) -> str:
        return urlsplit(self._http.host).netloc

    @property
    def anonymous(self) -> bool:
        return self._http.anonymous

    def now(self) -> datetime:
        """The time by the clock of the sync, for an answer that needed no request."""
        return self._http.clock()

    async def place(self) -> Place:
        """Where this connection is; asks once where the URL left it open."""
        async with self._asking:
            if self._place is None:
                self._place = await self._probe(self._tail or "")
            return self._place

    async def _probe(self, tail: str) -> Place:
        """Is the last path segment the collection, or a project in the one before?

        Both questions are the first request of the projects feed, so the answer is kept for it.
        """
        whole = f"/{segment(tail)}"
        try:
            reply = await self._get(whole + PROJECTS_PATH, PROJECTS_PARAMS)
            place, refused = Place(root=whole), f"{reply.summary}, and not with JSON."
        except (NotFound, QueryRejected) as e:
            reply, refused = None, e.message
        if reply is None or not reply.is_json:
            place = Place(project=tail)
            try:
                reply = await self._get(f"{PROJECTS_PATH}/{segment(tail)}")
            except (NotFound, QueryRejected):
                raise NotFound(
                    f"{tail} is neither an organisation or collection of {self.host} nor a project there: "
                    f"{refused}"
                ) from None
        self._opening = reply
        return place

    def take_opening(self) -> Reply | None:
        """The answer that the probe got, for whoever needs the same request first."""
        reply, self._opening = self._opening, None
        return reply

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Reply:
        """The answer of `path` below the organisation, with every refusal named."""
        place = await self.place()
        return await self._get(place.root + path, params)

    async def post(self, path: str, body: object, params: Mapping[str, str] | None = None) -> Reply:
        """Like `get`, for questions too long for a URL. Proves our identity with the answer."""
        place = await self.place()
        asking = {"api-version": API_VERSION, **(params or {})}
        reply = await self._http.post(place.root + path, body, asking, _HEADERS, judge)
        await self.prove(reply)
        return reply

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> Reply:
        return await self._http.get(path, {"api-version": API_VERSION, **(params or {})}, _HEADERS, judge)

    async def prove(self, reply: Reply, *, private: bool = False) -> None:
        """Raise `AuthFailed` if our credential was silently taken for nobody's.

        An organisation with public projects answers a bad token with its public part and status 200.
        Who is named in X-VSS-UserData is known, and so is who sees something `private`; else we ask.
        """
        if self._known:
            return
        user = reply.headers.get("X-VSS-UserData", "").partition(":")[0]
        if not private and (not user or user in _NOBODY):
            identity = await self.identity()
            if identity and identity.anonymous:
                raise AuthFailed(
                    f"{self.host} does not know this credential and shows only what is public.",
                    "The token may be expired, revoked, or of another organisation: give a valid one.",
                )
        self._known = True

    async def identity(self) -> Identity | None:
        """Who we are there; None where the remote does not tell."""
        place = await self.place()
        asking = {"api-version": _PREVIEW, "connectOptions": "none"}
        try:
            reply = await self._http.get(f"{place.root}/_apis/connectionData", asking, _HEADERS, judge)
        except (NotFound, QueryRejected):
            return None
        return decode(reply, Identity)
