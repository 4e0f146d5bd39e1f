"""A Jira site of either product: what the adapter needs of it, and the endpoints that both have."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import ClassVar

from msgspec import Struct

from adapters.base import AdapterError, Forbidden, NotFound, Page, QueryRejected, Record, Rejected, Unreadable
from adapters.http import Http, Judge, Reply, decode
from adapters.jira.answers import Product, judging
from adapters.jira.census import Listed
from adapters.jira.embedded import EMBEDDED, HISTORY, Kind, Listing, Part
from adapters.jira.issue import Issue
from adapters.jira.jql import Malformed, without_order
from adapters.jira.question import Question
from adapters.jira.verdict import Verdict
from adapters.jira.walk import Cursor

#: Everything an issue has. Nothing is expanded but the history, where that is wanted: rendered HTML and
#: possible transitions are not part of the record, and cost much.
FIELDS = ("*all",)
PAGE = 100

_INFO = "/rest/api/2/serverInfo"

_LEADING = re.compile(r"\d+")
# Versions of Jira Cloud have counted from 1000 on ever since they were told apart from the server's.
_FIRST_CLOUD_VERSION = 1000
_FIRST_ALL_CENTER = 10


class Myself(Struct, rename="camel"):
    """Who the credential belongs to. `time_zone` is the one in which Jira reads dates in its queries.

    Cloud has an `account_id`; Data Center has `key` and `name` instead (recorded answers of both).
    """

    account_id: str | None = None
    key: str | None = None
    name: str | None = None
    display_name: str | None = None
    email_address: str | None = None
    time_zone: str | None = None

    @property
    def identity(self) -> str:
        """What stays the same for the life of the account."""
        return self.account_id or self.key or self.name or ""

    @property
    def shown(self) -> str | None:
        return self.display_name or self.name or self.email_address or self.account_id


class ServerInfo(Struct, rename="camel"):
    """What runs there. Old servers and documented examples leave the type out."""

    version: str
    deployment_type: str | None = None

    @property
    def is_cloud(self) -> bool:
        if self.deployment_type:
            return self.deployment_type.casefold() == "cloud"
        return self._leading >= _FIRST_CLOUD_VERSION

    @property
    def product(self) -> Product:
        return "cloud" if self.is_cloud else "datacenter"

    @property
    def shown(self) -> str:
        """`Jira Cloud 1001.0.0`, `Jira Data Center 9.12.2`, `Jira Server 8.20.1`.

        Since version 10 there is no Server, though some still say so.
        """
        if self.is_cloud:
            return f"Jira Cloud {self.version}"
        named = (self.deployment_type or "").replace(" ", "").casefold() == "datacenter"
        center = named or self._leading >= _FIRST_ALL_CENTER
        return f"Jira {'Data Center' if center else 'Server'} {self.version}"

    @property
    def _leading(self) -> int:
        leading = _LEADING.match(self.version)
        return int(leading[0]) if leading else 0


class _Filter(Struct):
    jql: str


class _Identified(Struct):
    id: str | int


class _AbsentError(NotFound):
    """Jira's own word that there is no such issue for us."""


class Site(ABC):
    """One site with one credential. All methods raise `AdapterError` only."""

    product: ClassVar[Product]
    api: ClassVar[str]

    def __init__(self, http: Http, streams: Collection[str] = EMBEDDED) -> None:
        """`streams` are those embedded in issues that are wanted."""
        self.streams = streams
        self._http = http
        self._judge: Judge = judging(http, self.product)

    @abstractmethod
    def walk(self, question: Question, cursor: Cursor) -> AsyncGenerator[Page, None]:
        """Pages from where the cursor stands to the end that Jira tells."""

    @abstractmethod
    async def named(self, restriction: str, ids: Sequence[str]) -> tuple[list[Issue], list[Rejected]]:
        """The present issues of a query among at most 50 ids.

        Raises `QueryRejected` where Jira refuses a query that names an issue which is not there.
        """

    @abstractmethod
    async def visible(self, ids: Collection[str]) -> set[str]:
        """Which of at most 50 ids this account may see, whatever query they are in."""

    @abstractmethod
    async def judged(self, restriction: str, records: Sequence[Record], unseen: Collection[str]) -> Verdict:
        """What became of the `unseen` ones of at most 50 ids, of which the query gave only `records`."""

    @abstractmethod
    async def listed(self, jql: str, place: str | None) -> Listed:
        """Ids of a query, as many as one answer has; `place` is what the page before gave."""

    @abstractmethod
    async def count(self, jql: str) -> int:
        """How many issues match: exactly on Data Center, about on Cloud."""

    @abstractmethod
    async def complete_histories(self, parts: Sequence[Part]) -> None:
        """Add what a search cut, or left out, of these histories."""

    @property
    def wants_histories(self) -> bool:
        return HISTORY.stream.name in self.streams

    async def listing(self, kind: Kind, issue_id: str, at: int, size: int) -> Listing:
        """A page of an issue's comments or worklogs, oldest first."""
        path = f"{self.api}/issue/{issue_id}/{kind.path}"
        asked = {"startAt": str(at), "maxResults": str(size)}
        found = decode(await self._http.get(path, asked, judge=self._judge), Listing)
        if kind.entries(found) is None:
            raise Unreadable(f"Jira was asked for the {kind.stream.name} of an issue and gave none.")
        return found

    async def myself(self) -> Myself:
        """Whose credential this is. Unlike searching, this fails for a refused credential."""
        me = decode(await self._http.get(f"{self.api}/myself", judge=self._judge), Myself)
        if not me.shown:
            raise Unreadable("Jira does not say who we are.")
        return me

    async def filter_jql(self, number: str) -> str:
        """The restriction of a saved filter, without its ORDER BY.

        Raises `NotFound` where the filter is missing or not shared: Jira answers 400 for both.
        """

        def missing(reply: Reply) -> AdapterError | None:
            error = self._judge(reply)
            if isinstance(error, QueryRejected) or (isinstance(error, NotFound) and reply.is_json):
                return NotFound(
                    f"The filter {number} does not exist, or is not shared with this account.",
                    "Check the number, and share the filter with the account of the credential.",
                )
            return error

        reply = await self._http.get(f"{self.api}/filter/{number}", judge=missing)
        try:
            jql = without_order(decode(reply, _Filter).jql)
        except Malformed as e:
            raise Unreadable(f"The query of filter {number} cannot be understood: {e}.") from None
        if not jql:
            raise QueryRejected(
                f"The filter {number} restricts nothing, and Jira refuses to search everything.",
                "Add a restriction to the filter, like: project = TG",
            )
        return jql

    async def id_of(self, key: str) -> str | None:
        """The id of an issue by id or by its present or an earlier key; None if there is none for us."""
        reply = await self.one(key, "id")
        return str(decode(reply, _Identified).id) if reply else None

    async def one(self, key: str, field: str) -> Reply | None:
        """An issue with one field; None if there is none for us.

        Some versions say 403 where others say 404. Only Jira itself knows: a page of a proxy is no answer.
        """

        def absent(reply: Reply) -> AdapterError | None:
            error = self._judge(reply)
            if isinstance(error, Forbidden | NotFound) and reply.is_json:
                return _AbsentError(error.message)
            return error

        try:
            return await self._http.get(f"{self.api}/issue/{key}", {"fields": field}, judge=absent)
        except _AbsentError:
            return None


async def server_info(http: Http) -> ServerInfo:
    """What runs there: this path is the same on both products, and open to strangers.

    A credential that is refused here fails here: each further request with it could lock the account.
    """
    unknown = judging(http, None)
    reply = await http.get(_INFO, judge=lambda reply: unknown(reply) if reply.status != 200 else None)
    if not reply.is_json and (error := unknown(reply)):
        raise error
    info = decode(reply, ServerInfo)
    if error := judging(http, info.product)(reply):
        raise error
    return info
