"""Who is signed in at the page: a sealed token in a cookie, which holds no key and is checked each time."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from api.access import ADMIN, Caller
from api.context import Context
from api.problems import ProblemError
from config.secret import Secret
from config.vault import VaultError

LASTS = timedelta(hours=12)
COOKIE = "tidegate"
#: The same where every request is encrypted: browsers then take it from this host alone.
SECURE_COOKIE = "__Host-tidegate"
PLACE = "page/session"
TOKEN_FIELD = "token"  # noqa: S105 - the name of a field
TOKEN_HEADER = "X-Page-Token"  # noqa: S105 - the name of a header


class Session(msgspec.Struct, frozen=True):
    """A sign-in. Of the administrator's key it knows a fingerprint, of any other the id."""

    key_id: int | None
    fingerprint: str
    expires_at: datetime
    #: What forms of this session carry, so that no other page can send them.
    token: str

    def __repr__(self) -> str:
        return "Session(...)"


def begin(context: Context, caller: Caller) -> Session:
    """The session of a caller who has just shown a key."""
    mark = "" if caller.key_id is not None else _fingerprint(context.admin_key)
    return Session(caller.key_id, mark, datetime.now(UTC) + LASTS, secrets.token_urlsafe(18))


def give(context: Context, response: web.StreamResponse, session: Session) -> None:
    """Let the browser keep the session; no script can read it, and no other site can use it."""
    sealed = context.vault.seal(msgspec.json.encode(session).decode(), PLACE)
    seconds = int(LASTS.total_seconds())
    response.set_cookie(
        cookie_name(context),
        sealed,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_secure(context),
        max_age=seconds,
    )


def take(context: Context, response: web.StreamResponse) -> None:
    """Let the browser forget the session."""
    response.del_cookie(
        cookie_name(context), path="/", httponly=True, samesite="Strict", secure=_secure(context)
    )


def cookie_name(context: Context) -> str:
    return SECURE_COOKIE if _secure(context) else COOKIE


def session_of(context: Context, request: web.Request) -> Session | None:
    """The session of a request, if it has one that is whole and not over."""
    sealed = request.cookies.get(cookie_name(context))
    if not sealed:
        return None
    try:
        opened = context.vault.open(sealed, PLACE, secret=False)
        session = msgspec.json.decode(opened, type=Session)
    except (VaultError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return session if session.expires_at > datetime.now(UTC) else None


async def caller_of(context: Context, session: Session) -> Caller | None:
    """Who is signed in; None once the key is revoked, or the administrator's is another."""
    if session.key_id is not None:
        return await context.keyring.again(context.database, session.key_id)
    known = hmac.compare_digest(session.fingerprint, _fingerprint(context.admin_key))
    return ADMIN if known else None


def check_origin(context: Context, request: web.Request) -> None:
    """Raises 403 for what was sent from the page of another site."""
    origin = urlsplit(request.headers.get("Origin", ""))
    own = {request.host, urlsplit(context.public_url).netloc}
    if not origin.netloc or origin.netloc not in own:
        raise ProblemError(
            403,
            "This was not sent from a page of this Tidegate. Behind a proxy, TIDEGATE_PUBLIC_URL must be the "
            "address that browsers use.",
        )


def check_token(session: Session, given: str) -> None:
    """Raises 403 for a form that is not of this session."""
    if not hmac.compare_digest(session.token.encode(), given.encode("utf-8", "surrogateescape")):
        raise ProblemError(403, "This form belongs to another session; load the page again and repeat it.")


def _secure(context: Context) -> bool:
    return urlsplit(context.public_url).scheme == "https"


def _fingerprint(key: Secret) -> str:
    text = b"tidegate page session\n" + key.reveal().encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]
