"""Questions to one Jenkins controller, and the proof of who answers and whom it takes us for."""

from datetime import datetime

import msgspec

from adapters.auth import Basic
from adapters.base import AdapterError, AuthFailed, Forbidden, NotFound, Unreadable
from adapters.http import Http, Reply, decode
from adapters.jenkins.refusals import USE_BASIC, Asker, LoginAsked, LoginOnTheWay, NotFoundUnsigned
from adapters.jenkins.urls import item_path


class _WhoAmI(msgspec.Struct):
    name: str
    anonymous: bool


class _Me(msgspec.Struct):
    id: str


class _Security(msgspec.Struct):
    use_security: bool = msgspec.field(default=True, name="useSecurity")


class _Name(msgspec.Struct):
    name: str


class _Names(msgspec.Struct):
    """`jobs` is missing from what is no container."""

    name: str | None = None
    jobs: list[_Name] | None = None


class Controller:
    """Asks below one root. Every method raises `AdapterError` only."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._asker = Asker(anonymous=http.anonymous, basic=isinstance(http.auth, Basic))
        self._account: str | None = None
        self._is_jenkins = False

    @property
    def base(self) -> str:
        return self._http.base

    def now(self) -> datetime:
        return self._http.clock()

    async def ask(self, path: str, tree: str) -> Reply:
        """The JSON of what is at `path` (percent-encoded), cut to `tree`; it is Jenkins that answers."""
        try:
            reply = await self._get(path, tree)
        except NotFoundUnsigned as e:
            await self._prove_jenkins(path, e)
            raise self._asker.not_found(self.base + path) from None
        except LoginAsked as e:
            if not path or not await self._is_known():
                raise AuthFailed(e.message, e.hint) from None
            raise self._asker.forbidden(
                self.base + path, self._account or "", "the permission Job/Read is missing", LoginOnTheWay
            ) from None
        self._is_jenkins = True
        return reply

    async def prove(self, *, only_if_silent: bool = False) -> str:
        """The account that Jenkins takes us for. Raises `AuthFailed` if it took no notice of a credential.

        A wrong user or API token is always refused, but a bearer token that no plugin understands is
        ignored, and then an open Jenkins shows the little that everyone sees. `only_if_silent` asks in
        that case alone.
        """
        if only_if_silent and (self._asker.anonymous or isinstance(self._http.auth, Basic)):
            return ""
        if self._account is None:
            self._account = await self._who()
        return self._account

    async def vouch(self) -> None:
        """Ask once more whom Jenkins takes us for. Raises `AuthFailed` for nobody, or another than before.

        What Jenkins does not show to us counts for nothing unless it still knows us after that. Anonymous
        visitors are known by nothing.
        """
        if self._asker.anonymous:
            return
        before, self._account = self._account, None
        now = await self.prove()
        if before is not None and now != before:
            raise AuthFailed(f"Jenkins took us for {before} and then for {now}.", USE_BASIC)

    async def names(self, folder: str) -> set[str]:
        """The names of what a folder ("" for the controller) shows to us; a job shows none.

        Raises `NotFound` if the folder is not there.
        """
        reply = await self.ask(item_path(folder), "name,jobs[name]")
        found = decode(reply, _Names)
        if found.jobs is None and found.name is None:
            raise Unreadable(f"{reply.summary} with neither a job nor a folder.")
        return {job.name for job in found.jobs or ()}

    async def lists(self, full_name: str) -> bool:
        """Whether the folder of an item still names it; a folder that is refused is no proof against it."""
        folder, _, name = full_name.rpartition("/")
        try:
            return name in await self.names(folder)
        except NotFound:
            return False
        except Forbidden:
            return True

    async def _get(self, path: str, tree: str) -> Reply:
        return await self._http.get(f"{path}/api/json", {"tree": tree}, judge=self._asker.judge)

    async def _prove_jenkins(self, path: str, refusal: NotFound) -> None:
        """Only a Jenkins may say that something is not there. Asked once."""
        if self._is_jenkins:
            return
        try:
            if path:
                await self._get("", "mode")
                self._is_jenkins = True
                return
        except NotFoundUnsigned:
            pass
        raise self._asker.no_jenkins(refusal.message.partition(" without")[0]) from None

    async def _is_known(self) -> bool:
        """Whether Jenkins knows us although one of its pages asks for a login."""
        try:
            who = decode(await self._get("/whoAmI", "name,anonymous"), _WhoAmI)
        except AdapterError:
            return False
        if not who.anonymous:
            self._account = who.name
        return not who.anonymous

    async def _who(self) -> str:
        try:
            who = decode(await self.ask("/whoAmI", "name,anonymous"), _WhoAmI)
        except NotFound:
            return await self._me()
        if who.anonymous and not self._asker.anonymous and await self._is_secured():
            raise AuthFailed("Jenkins takes us for anonymous although a credential was sent.", USE_BASIC)
        return who.name

    async def _me(self) -> str:
        """For controllers without the page `whoAmI`; anonymous visitors have no page `me`."""
        try:
            return decode(await self.ask("/me", "id"), _Me).id
        except (NotFound, Forbidden) as refusal:
            if self._asker.anonymous:
                return "anonymous"
            if isinstance(refusal, Forbidden):
                raise
            # There may be nothing at all below this root.
            await self.ask("", "mode")
            raise AuthFailed("Jenkins does not say who we are.", USE_BASIC) from None

    async def _is_secured(self) -> bool:
        """Without security everyone is anonymous and may do all, so that a credential means nothing."""
        return decode(await self.ask("", "useSecurity"), _Security).use_security


def version(reply: Reply) -> str | None:
    """The release that answered, as `2.462.1`."""
    return reply.headers.get("X-Jenkins")
