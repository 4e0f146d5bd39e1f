"""Asking for an access token: what is sent, what comes back, and what every refusal means to a person."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from adapters.auth import Auth
from adapters.base import AdapterError, AuthFailed, Blocked, RateLimited, Unavailable, Unreadable
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, LocalBudget, Meter, open_session, origin_of
from adapters.oauth2 import Client, Granted, OAuth2, Token, fetch
from tests.servers import NOON, Handler, Hands, answer, reply, serving
from tests.unit.test_http_secrets import told
from tidegate.demo.remotes.tokens import TokenServer

SECRET, REFRESH = "canary-client-secret", 'canary-"refresh"-token'
LIMITS = Limits(connect=1, read=0.3, total=1)


@pytest.fixture
async def issuer() -> AsyncIterator[TokenServer]:
    async with TokenServer() as started:
        started.clients["us"] = SECRET
        yield started


def client(token_url: str, refresh_token: str | None = None, secret: str | None = SECRET) -> Client:
    return Client(
        token_url=token_url, client_id="us", scope="read", secret=secret, refresh_token=refresh_token
    )


async def fetched(asking: Client) -> Granted:
    async with open_session(AddressGuard(["127.0.0.1/32"])) as session:

        def door(auth: Auth) -> Http:
            base, budget = str(origin_of(asking.token_url)), LocalBudget(Hands().now)
            return Http(session, base, auth, budget, LIMITS, Hands().now, Meter())

        return await fetch(asking, door)


async def refused(handler: Handler, refresh_token: str | None = REFRESH) -> AdapterError:
    async with serving(handler) as ours:
        with pytest.raises(AdapterError) as caught:
            await fetched(client(f"{ours.url}/token", refresh_token))
    assert "canary" not in told(caught.value)
    return caught.value


async def test_client_credentials_are_sent_as_a_form(issuer: TokenServer) -> None:
    granted = await fetched(client(issuer.token_url))
    assert issuer.accepts(f"Bearer {granted.access_token}")
    assert (granted.lives, granted.refresh_token) == (3600, None)
    (sent,) = issuer.ledger
    assert parse_qs(sent.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["read"],
        "client_id": ["us"],
        "client_secret": [SECRET],
    }
    assert sent.authorization is None


async def test_a_refresh_token_brings_the_one_that_takes_its_place(issuer: TokenServer) -> None:
    first = issuer.consent("us")
    second = (await fetched(client(issuer.token_url, first))).refresh_token
    assert second not in (None, first)
    third = (await fetched(client(issuer.token_url, second))).refresh_token
    assert third not in (None, first, second)


async def test_a_public_client_needs_no_secret(issuer: TokenServer) -> None:
    issuer.clients["us"] = None
    assert (await fetched(client(issuer.token_url, issuer.consent("us"), None))).access_token


async def test_an_issuer_that_asks_for_basic_gets_it(issuer: TokenServer) -> None:
    issuer.wants_basic = True
    issuer.clients["us"] = asked = "se:cret+/ ü"
    assert (await fetched(client(issuer.token_url, secret=asked))).access_token
    assert [seen.authorization is None for seen in issuer.ledger] == [True, False]
    assert b"secret" not in issuer.ledger[1].body


async def test_the_query_of_a_token_url_is_kept_and_so_is_its_last_slash() -> None:
    async with serving(answer(body=b'{"access_token": "t"}')) as ours:
        await fetched(client(f"{ours.url}/a%20b/token/?p=1"))
        assert ours.paths == ["/a%20b/token/?p=1"]


def granting(**members: object) -> Handler:
    return answer(body=json.dumps({"access_token": "t", **members}).encode())


@pytest.mark.parametrize(
    ("stated", "lives"),
    [(120, 120), ("3599", 3599), (None, 3600), ("soon", 3600), (0, 3600), (-1, 3600), (10**9, 86_400)],
)
async def test_how_long_a_token_lives(stated: object, lives: float) -> None:
    async with serving(granting(expires_in=stated)) as ours:
        assert (await fetched(client(f"{ours.url}/token"))).lives == lives


async def test_a_refresh_token_that_was_not_changed_needs_no_place() -> None:
    async with serving(granting(refresh_token=REFRESH)) as ours:
        assert (await fetched(client(f"{ours.url}/token", REFRESH))).refresh_token is None


@pytest.mark.parametrize(
    "vendor, status, error",  # noqa: PT006 - the names are the table's head
    [
        ("Atlassian", 403, '{"error": "invalid_grant", "error_description": "Unknown or invalid"}'),
        ("Entra", 400, '{"error": "invalid_grant", "error_description": "AADSTS700082: It has expired"}'),
        ("others", 401, '{"error": "unauthorized_client", "error_description": "refresh_token is invalid"}'),
    ],
)
async def test_a_consent_that_is_over_asks_for_another(vendor: str, status: int, error: str) -> None:
    caught = await refused(answer(status, error.encode()))
    assert isinstance(caught, AuthFailed)
    assert "Consent again" in caught.hint
    assert json.loads(error)["error_description"] in caught.message


async def test_a_client_secret_that_has_expired_asks_for_a_new_one() -> None:
    said = '{"error": "invalid_client", "error_description": "AADSTS7000222: expired.\\r\\nTrace ID: 1"}'
    caught = await refused(answer(401, said.encode()))
    assert isinstance(caught, AuthFailed)
    assert "new secret" in caught.hint
    assert caught.message == "127.0.0.1 gives no token: invalid_client: AADSTS7000222: expired."


async def test_a_client_that_may_not_act_for_itself_is_told_so() -> None:
    caught = await refused(answer(400, b'{"error": "unauthorized_client"}'), None)
    assert "client credentials" in caught.hint


async def test_a_wrong_scope_is_told_so() -> None:
    assert "scope" in (await refused(answer(400, b'{"error": "invalid_scope"}'))).hint


async def test_what_the_issuer_says_back_of_our_secrets_is_masked() -> None:
    said = json.dumps({"error": "invalid_grant", "error_description": f"No {REFRESH} with {SECRET}"})
    for status in (400, 200):
        caught = await refused(answer(status, said.encode()))
        assert "No ******** with ********" in caught.message


HTML = b"<html>sign in</html>"
STRANGE = [
    ("a page", answer(200, HTML, Content_Type="text/html"), Unreadable),
    ("a page that says 404", answer(404, HTML, Content_Type="text/html"), Unreadable),
    ("a page that says 401", answer(401, HTML, Content_Type="text/html"), AuthFailed),
    ("an unknown error", answer(400, b'{"error": "invalid_request"}'), AuthFailed),
    ("a list", answer(200, b"[]"), Unreadable),
    ("nothing in it", answer(200, b"{}"), Unreadable),
    ("an empty token", granting(access_token=""), Unreadable),
    ("two lines", granting(access_token="a\nb"), Unreadable),
    ("another kind of token", granting(token_type="mac"), Unreadable),
    ("a failure", answer(500, HTML), Unavailable),
    ("not now", answer(400, b'{"error": "temporarily_unavailable"}'), Unavailable),
    ("too often", answer(429, HTML, Retry_After="60"), RateLimited),
    ("elsewhere", answer(302, Location="https://elsewhere.example/"), Blocked),
    ("elsewhere here", answer(307, Location="/other"), Unreadable),
]


@pytest.mark.parametrize(("said", "kind"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE])
async def test_no_strange_answer_is_taken_for_a_token(said: Handler, kind: type[AdapterError]) -> None:
    caught = await refused(said)
    assert type(caught) is kind
    assert caught.hint or kind in (Unavailable, RateLimited)


async def test_an_issuer_that_is_silent_is_unavailable(issuer: TokenServer) -> None:
    issuer.latency = 2
    with pytest.raises(Unavailable):
        await fetched(client(issuer.token_url))


def test_nothing_that_holds_a_secret_shows_it() -> None:
    shown = f"{client('https://x.example/', REFRESH)!r} {Granted(SECRET, 1, REFRESH)!r}"
    assert "canary" not in shown


class Handed:
    """Tokens one after the other, each good for a minute."""

    def __init__(self, clock: Callable[[], object]) -> None:
        self.refused: list[str | None] = []

    async def usable(self, refused: str | None = None) -> Token:
        self.refused.append(refused)
        number = len(self.refused)
        return Token(lambda: f"token-{number}", NOON + timedelta(minutes=number))


async def test_a_token_is_asked_for_once_and_again_when_it_is_due() -> None:
    hands = Hands()
    tokens = Handed(hands.now)
    auth = OAuth2(tokens, hands.now)
    assert [await auth.header() for _ in range(3)] == ["Bearer token-1"] * 3
    hands.time += timedelta(minutes=1)
    assert await auth.header() == "Bearer token-2"
    assert tokens.refused == [None, None]


async def test_many_requests_refused_at_once_bring_one_renewal() -> None:
    hands = Hands()
    tokens = Handed(hands.now)
    auth = OAuth2(tokens, hands.now)
    header = await auth.header()
    assert [await auth.renew(header) for _ in range(3)] == [True] * 3
    assert tokens.refused == [None, "token-1"]


async def test_a_renewed_token_that_is_refused_too_is_not_renewed_again() -> None:
    hands = Hands()
    tokens = Handed(hands.now)
    auth = OAuth2(tokens, hands.now)
    assert await auth.renew(await auth.header())
    assert not await auth.renew(await auth.header())
    assert len(tokens.refused) == 2


async def test_a_request_is_made_once_more_with_a_renewed_token_also_where_the_judge_says_so() -> None:
    hands = Hands()

    async def sign_in_page(request: web.Request) -> web.StreamResponse:
        good = request.headers["Authorization"] == "Bearer token-2"
        return web.json_response({}, status=200 if good else 203)

    async with serving(sign_in_page) as ours, open_session(AddressGuard(["127.0.0.1/32"])) as session:
        auth, budget = OAuth2(Handed(hands.now), hands.now), LocalBudget(hands.now)
        http = Http(session, ours.url, auth, budget, LIMITS, hands.now, Meter())
        judge = lambda reply: AuthFailed("no") if reply.status == 203 else None  # noqa: E731
        assert (await http.get("/x", judge=judge)).status == 200
        assert len(ours.seen) == 2


def test_a_reply_is_not_what_is_shown() -> None:
    assert "canary" not in repr(reply(200, b"canary"))
