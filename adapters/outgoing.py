"""Handing a message over to an address that somebody named: one POST, with the client's guard and limits."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from yarl import URL

from adapters.auth import Anonymous
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, LocalBudget, Meter, Reply, Session

#: Of an answer no more than this is read, and what follows is nobody's business.
LIMITS = Limits(connect=5.0, read=15.0, total=15.0, body=64 * 1024, cut=True)
LONGEST_URL = 2000

#: Posts a body with headers to a URL. Whatever is answered is the reply; raises `AdapterError` for none.
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Reply]]


def poster(
    session: Session,
    guard: AddressGuard,
    clock: Callable[[], datetime],
    proxy: str | None = None,
    limits: Limits = LIMITS,
) -> Post:
    """Posts on a session. No redirect is followed, no credential sent, and no budget shared with remotes."""

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        to = URL(url)
        http = Http(session, url, Anonymous(), LocalBudget(clock), limits, clock, Meter(), proxy, guard)
        return await http.hand_over(to.raw_path_qs, body, headers)

    return post


def unfit(url: str, guard: AddressGuard) -> str | None:
    """Why nothing is sent to this URL; None if it may be. No name is looked up: that is for the guard."""
    try:
        to = URL(url)
        host = to.raw_host
    except ValueError:
        return "This is not a URL."
    if to.scheme not in ("http", "https") or not host:
        return "Give the whole URL, like https://hooks.example.com/tidegate."
    if len(url) > LONGEST_URL:
        return f"This is longer than {LONGEST_URL} characters."
    if to.user is not None or to.password is not None or to.raw_fragment:
        return "Leave user name, password and fragment out; the signature proves who sends."
    if not url.isprintable() or " " in url:
        return "This holds a space or another character that no URL has."
    if not guard.admits(host):
        return (
            "This is a private or special address, which is not allowed here. "
            "Private networks must be listed in TIDEGATE_ALLOW_NETWORKS."
        )
    return None
