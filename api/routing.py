"""Routes as data: what each takes, answers and permits; and how a request becomes a typed call."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import MultiMapping

from api.access import Caller, Permission, key_in, require, require_account
from api.context import Context
from api.problems import FieldError, ProblemError, invalid, not_found
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


class Route(msgspec.Struct, Generic[B, Q], frozen=True, kw_only=True):
    """One method of one path. The types are those of the API's description.

    `permission` is None where no key is needed. Only with `by_project` are keys taken that are limited to
    projects: the handler then shows each caller its own. A handler gives a value of the type `answer`, or
    the response itself. `media` are the types that the answer may have.
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


def add_routes(app: web.Application, routes: Iterable[Route[Any, Any]]) -> None:
    for route in routes:
        handler = _handler(route)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET" and JSON in route.media:
            app.router.add_route("HEAD", route.path, handler)


def _handler(route: Route[Any, Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        if route.permission is not None:
            caller = await authenticated(context, request)
            require(caller, route.permission)
            if not route.by_project:
                require_account(caller)
            context = replace(context, caller=caller)
        query = _query(request.query, route.query)
        body = await _body(request, route.body)
        answer = await route.handler(Call(context, request, body, query))
        if isinstance(answer, web.StreamResponse):
            return answer
        return json_response(answer, route.status)

    return handler


async def authenticated(context: Context, request: web.Request) -> Caller:
    """Who asks, by the key in the headers. Raises 401 without a right one, 429 for too many wrong ones."""
    key, address = key_in(request.headers), request.remote or ""
    return await context.keyring.caller(context.database, context.admin_key, key, address)


def json_response(answer: object, status: int = 200) -> web.Response:
    """An answer as JSON; 204 has none. Answers are not for caches: they hold what a key may see."""
    headers = {"Cache-Control": "no-store"}
    if status == 204:
        return web.Response(status=204, headers=headers)
    return web.Response(
        status=status, body=msgspec.json.encode(answer), content_type="application/json", headers=headers
    )


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


def _query(given: MultiMapping[str], wanted: type[Q]) -> Q:
    """The query as its struct. 422 for unknown, repeated and ill-fitting parameters."""
    for name in given:
        if len(given.getall(name)) > 1:
            raise invalid(FieldError(name, "This parameter may be given once."))
    return converted(dict(given), wanted)


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
