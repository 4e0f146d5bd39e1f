"""The endpoints of a Jira Cloud site that are used here, each answer checked for what it must hold."""

from collections.abc import Collection, Sequence
from functools import partial

from msgspec import Raw, Struct

from adapters.base import AdapterError, NotFound, QueryRejected, TooLarge, Unavailable, Unreadable
from adapters.http import Http, Reply, decode
from adapters.jira.answers import judge
from adapters.jira.jql import Malformed, without_order

API = "/rest/api/3"

#: Everything an issue has. No `expand`: rendered HTML, histories and possible transitions are not part of
#: the record, cost much, and are cut short in searches anyway.
_FIELDS = ("*all",)
_PAGE = 100
_BULK = 100


class Myself(Struct, rename="camel"):
    """Who the credential belongs to. `time_zone` is the one in which Jira reads dates in its queries."""

    account_id: str | None = None
    display_name: str | None = None
    email_address: str | None = None
    time_zone: str | None = None


class ServerInfo(Struct, rename="camel"):
    """What runs there. Cloud always says `Cloud`; documented examples leave the type out."""

    version: str
    deployment_type: str = "Cloud"


class Found(Struct, rename="camel"):
    """A page of search results, the issues still as sent."""

    issues: list[Raw]
    is_last: bool | None = None
    next_page_token: str | None = None

    def following(self) -> str | None:
        """The token of the next page; None if this is the last one. Raises `Unreadable`."""
        if self.is_last:
            return None
        if self.is_last is False and not self.next_page_token:
            raise Unreadable("Jira says that more pages follow, but gives no token for the next.")
        return self.next_page_token or None


class _Filter(Struct):
    jql: str


class _Count(Struct):
    count: int


class _Identified(Struct):
    id: str | int


class _Bulk(Struct, rename="camel"):
    issues: list[_Identified]
    issue_errors: list[Raw] = []


class Site:
    """One Jira Cloud site, asked with one credential. All methods raise `AdapterError` only."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._judge = partial(judge, anonymous=http.anonymous)
        self._size = _PAGE

    async def myself(self) -> Myself:
        """Whose credential this is. Unlike searching, this fails for a refused credential."""
        me = decode(await self._http.get(f"{API}/myself", judge=self._judge), Myself)
        if not (me.account_id or me.display_name or me.email_address):
            raise Unreadable("Jira does not say who we are.")
        return me

    async def server_info(self) -> ServerInfo:
        """What runs there; this path is the same on Jira Cloud and Data Center."""
        return decode(await self._http.get("/rest/api/2/serverInfo", judge=self._judge), ServerInfo)

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

        reply = await self._http.get(f"{API}/filter/{number}", judge=missing)
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

    async def search(
        self, jql: str, token: str | None = None, reconcile: Sequence[str] = ()
    ) -> tuple[Reply, Found]:
        """One page of issues with all fields: 100, or fewer where so many were too large for one answer.

        Jira searches an index that lags; `reconcile` are ids whose present state it is to use instead.
        """
        while True:
            body: dict[str, object] = {"jql": jql, "maxResults": self._size, "fields": _FIELDS}
            if token:
                body["nextPageToken"] = token
            if reconcile:
                body["reconcileIssues"] = [int(key) for key in reconcile]
            try:
                reply = await self._http.post(f"{API}/search/jql", body, judge=self._judge)
                return reply, decode(reply, Found)
            except TooLarge:
                if self._size == 1:
                    raise
                self._size //= 2

    async def count(self, jql: str) -> int:
        """About how many issues match."""
        reply = await self._http.post(f"{API}/search/approximate-count", {"jql": jql}, judge=self._judge)
        return decode(reply, _Count).count

    async def visible(self, keys: Collection[str]) -> set[str]:
        """Which of these ids this account may see, whatever filter they are in; at most 100."""
        body = {"issueIdsOrKeys": sorted(keys)[:_BULK], "fields": ["id"]}
        found = decode(await self._http.post(f"{API}/issue/bulkfetch", body, judge=self._judge), _Bulk)
        if found.issue_errors:
            raise Unavailable("Jira could not look up some issues at the moment.")
        return {str(issue.id) for issue in found.issues}

    async def id_of(self, key: str) -> str | None:
        """The id of an issue named by its present or an earlier key, None if there is none for us."""
        try:
            reply = await self._http.get(f"{API}/issue/{key}", {"fields": "id"}, judge=self._judge)
        except NotFound:
            return None
        return str(decode(reply, _Identified).id)


def is_cloud(info: ServerInfo) -> bool:
    return info.deployment_type.casefold() == "cloud"
