"""One organisation or collection: where it is, how it is asked, and as whom."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from adapters.auth import Auth
from adapters.azure import credential
from adapters.azure.credential import Need
from adapters.azure.errors import Unaccepted, VersionRefused, judge
from adapters.azure.identity import NOBODY, Identity
from adapters.azure.urls import SERVICES, segment
from adapters.base import AdapterError, AuthFailed, Forbidden, NotFound, QueryRejected, Target
from adapters.http import Http
from adapters.reply import Reply, decode

#: The newest version that is no preview, and what to go down by where a server does not say what it knows.
NEWEST = "7.1"
_OLDER = ("7.0", "6.0", "5.1", "5.0")
PROJECTS_PATH = "/_apis/projects"
#: Only projects that can be read: one being created, deleted or in the bin has no readable content, and
#: leaving the list is what makes a census ask about it. Stated, because a server's default may differ.
PROJECTS_PARAMS = {"stateFilter": "wellFormed", "$top": "100"}
#: A bad token is told to our face, not by a redirect to a sign-in page (reported by users).
_HEADERS = {"X-TFS-FedAuthRedirect": "Suppress"}
_NOT_FOUND_HINT = (
    "Give the address of the organization or collection, or of a project in it, like "
    "https://dev.azure.com/company or https://tfs.company.com/tfs/DefaultCollection/project. What the "
    "account may not see looks the same."
)

Ask = Callable[[str], Awaitable[Reply]]
Method = Literal["POST", "PUT", "DELETE"]


class Place(msgspec.Struct, frozen=True):
    """Where requests go: `root` is put before every path; `project` is the one that is read, if one."""

    root: str = ""
    project: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """What lists come in. The member must be there: its absence is never an empty list."""

    value: list[msgspec.Raw]


class Site:
    """Requests below the place that a connection names; what was learned is kept for one slice.

    Every request names the newest API version that the remote has not refused, `version`.
    """

    def __init__(self, http: Http, target: Target) -> None:
        self._http = http
        self._tail = target.options.get("tail")
        self._place = None if self._tail else Place(project=target.options.get("project"))
        self._asking = asyncio.Lock()
        self._opening: Reply | None = None
        self.version = NEWEST
        #: Whether this is known to be Azure DevOps Services: by its address, or because it says so.
        self.hosted = self.host == SERVICES
        # Scopes that our credential lacks, and whose it is: asked once, not for each project.
        self._lacking: dict[str, str] = {}
        # Whether an earlier answer proved who we are, and whether answers here name whoever asks.
        self._known = self._naming = False

    @property
    def host(self) -> str:
        return urlsplit(self._http.host).netloc

    @property
    def auth(self) -> Auth:
        return self._http.auth

    @property
    def product(self) -> str:
        """What the remote is, as far as it has been asked."""
        return "Azure DevOps Services" if self.hosted else f"Azure DevOps Server (REST API {self.version})"

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
            reply = await self._get(whole, PROJECTS_PATH, PROJECTS_PARAMS, credential.PROJECTS)
            place, refused = Place(root=whole), f"{reply.summary}, and not with JSON."
        except VersionRefused:
            raise
        except (NotFound, QueryRejected) as e:
            reply, refused = None, e.message
        if reply is None or not reply.is_json:
            place = Place(project=tail)
            try:
                reply = await self._get("", f"{PROJECTS_PATH}/{segment(tail)}", None, credential.PROJECTS)
            except (NotFound, QueryRejected):
                raise NotFound(
                    f"{tail} is neither an organisation or collection of {self.host} nor a project there: "
                    f"{refused}",
                    _NOT_FOUND_HINT,
                ) from None
        self._opening = reply
        return place

    def take_opening(self) -> Reply | None:
        """The answer that the probe got, for whoever needs the same request first."""
        reply, self._opening = self._opening, None
        return reply

    async def get(self, path: str, params: Mapping[str, str] | None, need: Need) -> Reply:
        """The answer of `path` below the organisation, with every refusal named; `need` is what it takes."""
        place = await self.place()
        return await self._get(place.root, path, params, need)

    async def post(self, path: str, body: object, params: Mapping[str, str] | None, need: Need) -> Reply:
        """Like `get`, for questions too long for a URL. Proves our identity with the answer."""
        root = (await self.place()).root

        async def ask(version: str) -> Reply:
            asking = {"api-version": version, **(params or {})}
            return await self._http.post(root + path, body, asking, _HEADERS, self._judge)

        reply = await self._answer(ask, root, need)
        await self.prove(reply)
        return reply

    async def change(self, method: Method, path: str, body: object, need: Need) -> Reply:
        """Make, change or remove something. Never taken for a question that may be asked again."""
        root = (await self.place()).root

        async def ask(version: str) -> Reply:
            return await self._http.change(method, f"{root}{path}?api-version={version}", body, self._judge)

        return await self._answer(ask, root, need)

    async def _get(self, root: str, path: str, params: Mapping[str, str] | None, need: Need) -> Reply:
        async def ask(version: str) -> Reply:
            asking = {"api-version": version, **(params or {})}
            return await self._http.get(root + path, asking, _HEADERS, self._judge)

        return await self._answer(ask, root, need)

    async def _answer(self, ask: Ask, root: str, need: Need) -> Reply:
        """What `ask` brings, in a version that the remote knows. A refusal says what would help."""
        try:
            return await self._negotiated(ask)
        except (AuthFailed, Forbidden) as e:
            refusal = e
        raise await self._explained(refusal, root, need)

    async def _negotiated(self, ask: Ask) -> Reply:
        """An older server refuses our version and names its own, which is then kept to."""
        while True:
            version = self.version
            try:
                return await ask(version)
            except VersionRefused as e:
                # Another request may have learned it meanwhile.
                if self.version == version:
                    self.version = _older(e, version)

    async def _explained(self, refusal: AdapterError, root: str, need: Need) -> AdapterError:
        """The refusal with a hint for this kind of credential.

        A token without the scope gets the same bare 401 as a wrong one (reported by users). Who we are is
        then asked, which takes no scope; not with a password: a second failure may lock its account.
        """
        if isinstance(refusal, Unaccepted) and not self._http.anonymous:
            if need.scope not in self._lacking and not credential.has_password(self.auth):
                name = await self._named(root)
                self._lacking |= {need.scope: name} if name is not None else {}
            if name := self._lacking.get(need.scope):
                message = f"{self.host} knows {name}, but does not let this credential read {need.what}."
                return Forbidden(message, credential.needed_hint(self.auth, need))
        if refusal.hint == Forbidden.default_hint:
            return Forbidden(refusal.message, credential.needed_hint(self.auth, need))
        return self._hinted(refusal)

    def _hinted(self, refusal: AdapterError) -> AdapterError:
        if refusal.hint == AuthFailed.default_hint:
            return AuthFailed(refusal.message, self.refused_hint)
        return refusal

    async def _named(self, root: str) -> str | None:
        """Who the remote says we are; None where it knows nobody by this credential."""
        try:
            identity = await self._identity(root)
        except (AuthFailed, Forbidden):
            return None
        return identity.name if identity and not identity.anonymous else None

    @property
    def refused_hint(self) -> str:
        """What to do about our credential, which was not accepted."""
        return credential.refused_hint(self.auth, self.now(), hosted=self.hosted)

    def _judge(self, reply: Reply) -> AdapterError | None:
        # Seen in recorded answers: Azure DevOps Services names its own host in the realm of a refusal.
        if "visualstudio.com" in " ".join(reply.headers.getall("WWW-Authenticate", [])):
            self.hosted = True
        return judge(reply)

    async def prove(self, reply: Reply, *, private: bool = False, anew: bool = False) -> None:
        """Raise `AuthFailed` if our credential was silently taken for nobody's.

        An organisation with public projects answers a bad token with its public part and status 200.
        Who is named in X-VSS-UserData is known, and so is who sees something `private`; else we ask, once,
        unless answers that named us do so no more. With `anew` no earlier answer speaks for this one: what
        rests on something being absent from it would be wrong in the public part.
        """
        # Who goes anonymously claims nothing that would have to be proved.
        if self._http.anonymous:
            return
        user = reply.headers.get("X-VSS-UserData", "").partition(":")[0]
        if user and user not in NOBODY:
            self._known = self._naming = True
            return
        if not private and (anew or self._naming or not self._known):
            await self.vouch()
        self._known = True

    async def vouch(self) -> None:
        """Ask who we are. Raises `AuthFailed` if that is nobody, though we have a credential."""
        identity = None if self._http.anonymous else await self.identity()
        if identity and identity.anonymous:
            raise AuthFailed(
                f"{self.host} does not know this credential and shows only what is public.",
                self.refused_hint,
            )

    async def identity(self) -> Identity | None:
        """Who we are there; None where the remote does not tell."""
        return await self._identity((await self.place()).root)

    async def _identity(self, root: str) -> Identity | None:
        async def ask(version: str) -> Reply:
            # Connection data never left preview; without the suffix it is refused (reported by users).
            asking = {"api-version": f"{version}-preview", "connectOptions": "none"}
            return await self._http.get(f"{root}/_apis/connectionData", asking, _HEADERS, self._judge)

        try:
            reply = await self._negotiated(ask)
        except (NotFound, QueryRejected):
            return None
        except AuthFailed as e:
            refusal = e
        else:
            identity = decode(reply, Identity)
            self.hosted = self.hosted or identity.hosted
            return identity
        raise self._hinted(refusal)


def _older(refused: VersionRefused, version: str) -> str:
    """The version to go on with after `version` was refused. Raises `refused` if there is none we speak."""
    known = refused.newest
    if known is None or _order(known) >= _order(version):
        known = next((older for older in _OLDER if _order(older) < _order(version)), None)
    if known is None or _order(known) < _order(_OLDER[-1]):
        raise refused
    return known


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
