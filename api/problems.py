"""Errors as RFC 9457 problem documents, and the one place where an exception becomes one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store.database import DatabaseLostError

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 5

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The response that a handler has begun to stream: no other can follow it.
STARTED = web.RequestKey("started", web.StreamResponse)


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field. `field` is a path such as `params.jql`."""

    field: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document of RFC 9457: `detail` says what happened and what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()


class ProblemError(Exception):
    """Ends a request with a problem. `headers` go with the answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


Wording = Callable[[ProblemError], web.Response]


def invalid(*errors: FieldError) -> ProblemError:
    """422, naming each field that is wrong."""
    return ProblemError(422, " ".join(f"{e.field}: {e.message}" for e in errors), errors)


def not_found(what: str, which: object) -> ProblemError:
    return ProblemError(404, f"There is no {what} {which}.")


def problem_response(error: ProblemError) -> web.Response:
    title = HTTPStatus(error.status).phrase
    document = ProblemDocument("about:blank", title, error.status, error.detail, error.errors)
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(document),
        content_type=CONTENT_TYPE,
        headers=error.headers,
    )


#: How the route that was asked words its problems, where not as a problem document.
WORDING: web.RequestKey[Wording] = web.RequestKey("wording")


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong in a request is answered with a problem, never with a traceback."""
    try:
        return await handler(request)
    except ProblemError as e:
        return _answer(request, e)
    except web.HTTPException as e:
        return _answer(request, _of_router(request, e))
    except IntegrityError:
        return _answer(request, ProblemError(409, "Something this refers to changed meanwhile; try again."))
    except (DatabaseLostError, OperationalError, InterfaceError, PoolTimeoutError) as e:
        log.warning("api.database_unavailable", path=request.path, error=_cause(e))
        return _answer(request, _unavailable())
    except Exception:
        # The last resort of a server: a defect in one request is logged with its traceback, once.
        log.exception("api.failed", method=request.method, path=request.path)
        return _answer(request, ProblemError(500, "This is a defect in Tidegate; its log has the details."))


def _answer(request: web.Request, error: ProblemError) -> web.StreamResponse:
    started: web.StreamResponse | None = request.get(STARTED)
    if started is None:
        word: Wording = request.get(WORDING, problem_response)
        return word(error)
    # The head is out: cutting the line is the only way left to say that this is not all.
    if request.transport is not None:
        request.transport.abort()
    return started


def _of_router(request: web.Request, e: web.HTTPException) -> ProblemError:
    match e.status:
        case 404:
            detail = f"There is nothing at {request.path}."
        case 405:
            detail = f"{request.path} does not take {request.method}; it takes {e.headers['Allow']}."
        case 413:
            detail = "The body is larger than 1 MiB."
        case _:
            detail = e.reason
    headers = {name: e.headers[name] for name in ("Allow",) if name in e.headers}
    return ProblemError(e.status, detail, headers=headers)


def _unavailable() -> ProblemError:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return ProblemError(503, "The database does not answer at the moment; try again.", headers=headers)


def _cause(e: BaseException) -> str:
    # The statement and its parameters stay out of the log.
    return str(e.orig if isinstance(e, DBAPIError) else e)
