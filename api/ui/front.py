"""The front door of the page: its routes as data, who is signed in, and the policy of every answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec.structs import replace

from api.access import Caller, Permission, require, require_account
from api.context import Context
from api.problems import WORDING, ProblemError, Wording, problem_response
from api.routing import CONTEXT, Call
from api.ui import session as sessions
from api.ui.looks import Looks
from api.ui.session import Session

HTML = "text/html"
#: Scripts, styles, pictures and data of this very server, and nothing else.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    # Another site learns nothing; forms of this one must still say where they come from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: What scripts of the page send along, so that they are told of problems as programs are.
SCRIPTED = "X-Page-Script"
LOOKS = web.AppKey("looks", Looks)


class Visit(msgspec.Struct, frozen=True):
    """A request of somebody who is signed in. Its context knows who."""

    context: Context
    request: web.Request
    session: Session

    @property
    def caller(self) -> Caller:
        return self.context.caller

    @property
    def writes(self) -> bool:
        return self.caller.may("write")

    @property
    def scripted(self) -> bool:
        """Whether a script of the page asks for a part of it."""
        return SCRIPTED in self.request.headers

    def call(self, body: Any, query: Any) -> Call[Any, Any]:
        """The same request as a handler of the API takes it."""
        return Call(self.context, self.request, body, query)

    def page(self, template: str, *, status: int = 200, **values: object) -> web.Response:
        """A page, or a part of one."""
        return rendered(self.request, template, status=status, visit=self, **values)


View = Callable[[Visit], Awaitable[web.StreamResponse]]
Open = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path of the page. They are for browsers, and no part of the API's description.

    Only with `by_project` are keys taken that are limited to projects. An `open` one needs no sign-in.
    """

    method: str
    path: str
    view: View | None = None
    open: Open | None = None
    permission: Permission = "read"
    by_project: bool = False


def add_views(app: web.Application, routes: Iterable[Route]) -> None:
    """Serve these."""
    app[LOOKS] = Looks()
    for route in routes:
        path = route.path.replace("{id}", "{id:[0-9]+}")
        app.router.add_route(route.method, path, _handler(route))


def _handler(route: Route) -> Open:
    async def handler(request: web.Request) -> web.StreamResponse:
        request[WORDING] = _wording(request)
        context = request.app[CONTEXT]
        if request.method != "GET":
            sessions.check_origin(context, request)
        if route.open is not None:
            return _guarded(await route.open(request))
        assert route.view is not None
        session = sessions.session_of(context, request)
        caller = await sessions.caller_of(context, session) if session is not None else None
        if session is None or caller is None:
            return _guarded(_sign_in_first(request))
        require(caller, route.permission)
        if not route.by_project:
            require_account(caller)
        if request.method != "GET":
            sessions.check_token(session, await _token(request))
        return _guarded(await route.view(Visit(replace(context, caller=caller), request, session)))

    return handler


async def _token(request: web.Request) -> str:
    """The token of the session, as a script or a form sends it."""
    header = request.headers.get(sessions.TOKEN_HEADER)
    return header if header is not None else str((await request.post()).get(sessions.TOKEN_FIELD, ""))


def _sign_in_first(request: web.Request) -> web.Response:
    """The way to the sign-in, and back from there to where it was wanted to go."""
    if SCRIPTED in request.headers or request.method != "GET":
        raise ProblemError(401, "You are not signed in any more; load the page again.")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A link from elsewhere comes without the cookie; asked for once more from here it has it.
        return rendered(request, "again.html")
    wanted = quote(request.path_qs, safe="/")
    to = "sign-in" if request.path == "/" else f"sign-in?next={wanted}"
    return web.Response(status=303, headers={"Location": root(request) + to})


def _guarded(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


def rendered(request: web.Request, template: str, *, status: int = 200, **values: object) -> web.Response:
    """A template as an answer."""
    text = request.app[LOOKS].render(template, root=root(request), **values)
    return web.Response(status=status, text=text, content_type=HTML, headers=HEADERS)


def root(request: web.Request) -> str:
    """The way from a page to the root of the server, so that a proxy may serve it below any path."""
    return "../" * (request.path.count("/") - 1) or "./"


def go(visit: Visit, path: str) -> web.Response:
    """To another page, after something was done."""
    return web.Response(status=303, headers={"Location": root(visit.request) + path, **HEADERS})


def _wording(request: web.Request) -> Wording:
    """Problems as a page; to scripts as documents, as the API words them."""

    def word(error: ProblemError) -> web.Response:
        if SCRIPTED in request.headers:
            response = problem_response(error)
            response.headers.update(HEADERS)
            return response
        response = rendered(request, "problem.html", status=error.status, error=error)
        response.headers.update(error.headers)
        return response

    return word
