"""Every form of address that leads inside, in each field that takes one: nobody is dialled or quoted."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.auth import Bearer
from adapters.base import AdapterError, Blocked
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, LocalBudget, Meter, open_session, utc_now
from store.database import Database
from tests.api_server import Api, serving_api
from tests.house import ADAPTERS
from tests.servers import Wire, speaking
from tests.tidegates import run

pytestmark = [pytest.mark.sqlite_does, pytest.mark.timeout(240)]

#: One address or more of each range that is nobody's on the internet, and what translates to one.
DENIED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.254.254.254 100.64.0.1 100.127.255.254 127.0.0.1 127.254.254.254 169.254.0.1
169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.254 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.254 198.18.0.1 198.19.255.254 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255
[::] [::1] [::ffff:127.0.0.1] [::ffff:10.0.0.1] [::ffff:169.254.169.254] [::127.0.0.1] [64:ff9b::10.0.0.1]
[64:ff9b:1::1] [100::1] [2001::1] [2001:10::1] [2001:db8::1] [2002:a00:1::1] [3fff::1] [5f00::1] [fc00::1]
[fd00:ec2::254] [fe80::1] [fec0::1] [ff02::1]
""".split()
#: The own machine as somebody writes it who hopes that nobody looks.
OWN = [
    *("127.1", "127.0.1", "0x7f.0.0.1", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "2130706433"),
    *("00000127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "a.localhost", "0", "0x0"),
    *(
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "xn--localhost-",
        "[::1%25lo]",
        "[::1%lo]",
        "[fe80::1%25eth0]",
    ),
    *("[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::FFFF:0x7f.0.0.1]", "[64:ff9b::7f00:1]"),
]
#: Whole URLs of which one part looks like something else.
ODD = [
    *("http://example.com@{inside}/x", "http://example.com:80@{inside}/x", "http://{inside}#@example.com/x"),
    *("http://{inside}?@example.com/x", "http://{inside}\\@example.com/x", "http://example.com#@{inside}/x"),
    *(
        "http:\\\\{inside}\\x",
        "http:///{inside}/x",
        "http://[::1]:{port}/x",
        "//{inside}/x",
        "http://{inside}\t/x",
    ),
    *("http://127.0.0.1%00.example.com:{port}/x", "http://127.0.0.1%2eexample.com:{port}/x", "{inside}/x"),
    *("file:///etc/passwd", "file://{inside}/etc/passwd", "gopher://{inside}/_x", "unix:///run/docker.sock"),
    *("http+unix://%2Frun%2Fdocker.sock/x", "ftp://{inside}/x", "dict://{inside}/x", "ldap://{inside}/x"),
    *("jar:http://{inside}!/x", "data:text/html,x", "javascript:x", "netdoc:///etc/passwd", "tcp://{inside}"),
]
PATHS = {"jira": "/issues/?filter=1", "jenkins": "/job/one", "azure": "/collection/project"}
SECRET_PAGE = b"what-only-the-inside-says"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server of the inside, which counts who comes."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(SECRET_PAGE), SECRET_PAGE)
    async with speaking(said) as listening:
        yield listening


@pytest.fixture
async def strict(database: Database) -> AsyncIterator[Api]:
    """The API where no private network is allowed."""
    async with serving_api(database, ADAPTERS, allow=()) as api:
        yield api


def urls(wire: Wire) -> list[str]:
    inside = f"127.0.0.1:{wire.port}"
    hosts = [
        *(f"http://{host}:{wire.port}/x" for host in (*DENIED, *OWN)),
        *(f"https://{host}/x" for host in OWN),
    ]
    return [*hosts, *(odd.format(inside=inside, port=wire.port) for odd in ODD)]


def dialled_nobody(wire: Wire, told: object) -> None:
    assert wire.connections == 0, told
    assert SECRET_PAGE.decode() not in str(told)


#: What may come of it, where the form is not refused at once: `not_found` and the like would mean an answer.
UNASKED = {"blocked", "unreachable", "rejected"}


async def tried(api: Api, wire: Wire, system: str, url: str, **more: object) -> None:
    status, found = await api.ask("POST", "/v1/connections/test", {"system": system, "url": url, **more})
    assert status in (200, 422), (url, found)
    if status == 200:
        assert not found["ok"], url
        assert found["error"]["kind"] in UNASKED, (url, found)
    dialled_nobody(wire, (url, found))


@pytest.mark.parametrize("system", sorted(PATHS))
async def test_no_form_of_an_inner_address_is_dialled_for_a_connection(
    strict: Api, wire: Wire, system: str
) -> None:
    for url in urls(wire):
        await tried(strict, wire, system, url.removesuffix("/x") + PATHS[system])


async def test_no_form_is_dialled_for_a_token(strict: Api, wire: Wire) -> None:
    body = {"name": "x", "system": "jira", "kind": "oauth2", "client_id": "us", "secret": "a client's secret"}
    for url in urls(wire):
        for secure in {url, url.replace("http://", "https://")}:
            status, made = await strict.ask("POST", "/v1/credentials", {**body, "token_url": secure})
            assert status in (201, 422), (secure, made)
            if status == 201:
                there = "https://jira.example.invalid/issues/?filter=1"
                await tried(strict, wire, "jira", there, credential_id=made["id"])
            dialled_nobody(wire, made)


async def test_no_form_is_dialled_for_a_subscriber(strict: Api, wire: Wire) -> None:
    kept = await strict.post("/v1/subscriptions", {"name": "kept", "url": "https://hooks.example.invalid/"})
    for url in urls(wire):
        status, told = await strict.ask("POST", "/v1/subscriptions", {"name": "x", "url": url})
        assert status in (201, 422), (url, told)
        changed, _ = await strict.ask("PATCH", f"/v1/subscriptions/{kept['id']}", {"url": url})
        assert (changed, status) in ((200, 201), (422, 422)), url
        if status == 201:
            _, found = await strict.ask("POST", f"/v1/subscriptions/{told['id']}/test", {})
            assert "delivered" not in str(found)
            dialled_nobody(wire, found)
        dialled_nobody(wire, told)


async def test_no_form_is_dialled_that_a_declaration_names(tmp_path: Path, wire: Wire) -> None:
    """A file of connections is applied, and the commands that test and sync take the same URLs."""
    inside = f"http://0x7f000001:{wire.port}/job/one"
    file = tmp_path / "connections.toml"
    file.write_text(f'[connections.x]\nsystem = "jenkins"\nurl = "{inside}"\nfrequency = "manually"\n')
    data = tmp_path / "data"
    strict = {"TIDEGATE_ALLOW_NETWORKS": ""}
    applied = await run(data, "apply", str(file), "--yes", **strict)
    assert applied.code in (0, 2), applied.err
    for command in (
        ("test", "x"),
        ("sync", "--system", "jenkins", "--url", inside, "--output", str(tmp_path / "o"), "--patience", "1"),
    ):
        done = await run(data, *command, **strict)
        assert done.code != 0
        dialled_nobody(wire, done.out + done.err)


# --- what DNS says


class Zone(AbstractResolver):
    """A name server whose answer is another each time: nothing it says holds for longer than one question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in addresses
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def named(
    zone: Zone, port: int, allow: Sequence[str]
) -> AsyncIterator[tuple[Http, Callable[[], None]]]:
    """The client of a remote with a name in this zone; and what makes it forget what it was told of it."""
    guard = AddressGuard(allow)
    async with open_session(guard, names=zone) as session:
        here = f"http://remote.example:{port}"
        auth, budget = Bearer(lambda: "a token"), LocalBudget(utc_now)
        assert isinstance(session.connector, TCPConnector)
        http = Http(session, here, auth, budget, Limits(), utc_now, Meter(), None, guard)
        yield http, session.connector.clear_dns_cache


async def test_a_name_that_comes_to_mean_an_inner_address_is_not_dialled(wire: Wire) -> None:
    """The first answers lead to where it is allowed, the later ones inside."""
    zone = Zone(["127.0.0.2"], ["127.0.0.1"])
    server = await asyncio.start_server(_hello, "127.0.0.2", wire.port)
    async with server, named(zone, wire.port, ["127.0.0.2/32"]) as (http, forget):
        assert (await http.get("/x")).status == 200
        for _ in range(3):
            forget()
            with pytest.raises(Blocked):
                await http.get("/x")
    assert zone.asked == 4
    assert wire.connections == 0


async def test_of_two_answers_only_the_allowed_one_is_dialled(wire: Wire) -> None:
    for answers in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]):
        server = await asyncio.start_server(_hello, "127.0.0.2", wire.port)
        async with server, named(Zone(answers), wire.port, ["127.0.0.2/32"]) as (http, _):
            assert (await http.get("/x")).status == 200
    # Where the allowed one does not answer, the other is still not asked.
    for answers in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"]):
        async with named(Zone(answers), wire.port, ["127.0.0.2/32"]) as (http, _):
            with pytest.raises(AdapterError):
                await http.get("/x")
    assert wire.connections == 0


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    await writer.drain()
    writer.close()
