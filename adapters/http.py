"""The one place where HTTP requests are made and answers become values or `AdapterError`s."""

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver as Names
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from adapters.auth import Anonymous, Auth, Renewable, masked
from adapters.base import (
    AdapterError,
    AuthFailed,
    Blocked,
    TlsFailed,
    TooLarge,
    Unavailable,
    Unreadable,
)
from adapters.budget import Asked, Budget, Lane, LocalBudget, Meter, Place, wait_or_raise
from adapters.guard import AddressBlocked, AddressGuard
from adapters.reply import Reply, decode, error_of, limit_reason, mended, retry_after, strained

__all__ = [
    "Budget",
    "Http",
    "Judge",
    "Lane",
    "Limits",
    "LocalBudget",
    "Meter",
    "Place",
    "Reply",
    "Session",
    "decode",
    "error_of",
    "open_session",
    "origin_of",
    "retry_after",
    "transport_error",
    "utc_now",
    "wait_or_raise",
]

#: What `open_session` gives: for those above, who make no requests of their own.
Session = aiohttp.ClientSession

USER_AGENT = "Tidegate"
_REDIRECTS = 3
_DONE = (200, 201, 202, 204)
_REDIRECTING = (301, 302, 303, 307, 308)
# After a 429 that names no time, the host is left alone for so long, by every worker.
_AFTER_429 = timedelta(seconds=1)


class Limits(msgspec.Struct, frozen=True):
    """What one request may cost. Seconds; bytes are counted after decompression.

    `parallel` is how many requests one host is asked at once at most, over all workers; for records that
    were asked for by key there is one place more. With `cut` what is longer than `body` is cut off there,
    which else is an error.
    """

    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0
    body: int = 16 * 1024 * 1024
    parallel: int = 4
    cut: bool = False


def open_session(
    guard: AddressGuard, ca_file: str | None = None, *, proxied: bool = False, names: Names | None = None
) -> aiohttp.ClientSession:
    """The one session of a process. No cookies, no environment, no credential of its own.

    `ca_file` is trusted besides the system's authorities. With an operator's proxy (`proxied`) only the
    proxy is dialled, which is trusted; `Http` then refuses what the name of the target already tells.
    `names` says what names mean, else the system does; the guard judges whatever it says.
    """
    tls = ssl.create_default_context()
    # Python 3.13 began to refuse private CAs that leave out extensions nobody else asks for.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        tls.load_verify_locations(ca_file)
    connector = aiohttp.TCPConnector(
        ssl=tls,
        socket_factory=None if proxied else guard.socket,
        resolver=names,
        limit=0,
        ttl_dns_cache=30,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        # Not what else happens to be installed: gzip is always at hand and inflated step by step.
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"},
        raise_for_status=False,
        # The policy headers of large sites outgrow the default of 8 KiB.
        max_field_size=64 * 1024,
    )


Judge = Callable[[Reply], AdapterError | None]


class Http:
    """Requests below one base URL with one credential. Every method raises `AdapterError` only."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str,
        auth: Auth,
        budget: Budget,
        limits: Limits,
        clock: Callable[[], datetime],
        meter: Meter,
        proxy: str | None = None,
        guard: AddressGuard | None = None,
        lane: Lane = "bulk",
    ) -> None:
        """`lane` says whether the requests may use the place that is kept for records asked for by key.

        `guard` judges the target's name when a `proxy` is used; without a proxy the session's does.

        Raises `Blocked` for a base that is no http or https URL.
        """
        self._session = session
        self.base = base.rstrip("/")
        self._auth = auth
        self._budget = budget
        self._limits = limits
        self.clock = clock
        self._meter = meter
        self._proxy = proxy
        self._guard = guard or AddressGuard()
        self._lane = lane
        self._origin = origin_of(self.base)
        self.host = str(self._origin)

    @property
    def anonymous(self) -> bool:
        """Whether requests go without a credential, so that there is no identity to prove."""
        return isinstance(self._auth, Anonymous)

    @property
    def auth(self) -> Auth:
        """How requests say who we are: some remotes silently ignore one kind of credential."""
        return self._auth

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        judge: Judge | None = None,
    ) -> Reply:
        """The answer of `base + path`. `path` is percent-encoded by the caller, `params` are not.

        `judge` sees every answer first and may name the error; then any status but 200 is one.
        """
        return await self._ask("GET", path, params, headers, None, judge)

    async def post(
        self,
        path: str,
        body: object,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        judge: Judge | None = None,
    ) -> Reply:
        """Like `get`, for endpoints that read by POST; `body` is sent as JSON."""
        return await self._ask("POST", path, params, headers, msgspec.json.encode(body), judge)

    async def change(
        self,
        method: Literal["POST", "PUT", "DELETE"],
        path: str,
        body: object = None,
        judge: Judge | None = None,
    ) -> Reply:
        """Like `post`, for what is made, changed or removed there; whatever status says done is no error."""
        content = None if body is None else msgspec.json.encode(body)
        return await self._ask(method, path, None, None, content, judge, _DONE)

    async def submit(self, path: str, form: Mapping[str, str], judge: Judge | None = None) -> Reply:
        """Like `post`, with a form instead of JSON, as endpoints for tokens take it."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", path, None, headers, urlencode(form).encode(), judge)

    async def hand_over(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One POST of these very bytes, and whatever is answered, redirects too: none is followed."""
        return await self._send("POST", self._here(path), headers, body, None)

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        judge: Judge | None,
        done: Collection[int] = (200,),
    ) -> Reply:
        query = f"?{urlencode(params, quote_via=quote)}" if params else ""
        url = self._here(urlsplit(self.base).path + path + query)
        for _ in range(_REDIRECTS + 1):
            reply, error = await self._judged(method, url, headers, body, judge)
            if error is None and reply.status in _REDIRECTING:
                to = self._redirected(url, reply)
                if method == "GET":
                    url = to
                    continue
                error = Unreadable(
                    f"{reply.summary}: it redirects a question that is not repeated elsewhere."
                )
            if error is None and reply.status not in done:
                error = error_of(reply)
            if error is not None:
                raise error
            return reply
        raise Unreadable(f"{url.path} redirects more than {_REDIRECTS} times.")

    async def _judged(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        judge: Judge | None,
    ) -> tuple[Reply, AdapterError | None]:
        """The answer and what `judge` says of it; asked once more if the credential could be renewed."""
        for again in (False, True):
            authorization = await self._auth.header()
            reply = await self._send(method, url, headers, body, authorization)
            error = judge(reply) if judge else None
            refused = reply.status == 401 or isinstance(error, AuthFailed)
            if again or not refused or not await self._renewed(authorization):
                break
        return reply, error

    async def _renewed(self, authorization: str | None) -> bool:
        auth = self._auth
        return authorization is not None and isinstance(auth, Renewable) and await auth.renew(authorization)

    def _here(self, path: str) -> URL:
        """A URL of our own origin by construction, whatever `path` is."""
        return URL(f"{self.host}/{path.lstrip('/')}", encoded=True)

    def _redirected(self, url: URL, reply: Reply) -> URL:
        location = reply.headers.get("Location", "")
        try:
            to = url.join(URL(location))
            origin = str(to.origin())
        except ValueError:
            origin = ""
        if not (location and origin):
            raise Unreadable(f"{reply.summary} without a Location that can be followed.")
        if origin != self.host:
            raise Blocked(
                f"{self.host} redirects to {origin}, where the credential does not belong.",
                "Use the URL that the system itself has; if it moved, change the connection's URL.",
            )
        return self._here(to.raw_path_qs)

    async def _send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        authorization: str | None,
    ) -> Reply:
        sending = {"Accept": "application/json"}
        if body is not None:
            sending["Content-Type"] = "application/json"
        sending |= headers or {}
        if authorization:
            sending["Authorization"] = _one_line(authorization)
        started = time.monotonic()
        async with self._budget.slot(self.host, self._limits.parallel, self._lane) as place:
            sent = time.monotonic()
            self._meter.waited += sent - started
            self._meter.requests += 1
            answer = self._exchange(method, url, sending, body)
            if watch := self._meter.watch:
                reply = await watch(Asked(method, str(url), authorization, sent - started), answer)
            else:
                reply = await answer
            place.good = reply.status < 500 and reply.status != 429 and not strained(reply)
        self._meter.bytes += len(reply.body)
        if reply.status == 429 and self._meter.limited:
            self._meter.limited()
        if authorization and reply.status >= 400:
            reply = msgspec.structs.replace(reply, body=masked(reply.body, authorization))
        await self._heed(reply, timedelta(seconds=time.monotonic() - sent))
        return reply

    async def _heed(self, reply: Reply, asked: timedelta) -> None:
        """Pass on to all others what the remote says of how much, and when, it wants to be asked."""
        now = self.clock()
        pause = retry_after(reply, now) or (now + _AFTER_429 if reply.status == 429 else None)
        if pause or strained(reply):
            reason = f"answered {reply.status} {limit_reason(reply)}".rstrip()
            await self._budget.pause(self.host, pause or now, reason, asked)

    async def _exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Reply:
        if self._proxy and not self._guard.admits(self._origin.raw_host or ""):
            raise Blocked(f"{self.host} is a private or special address, which is not allowed here.")
        sent_at = self.clock()
        limits = self._limits
        timeout = aiohttp.ClientTimeout(
            total=limits.total, sock_connect=limits.connect, sock_read=limits.read
        )
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                timeout=timeout,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                content = await self._body(response)
                return Reply(response.status, response.headers, mended(content), str(url), sent_at)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as e:
            failure = transport_error(e, self.host)
        # Raised out here so that aiohttp's error, which carries headers and query, is not attached.
        raise failure

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        most, cut = self._limits.body, self._limits.cut
        chunks, size = [], 0
        if cut or (response.content_length or 0) <= most:
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > most:
                    break
                chunks.append(chunk)
            else:
                return b"".join(chunks)
        response.close()
        if cut:
            return b"".join([*chunks, chunk])[:most]
        raise TooLarge(f"{response.url.path} answered more than {most >> 20} MiB.")


def transport_error(e: Exception, host: str) -> AdapterError:
    """Why no answer came, as the consequence for the sync. Says nothing of headers or query."""
    if isinstance(e, aiohttp.ClientSSLError | ssl.SSLError):
        cause = getattr(e, "os_error", e)
        return TlsFailed(f"{host}: {getattr(cause, 'verify_message', '') or cause.strerror or cause}.")
    if isinstance(e, aiohttp.ClientConnectorError) and isinstance(e.os_error, AddressBlocked):
        return Blocked(f"{host} leads to a private or special address, which is not allowed here.")
    if isinstance(e, aiohttp.InvalidURL):
        return Blocked(f"{host} is not an address that can be asked.", "Check the connection's URL.")
    if isinstance(e, TimeoutError):
        return Unavailable(f"{host} did not answer in time.")
    if isinstance(e, aiohttp.ClientHttpProxyError):
        return Unavailable(f"The proxy answered {e.status} for {host}.", hint="Check TIDEGATE_PROXY.")
    if isinstance(e, aiohttp.ClientResponseError | ValueError):
        return Unreadable(f"{host} and we do not speak the same HTTP: {type(e).__name__}.")
    if isinstance(e, aiohttp.ClientPayloadError):
        if isinstance(e.__cause__, ContentEncodingError):
            return Unreadable(f"{host} sent an answer that does not decompress.")
        return Unavailable(f"{host} broke off in the middle of an answer.")
    cause = getattr(e, "os_error", e)
    return Unavailable(f"{host} cannot be reached: {getattr(cause, 'strerror', '') or type(cause).__name__}.")


def _one_line(authorization: str) -> str:
    if not authorization.isprintable():
        raise AuthFailed("The credential holds a line break or another character that cannot be sent.")
    return authorization


def origin_of(base: str) -> URL:
    """Scheme, host and port in their one spelling. Raises `Blocked` for what is no http or https URL."""
    try:
        url = URL(base)
        if url.scheme in {"http", "https"} and url.host:
            return url.origin()
    except ValueError:
        pass
    raise Blocked("The connection's URL is not an address that can be asked.", "Check the connection's URL.")


def utc_now() -> datetime:
    """The wall clock, for where no database clock is at hand."""
    return datetime.now(UTC)
