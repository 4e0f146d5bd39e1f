"""The HTTP face of a simulated Azure DevOps organisation."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import msgspec
from aiohttp import web

from tidegate.demo.remotes.azure import wiql
from tidegate.demo.remotes.azure.access import JSON, NOBODY, Access, Throttle, refused, sign_in
from tidegate.demo.remotes.azure.ci_api import CiApi
from tidegate.demo.remotes.azure.hooks import Hooks
from tidegate.demo.remotes.azure.model import Item, Organisation, Project, no_item, project_members
from tidegate.demo.remotes.azure.render import Person, Refusal, guid, no_project, no_route, time_text
from tidegate.demo.remotes.base import Clock, Remote

_VERSION = re.compile(r"(\d+)\.(\d)(-preview(?:\.\d)?)?")
_OLDEST = (1, 0)
_OLD_SERVICES = ".visualstudio.com"


class Asked(msgspec.Struct, frozen=True):
    """A request that was let in: for whom, about which project, with what body."""

    query: Mapping[str, str]
    body: bytes
    caller: Person | None
    project: Project | None
    method: str = "GET"


class Answer(msgspec.Struct, frozen=True):
    body: bytes
    headers: Mapping[str, str] = {}
    status: int = 200


Resource = Callable[[Asked, str], Answer]


class Route(msgspec.Struct, frozen=True):
    """A resource with its methods, and the scope that a token needs for it; connection data takes none
    (reported by users).
    """

    methods: str
    resource: Resource
    scope: str = ""
    organisation_only: bool = False


class AzureDevOps(Remote):
    """Serves `model` below `/{organisation}`, or below `/{above}/{organisation}` as a server of one's own.

    Asked for the hosts of the vendor, which a proxy does, it answers as those: `dev.azure.com/{organisation}`
    and `{organisation}.visualstudio.com`, with or without `/DefaultCollection`. `newest` is the newest
    version of the API it knows. `access` says who is let in, `throttle` how busy the account is, `lag` how
    far queries are behind, `late` how far for single work items. `query_limit` is 20,000 at the vendor. With
    `naming` answers tell who asked.
    """

    def __init__(
        self,
        organisation: str = "company",
        clock: Clock | None = None,
        latency: float = 0.0,
        above: str = "",
        newest: str = "7.1",
        hosted: bool = True,
    ) -> None:
        super().__init__(clock, latency)
        self.model = Organisation(organisation, self.clock.now)
        self.access = Access(self.model, hosted=hosted)
        self.throttle = Throttle()
        self.ci = CiApi(self.model)
        self.hooks = Hooks(self.model)
        self.lag = timedelta()
        self.late: dict[int, timedelta] = {}
        self.naming = True
        self.query_limit = 20_000
        self._above = [part for part in above.split("/") if part]
        self._newest = newest
        self._hosted = hosted
        self._resources: dict[str, Route] = {
            "connectiondata": Route("GET", self._connection_data, organisation_only=True),
            "projects": Route("GET", self._projects, "project", organisation_only=True),
            "wit/wiql": Route("POST", self._wiql, "work"),
            "wit/workitemsbatch": Route("POST", self._batch, "work"),
            "wit/recyclebin": Route("GET", self._recycle_bin, "work"),
            "build/builds": Route("GET", self._builds, "build"),
            "build/definitions": Route("GET", self._definitions, "build"),
            "hooks/subscriptions": Route("GET POST PUT DELETE", self._subscriptions, "work", True),
        }

    @property
    def base(self) -> str:
        """The URL of the organisation or collection on this server."""
        return "/".join([self.url, *map(quote, self._above), quote(self.model.name)])

    async def close(self) -> None:
        await self.hooks.close()
        await super().close()

    def routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = [unquote(part) for part in urlsplit(request.raw_path).path.split("/") if part]
        if parts[:1] == ["_signin"]:
            return sign_in()
        scope = self._below(request.host, parts)
        if scope is None:
            return web.Response(status=404, body=b"<html></html>", content_type="text/html")
        caller, response = self.access.caller(request, self.url)
        # An aiohttp response is a mapping, so an empty one is false.
        if response is None:
            response = self.throttle.blocks(self.clock.now())
        if response is None:
            response = self._answer(request, await request.read(), scope, caller)
        response.headers["ActivityId"] = response.headers["X-VSS-E2EID"] = str(UUID(int=len(self.ledger)))
        response.headers["X-TFS-ProcessId"] = guid("process", self.model.name)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if caller is not None and self.naming:
            # Only on answers to somebody who is known (seen by users).
            response.headers["X-VSS-UserData"] = f"{caller.id}:{caller.mail}"
        return response

    def _below(self, host: str, parts: Sequence[str]) -> Sequence[str] | None:
        """What follows the organisation, or None where that is not ours. Case does not matter."""
        lead = [*self._above, self.model.name]
        if host.endswith(_OLD_SERVICES):
            lead = lead if host.partition(".")[0] != self.model.name else []
            if [part.casefold() for part in parts[:1]] == ["defaultcollection"]:
                parts = parts[1:]
        if [part.casefold() for part in parts[: len(lead)]] != [part.casefold() for part in lead]:
            return None
        return parts[len(lead) :]

    def _answer(
        self, request: web.Request, body: bytes, parts: Sequence[str], caller: Person | None
    ) -> web.Response:
        try:
            answer = self._find(request, body, parts, caller)
        except Refusal as e:
            return refused(e) if e.message else self.access.bare(self.url)
        headers = {"Content-Type": JSON, "Cache-Control": "no-cache", **answer.headers}
        return web.Response(
            status=answer.status, body=answer.body, headers=headers | self.throttle.slows(self.clock.now())
        )

    def _find(self, request: web.Request, body: bytes, parts: Sequence[str], caller: Person | None) -> Answer:
        """The resource that the path names. Its case does not matter (seen in recorded requests)."""
        at = parts.index("_apis") if "_apis" in parts else len(parts)
        scope, rest = parts[:at], parts[at + 1 :]
        path = "/".join(rest).casefold()
        name = next((n for n in self._resources if path == n or path.startswith(f"{n}/")), None)
        route = self._resources[name or "projects"]
        misplaced = len(scope) > 1 or bool(scope and route.organisation_only)
        if name is None or misplaced or request.method not in route.methods.split():
            raise no_route(request.path)
        self._version(request.query.get("api-version", ""), path)
        self.access.admit(request, route.scope)
        project = self._visible(scope[0], caller) if scope else None
        last = rest[-1] if len(rest) > name.count("/") + 1 else ""
        return route.resource(Asked(request.query, body, caller, project, request.method), last)

    def _version(self, version: str, path: str) -> None:
        known = _VERSION.fullmatch(version or "1.0")
        newest = tuple(map(int, self._newest.split(".")))
        if known is None or not _OLDEST <= (int(known[1]), int(known[2])) <= newest:
            # Words as quoted by users.
            raise Refusal(
                400,
                f"The requested REST API version of {version} is out of range for this server. The latest "
                f"REST API version this server supports is {self._newest}.",
                "VssVersionOutOfRangeException",
            )
        if path == "connectiondata" and "preview" not in version:
            # Reported by users: connection data never left preview.
            raise Refusal(
                400,
                f'The requested version "{version}" of the resource is under preview. The -preview flag must '
                "be supplied in the api-version for such requests.",
                "VssInvalidPreviewVersionException",
            )

    def _shown(self, project: Project, caller: Person | None) -> bool:
        member = caller is not None and project.id not in self.model.withheld
        return member or project.visibility == "public"

    def _visible(self, name: str, caller: Person | None) -> Project:
        """A project that is withheld looks like one that does not exist (seen in recorded answers)."""
        project = self.model.project(name)
        if not self._shown(project, caller):
            raise no_project(name)
        return project

    # --- resources

    def _connection_data(self, asked: Asked, _: str) -> Answer:
        if asked.caller is None:
            user: dict[str, object] = {
                "id": NOBODY,
                "descriptor": f"System:PublicAccess;{NOBODY}",
                "providerDisplayName": "Anonymous",
            }
        else:
            user = {
                "id": asked.caller.id,
                "descriptor": f"Microsoft.IdentityModel.Claims.ClaimsIdentity;{guid()}\\{asked.caller.mail}",
                "providerDisplayName": asked.caller.name,
                "isActive": True,
                "properties": {"Account": {"$type": "System.String", "$value": asked.caller.mail}},
            }
        data = {
            "authenticatedUser": user,
            "authorizedUser": user,
            "instanceId": guid(self.model.name),
            "deploymentType": "hosted" if self._hosted else "onPremises",
        }
        return Answer(msgspec.json.encode(data))

    def _projects(self, asked: Asked, name: str) -> Answer:
        if name:
            return Answer(self._project_json(self._visible(name, asked.caller), alone=True))
        state = asked.query.get("stateFilter", "wellFormed").casefold()
        shown = [
            project
            for project in self.model.projects.values()
            if state in ("all", project.state.casefold()) and self._shown(project, asked.caller)
        ]
        start = int(asked.query.get("continuationToken") or asked.query.get("$skip") or 0)
        end = start + int(asked.query.get("$top") or 100)
        # The token is a count and comes in a header; no header is the last page (reported by users).
        headers = {"x-ms-continuationtoken": str(end)} if end < len(shown) else {}
        return Answer(_listed([self._project_json(project) for project in shown[start:end]]), headers)

    def _project_json(self, project: Project, *, alone: bool = False) -> bytes:
        """One asked for by itself has its team and links as well (seen in recorded answers)."""
        members = project_members(self.model.name, project)
        if alone:
            team = {"id": guid(project.id, "team"), "name": f"{project.name} Team"}
            members |= {"_links": {"self": {"href": members["url"]}}, "defaultTeam": team}
        return msgspec.json.encode(members)

    def _builds(self, asked: Asked, last: str) -> Answer:
        return (
            _paged(*self.ci.builds(asked.query, asked.project, asked.caller)) if not last else _not_one(last)
        )

    def _definitions(self, asked: Asked, last: str) -> Answer:
        if last:
            return _not_one(last)
        return _paged(*self.ci.definitions(asked.query, asked.project, asked.caller))

    def _subscriptions(self, asked: Asked, last: str) -> Answer:
        status, found = self.hooks.answer(asked.method, last, asked.query, asked.body, asked.caller)
        return Answer(found, status=status)

    def _items(self, caller: Person | None) -> list[Item]:
        items = self.model.items.values()
        if caller is not None:
            return list(items)
        public = {p.id for p in self.model.projects.values() if p.visibility == "public"}
        return [item for item in items if item.project in public]

    def _wiql(self, asked: Asked, _: str) -> Answer:
        text = str(_json(asked.body).get("query", ""))
        precise = asked.query.get("timePrecision", "").casefold() == "true"
        query = wiql.parse(text, asked.project.name if asked.project else None, time_precision=precise)
        found = query.run(self._items(asked.caller), self._indexed)
        # Refused as a whole, not cut; `$top` at or below the limit avoids it (reported by users).
        found = found[: int(asked.query.get("$top") or len(found))]
        if len(found) > self.query_limit:
            raise Refusal(
                400,
                "VS402337: The number of work items returned exceeds the size limit of "
                f"{self.query_limit}. Change the query to return fewer items.",
                "WorkItemTrackingQueryResultSizeLimitExceededException",
            )
        # Only ids, whatever is selected; and the time by its own clock (seen in recorded answers).
        answer = {
            "queryType": "flat",
            "queryResultType": "workItem",
            "asOf": time_text(self.clock.now()),
            "columns": [{"referenceName": name} for name in query.columns],
            "workItems": [{"id": item.id, "url": self.model.item_url(item)} for item in found],
        }
        return Answer(msgspec.json.encode(answer))

    def _indexed(self, item: Item) -> datetime | None:
        """How far the index is with an item; None if it is up to date."""
        behind = max(self.lag, self.late.get(item.id, timedelta()))
        return self.clock.now() - behind if behind else None

    def _batch(self, asked: Asked, _: str) -> Answer:
        body = _json(asked.body)
        ids, fields = body.get("ids"), body.get("fields")
        expand = str(body.get("$expand", "none")).casefold()
        if not isinstance(ids, list) or not ids:
            raise Refusal(400, "TF400898: The ids are missing.", "VssPropertyValidationException")
        if len(ids) > 200:
            # Words of the refusal as reported by users.
            raise Refusal(
                400,
                f"VS403474: You requested {len(ids)} work items which exceeds the limit of 200. Reduce the "
                "number of work items in your request and try again.",
                "WorkItemBatchSizeLimitExceededException",
            )
        if fields and expand not in ("none", "links"):
            raise Refusal(
                400,
                "The expand parameter can not be used with the fields parameter.",
                "ConflictingParameters",
            )
        shown = {item.id for item in self._items(asked.caller)} if asked.caller is None else None
        omit = str(body.get("errorPolicy", "fail")).casefold() == "omit"
        parts = []
        for item_id in ids:
            item = self.model.readable(item_id) if shown is None or item_id in shown else None
            if item is None and not omit:
                raise no_item(item_id)
            parts.append(self._item_json(item, fields, expand in ("relations", "all")) if item else b"null")
        return Answer(_listed(parts))

    def _item_json(self, item: Item, fields: object, relations: bool) -> bytes:
        if isinstance(fields, list):
            some = {name: value for name, value in item.fields.items() if name in fields}
            content = msgspec.json.encode(some)
        else:
            item.fields_json = item.fields_json or msgspec.json.encode(item.fields)
            content = item.fields_json
        linked = b',"relations":%b' % msgspec.json.encode(item.relations)
        return b'{"id":%d,"rev":%d,"fields":%b%b,"url":"%b"}' % (
            item.id,
            item.rev,
            content,
            linked if relations and item.relations else b"",
            self.model.item_url(item).encode(),
        )

    def _recycle_bin(self, asked: Asked, last: str) -> Answer:
        """By id, by `ids`, or the whole bin of a project (vendor docs)."""
        if last:
            entry = self._binned(int(last), asked)
            if entry is None:
                raise no_item(int(last))
            return Answer(msgspec.json.encode(entry))
        if "ids" in asked.query:
            ids = [int(text) for text in asked.query["ids"].split(",")]
            entries = [
                self._binned(item_id, asked)
                or {"id": item_id, "code": 404, "message": no_item(item_id).message}
                for item_id in ids
            ]
            return Answer(_listed([msgspec.json.encode(entry) for entry in entries]))
        found = [self._binned(item.id, asked) for item in self._items(asked.caller)]
        shallow = [{"id": entry["id"], "url": entry["url"]} for entry in found if entry]
        return Answer(_listed([msgspec.json.encode(entry) for entry in shallow]))

    def _binned(self, item_id: int, asked: Asked) -> dict[str, object] | None:
        if asked.caller is None:
            return None
        return self.model.binned(item_id, asked.project)


def _paged(parts: Sequence[bytes], token: str | None) -> Answer:
    """The token of the next page is in a header; no header is the last page (reported by users)."""
    return Answer(_listed(parts), {"x-ms-continuationtoken": token} if token else {})


def _not_one(last: str) -> Answer:
    """Single builds and definitions are not played: nothing here asks for them."""
    raise no_route(last)


def _listed(parts: Sequence[bytes]) -> bytes:
    return b'{"count":%d,"value":[%b]}' % (len(parts), b",".join(parts))


def _json(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        raise Refusal(400, "TF400898: The body is not JSON.", "VssPropertyValidationException") from None
