"""Routes as data: what each takes, answers and permits; and how a request becomes a typed call."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import fields, replace
from multidict import MultiMapping

from api.access import Caller, Permission, key_in, require, require_account
from api.context import Context
from api.etags import Precondition, Versioned, if_match, none_match, tag
from api.idempotency import HEADER, once
from api.problems import WORDING, FieldError, ProblemError, Wording, invalid, not_found
from api.shapes import Nothing

B = TypeVar("B", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)
T = TypeVar("T")

CONTEXT = web.AppKey("context", Context)
JSON = "application/json"
_LARGEST_ID = 2**63 - 1


class Call(msgspec.Struct, Generic[B, Q], frozen=True):
    """One request, understood: for what, with which body and query. Its context knows who asks."""

    context: Context
    request: web.Request
    body: B
    query: Q

    @property
    def caller(self) -> Caller:
        return self.context.caller

    def id(self, what: str) -> int:
        """The id in the path. Raises 404 for what cannot be one; `what` names the kind."""
        text = self.request.match_info["id"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not 0 < number <= _LARGEST_ID:
            raise not_found(what, text)
        return number

    @property
    def precondition(self) -> Precondition:
        """What `If-Match` asks for, to be checked in the transaction that changes something."""
        return if_match(_header(self.request, "If-Match"))


class Header(msgspec.Struct, frozen=True):
    """A header that a route takes, as it is described; its handler reads and checks it."""

    name: str
    description: str
    type: Any = str


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What a document of another product has otherwise than Tidegate's own API.

    `word` makes the answer of a problem, a JSON body of the type `problem`; `statuses` are its statuses
    where they differ, by Tidegate's. Parameters that it does not know are passed over, of one that is
    given several times the last counts, and paths that end with a slash are served without it, too.
    """

    name: str
    word: Wording
    problem: type[msgspec.Struct]
    statuses: Mapping[int, int] = {}


class Route(msgspec.Struct, Generic[B, Q], frozen=True, kw_only=True):
    """One method of one path. The types are those of the API's description.

    `permission` is None where no key is needed. Only with `by_project` are keys taken that are limited to
    projects: the handler then shows each caller its own. A handler gives a value of the type `answer`, or
    the response itself. `media` are the types that the answer may have.

    With `idempotent` an Idempotency-Key is taken. With `tagged` answers have an ETag: the handler gives
    them `Versioned`, and checks the precondition of a call that changes something. What follows describes:
    `problems` are those that the rest does not tell of, by status; `names` the types of what stands in the
    path, if it is not an id; `example` a body; `made` the path of the list that what is made is added to;
    `raw` the types of a body that the handler reads itself. A route of another product's document has its
    `dialect`.
    """

    method: str
    path: str
    summary: str
    permission: Permission | None
    handler: Callable[[Call[B, Q]], Awaitable[object]]
    body: type[B]
    query: type[Q]
    answer: Any = None
    status: int = 200
    media: tuple[str, ...] = (JSON,)
    by_project: bool = False
    idempotent: bool = False
    tagged: bool = False
    headers: tuple[Header, ...] = ()
    problems: Mapping[int, str] = {}
    names: Mapping[str, Any] = {}
    example: Mapping[str, Any] | None = None
    made: str | None = None
    raw: tuple[str, ...] = ()
    dialect: Dialect | None = None

    @property
    def name(self) -> str:
        """What the operation is called: the module of its handler, and the handler."""
        return f"{self.handler.__module__.rpartition('.')[2]}_{self.handler.__name__}"


def path_names(path: str) -> list[str]:
    """The names of what stands in braces in a path."""
    return re.findall(r"\{(\w+)", path)


def add_routes(app: web.Application, routes: Iterable[Route[Any, Any]]) -> None:
    """Serve these. What is no id is none of a thing, so that other words may stand in its place."""
    for route in routes:
        handler = _handler(route)
        path = route.path if "id" in route.names else route.path.replace("{id}", "{id:[0-9]+}")
        for each in dict.fromkeys((path, path.rstrip("/") or path)):
            app.router.add_route(route.method, each, handler)
            if route.method == "GET" and JSON in route.media:
                app.router.add_route("HEAD", each, handler)


def _handler(route: Route[Any, Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        if route.dialect is not None:
            request[WORDING] = route.dialect.word
        if route.permission is not None:
            caller = await authenticated(context, request)
            require(caller, route.permission)
            if not route.by_project:
                require_account(caller)
            context = replace(context, caller=caller)
        query = _query(request.query, route.query, tolerant=route.dialect is not None)
        body = await _body(request, route.body)

        async def run(context: Context) -> web.StreamResponse:
            answer = await route.handler(Call(context, request, body, query))
            return answer if isinstance(answer, web.StreamResponse) else _response(route, request, answer)

        key = request.headers.get(HEADER) if route.idempotent else None
        if key is None:
            return await run(context)
        return await once(context, key, (route.method, request.path, query, body), run)

    return handler


async def authenticated(context: Context, request: web.Request) -> Caller:
    """Who asks, by the key in the headers. Raises 401 without a right one, 429 for too many wrong ones."""
    key, address = key_in(request.headers), request.remote or ""
    return await context.keyring.caller(context.database, context.admin_key, key, address)


def _response(route: Route[Any, Any], request: web.Request, answer: object) -> web.Response:
    """An answer as JSON; 204 has none. Answers are not for caches: they hold what a key may see."""
    headers = {"Cache-Control": "no-store"}
    if route.status == 204:
        return web.Response(status=204, headers=headers)
    value: Any = answer.answer if isinstance(answer, Versioned) else answer
    body = msgspec.json.encode(value)
    if isinstance(answer, Versioned):
        headers["ETag"] = tag(answer.version, body)
        reads = request.method in ("GET", "HEAD")
        if reads and none_match(_header(request, "If-None-Match"), headers["ETag"]):
            return web.Response(status=304, headers=headers)
    if route.made is not None:
        headers["Location"] = f"{route.made}/{value.id}"
    return web.Response(status=route.status, body=body, content_type=JSON, headers=headers)


def _header(request: web.Request, name: str) -> str | None:
    """A header that is a list; it may stand in several lines."""
    lines = request.headers.getall(name, ())
    return ", ".join(lines) if lines else None


async def _body(request: web.Request, wanted: type[B]) -> B:
    """The body as its struct. 400 for what is not JSON, 422 for what does not fit; none is `{}`."""
    if issubclass(wanted, Nothing):
        return wanted()
    raw = await request.read()
    try:
        return msgspec.json.decode(raw or b"{}", type=wanted)
    except msgspec.ValidationError as e:
        raise invalid(field_error(e)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ProblemError(400, f"The body is not JSON: {e}.") from None
    except RecursionError:
        raise ProblemError(400, "The body is nested too deeply.") from None


def _query(given: MultiMapping[str], wanted: type[Q], *, tolerant: bool) -> Q:
    """The query as its struct. 422 for ill-fitting parameters; unless `tolerant` for unknown ones, too."""
    if tolerant:
        known = {field.encode_name for field in fields(wanted)}
        return converted({name: given.getall(name)[-1] for name in given if name in known}, wanted)
    for name in given:
        if len(given.getall(name)) > 1:
            raise invalid(FieldError(name, "This parameter may be given once."))
    query = converted(dict(given), wanted)
    for field in fields(wanted):
        # A text that was read as null, where null means that nothing was given.
        if field.name in given and field.default is None and getattr(query, field.name) is None:
            raise invalid(FieldError(field.encode_name, "Leave this out, or give it a value."))
    return query


def converted(values: Mapping[str, object], wanted: type[T]) -> T:
    """Texts as the fields of a struct. Raises 422 naming the field."""
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as e:
        raise invalid(field_error(e)) from None


def field_error(e: msgspec.ValidationError) -> FieldError:
    """The field that msgspec complains of, as a path, and the complaint without it."""
    message, _, path = str(e).partition(" - at `$")
    field = path.removesuffix("`").lstrip(".")
    for opening in ("Object contains unknown field `", "Object missing required field `"):
        if message.startswith(opening):
            name = message.removeprefix(opening).removesuffix("`")
            field = f"{field}.{name}" if field else name
            message = "There is no such field." if "unknown" in opening else "This field is needed."
    return FieldError(field or "body", message)
