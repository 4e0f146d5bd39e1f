"""What a request was signed with is in no error, whoever prints it and however deep they look."""

import asyncio
import socket
import traceback

import pytest

from adapters.auth import Basic, Bearer
from adapters.base import AdapterError, AuthFailed, Blocked, Unavailable
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, Reply, decode
from tests.servers import answer, client, reply, serving, speaking

TOKEN = "canary-token"
QUERY = {"jql": "canary-query"}
KEY = {"X-Api-Key": "canary-key"}
ANSWERS = {
    "refused": answer(401),
    "forbidden": answer(403),
    "rejected": answer(400),
    "limited": answer(429, Retry_After="60"),
    "down": answer(503),
    "no content": answer(204),
    "redirected": answer(302, Location="http://elsewhere.example/login?back=canary-query"),
    "redirected at home": answer(302, Location="/circle?jql=canary-query"),
    "redirected nowhere": answer(302, Location="http://[canary-query"),
    "too large": answer(body=b" " * 2000),
    "no gzip": answer(body=b"x", Content_Encoding="gzip"),
    "not json": answer(body=b"<html>"),
    "not utf-8": answer(body=b'{"a": "\xff"}'),
    "not typed": answer(Content_Type="text/html"),
}
NOISE = {
    "empty": b"",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "not http": b"SSH-2.0\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


async def failure(http: Http) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        decode(await http.get("/x", QUERY), dict)
    return caught.value


def told(error: BaseException) -> str:
    """All that anyone could print of an error and of those attached to it."""
    texts = []
    left: list[BaseException | None] = [error]
    while left:
        if (one := left.pop()) is not None:
            texts += [str(one), repr(one), repr(vars(one)), *traceback.format_exception(one)]
            left += [one.__cause__, one.__context__]
    return "\n".join(texts)


@pytest.mark.parametrize("said", ANSWERS)
async def test_no_answer_makes_an_error_that_tells_a_secret(said: str) -> None:
    auth, limits = Bearer(lambda: TOKEN), Limits(body=1000)
    async with serving(ANSWERS[said]) as ours, client(ours.url, auth, limits=limits) as http:
        error = await failure(http)
        assert "canary" in ours.seen[0].headers["Authorization"]
    assert "canary" not in told(error)


@pytest.mark.parametrize("said", NOISE)
async def test_no_noise_makes_an_error_that_tells_a_secret(said: str) -> None:
    async with speaking(NOISE[said]) as wire, client(wire.url, Bearer(lambda: TOKEN)) as http:
        assert "canary" not in told(await failure(http))


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:{port}", "http://10.0.0.1", "http://127.1", "http://no.invalid"]
)
async def test_an_unreachable_host_makes_an_error_that_tells_no_secret(base: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with client(base.format(port=port), Bearer(lambda: TOKEN)) as http:
        assert "canary" not in told(await failure(http))


@pytest.mark.parametrize("tail", ["\n", "\r\nX-Evil: 1", "\x00", "\u2028"])
async def test_a_secret_that_is_no_single_line_is_refused_without_being_shown(tail: str) -> None:
    async with serving(answer()) as ours, client(ours.url, Bearer(lambda: TOKEN + tail)) as http:
        error = await failure(http)
        assert isinstance(error, AuthFailed)
        assert "canary" not in told(error)
        assert ours.seen == []


@pytest.mark.parametrize("path", ["/a\r\nX-Evil: 1\r\n\r\n", "/a HTTP/1.1\r\nX-Evil: 1", "/a\nb", "/a\x00"])
async def test_no_path_smuggles_a_header(path: str) -> None:
    async with serving(answer()) as ours:
        async with client(ours.url) as http:
            try:
                await http.get(path)
            except AdapterError:
                assert ours.seen == []
        assert not any("X-Evil" in request.headers for request in ours.seen)


async def test_no_header_smuggles_another() -> None:
    async with serving(answer()) as ours, client(ours.url) as http:
        with pytest.raises(AdapterError):
            await http.get("/a", headers={"X-Ours": "1\r\nX-Evil: 1"})
        assert ours.seen == []


async def test_cookies_of_an_answer_are_not_sent_back() -> None:
    async with serving(answer(Set_Cookie="session=1; Path=/")) as ours, client(ours.url) as http:
        await http.get("/a")
        await http.get("/b")
        assert "Cookie" not in ours.seen[1].headers


def test_an_answer_is_printed_without_its_cookies_query_and_body() -> None:
    got: Reply = reply(200, b"canary-body", Set_Cookie="canary-cookie")
    assert repr(got) == "<Reply /search answered 200>"


@pytest.mark.parametrize("auth", [Basic("canary-user", lambda: TOKEN), Bearer(lambda: TOKEN)])
async def test_a_credential_and_its_client_are_printed_without_the_secret(auth: Basic | Bearer) -> None:
    async with client("https://jira.example", auth) as http:
        assert "canary" not in f"{auth!r} {auth!s} {http!r} {vars(auth)!r}".replace("canary-user", "")


PRIVATE = [
    "http://127.0.0.1",
    "http://127.0.0.1.",
    "http://localhost",
    "http://LOCALHOST.",
    "http://db.localhost",
    "http://127.1",
    "http://0x7f000001",
    "http://2130706433",
    "http://0177.0.0.1",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[fe80::1%25eth0]",
    "http://10.0.0.1",
    "https://169.254.169.254",
]


@pytest.mark.parametrize("base", PRIVATE)
async def test_a_proxy_is_not_asked_for_a_private_address(base: str) -> None:
    async with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as proxy:
        async with client(base, Bearer(lambda: TOKEN), allow=(), proxy=proxy.url) as http:
            assert isinstance(await failure(http), Blocked)
        assert proxy.connections == 0


async def test_a_proxy_is_asked_for_public_names_and_for_what_the_operator_allows() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    async with speaking(said) as proxy:
        for base in ("http://jira.example", "http://93.184.216.34", "http://10.1.2.3", "http://1.example"):
            async with client(base, allow=("10.0.0.0/8",), proxy=proxy.url) as http:
                assert (await http.get("/x")).status == 200
        assert [head.split()[1] for head in proxy.heads] == [
            b"http://jira.example/x",
            b"http://93.184.216.34/x",
            b"http://10.1.2.3/x",
            b"http://1.example/x",
        ]


async def test_a_proxy_learns_the_host_of_an_encrypted_request_and_nothing_else() -> None:
    async with speaking(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        async with client("https://jira.example", Bearer(lambda: TOKEN), proxy=proxy.url) as http:
            with pytest.raises(Unavailable, match="proxy answered 407") as caught:
                await http.get("/x", QUERY, headers=KEY)
        assert proxy.heads[0].startswith(b"CONNECT jira.example:443 ")
        assert b"canary" not in proxy.heads[0]
        assert "canary" not in told(caught.value)


async def test_a_proxy_that_is_gone_does_not_tell_its_own_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with client("https://jira.example", proxy=f"http://u:canary-pw@127.0.0.1:{port}") as http:
        error = await failure(http)
        assert isinstance(error, Unavailable)
        assert "canary" not in told(error)


def test_without_an_allowlist_a_proxy_is_asked_for_public_names_only() -> None:
    assert [name for name in ("localhost", "10.0.0.1", "jira.example") if AddressGuard().admits(name)] == [
        "jira.example"
    ]


async def test_a_cancelled_request_stays_cancelled() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with speaking(silent) as wire, client(wire.url) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.get("/x")
