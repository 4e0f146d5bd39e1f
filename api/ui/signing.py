"""Signing in with an API key, and out."""

from urllib.parse import urlsplit

from aiohttp import web

from api.problems import ProblemError
from api.routing import CONTEXT
from api.ui import session as sessions
from api.ui.front import Route, Visit, rendered, root


async def form(request: web.Request) -> web.Response:
    """Where a key is asked for; who is signed in already goes on."""
    context = request.app[CONTEXT]
    session = sessions.session_of(context, request)
    if session is not None and await sessions.caller_of(context, session) is not None:
        return web.Response(status=303, headers={"Location": _wanted(request, request.query.get("next", ""))})
    return rendered(request, "sign_in.html", next=request.query.get("next", ""), problem=None)


async def sign_in(request: web.Request) -> web.Response:
    """Begin a session with a right key. A wrong one counts as it does at the API."""
    context = request.app[CONTEXT]
    given = await request.post()
    key, wanted = str(given.get("key", "")).strip(), str(given.get("next", ""))
    try:
        if not key:
            raise ProblemError(401, "Paste an API key.")
        caller = await context.keyring.caller(context.database, context.admin_key, key, request.remote or "")
    except ProblemError as e:
        answer = rendered(request, "sign_in.html", status=e.status, next=wanted, problem=e.detail)
        answer.headers.update({name: e.headers[name] for name in ("Retry-After",) if name in e.headers})
        return answer
    response = web.Response(status=303, headers={"Location": _wanted(request, wanted)})
    sessions.give(context, response, sessions.begin(context, caller))
    return response


async def sign_out(visit: Visit) -> web.Response:
    response = web.Response(status=303, headers={"Location": root(visit.request) + "sign-in"})
    sessions.take(visit.context, response)
    return response


async def signed_in(_: Visit) -> web.Response:
    """For scripts: whether the session still holds; 401 where it does not."""
    return web.Response(status=204)


def _wanted(request: web.Request, path: str) -> str:
    """Where to go on: a path of this server, whatever was asked for."""
    parts = urlsplit(path)
    own = path.startswith("/") and not parts.netloc and "\\" not in path and path.isprintable()
    return root(request) + (path.lstrip("/") if own else "")


ROUTES = (
    Route(method="GET", path="/sign-in", open=form),
    Route(method="POST", path="/sign-in", open=sign_in),
    Route(method="POST", path="/sign-out", view=sign_out, by_project=True),
    Route(method="GET", path="/ui/session", view=signed_in, by_project=True),
)
