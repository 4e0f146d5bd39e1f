"""A credential stays with the origin it was given for."""

from collections.abc import Mapping

import pytest
from aiohttp import web

from adapters.auth import Bearer
from adapters.base import AdapterError, AuthFailed, Blocked, Unreadable
from adapters.http import Http, Reply
from tests.servers import Handler, Server, answer, client, serving

AUTH = Bearer(lambda: "the-token")
OURS = {"X-Api-Key": "the-key", "Cookie": "the=cookie"}
REDIRECTS = (301, 302, 303, 307, 308)


def redirect(status: int, location: str | None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={} if location is None else {"Location": location})

    return handler


def routes(table: Mapping[str, str]) -> Handler:
    """Paths that redirect; all others answer."""

    async def handler(request: web.Request) -> web.StreamResponse:
        to = table.get(request.path)
        return web.Response(status=302, headers={"Location": to}) if to else web.json_response({})

    return handler


async def error_of_get(http: Http, path: str = "/start") -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await http.get(path, headers=OURS)
    return caught.value


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_to_another_port_is_never_followed(status: int) -> None:
    async with serving(answer()) as other, serving(redirect(status, f"{other.url}/in")) as ours:
        async with client(ours.url, AUTH) as http:
            error = await error_of_get(http)
        assert isinstance(error, Blocked)
        assert other.url in error.message
        assert other.seen == []


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirected_post_goes_nowhere_else(status: int) -> None:
    async with serving(answer()) as other, serving(redirect(status, f"{other.url}/in")) as ours:
        async with client(ours.url, AUTH) as http:
            with pytest.raises(Blocked, match=other.url):
                await http.post("/search", {"jql": "x"}, headers=OURS)
        assert other.seen == []


async def test_a_post_is_not_repeated_even_at_its_own_origin() -> None:
    async with serving(redirect(307, "/elsewhere")) as ours, client(ours.url, AUTH) as http:
        with pytest.raises(Unreadable, match="/search answered 307"):
            await http.post("/search", {})
        assert ours.paths == ["/search"]


async def test_a_redirect_to_another_name_of_the_same_machine_is_another_origin() -> None:
    async with serving(answer()) as other:
        elsewhere = f"http://localhost:{other.port}/in"
        handler, allow = redirect(302, elsewhere), ("127.0.0.0/8", "::1/128")
        async with serving(handler) as ours, client(ours.url, AUTH, allow=allow) as http:
            error = await error_of_get(http)
        assert isinstance(error, Blocked)
        assert f"http://localhost:{other.port}" in error.message
        assert other.seen == []


async def test_a_redirect_to_another_scheme_is_another_origin() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=301, headers={"Location": f"https://{request.host}/x"})

    async with serving(handler) as ours, client(ours.url, AUTH) as http:
        error = await error_of_get(http)
        assert isinstance(error, Blocked)
        assert f"https://127.0.0.1:{ours.port}" in error.message
        assert seen == ["/start"]


def tricks(ours: Server, other: Server) -> dict[str, str]:
    here, there = f"127.0.0.1:{ours.port}", f"127.0.0.1:{other.port}"
    return {
        "our host as a user name": f"http://{here}@{there}/in",
        "our host as user and password": f"http://127.0.0.1:{ours.port}@{there}/in",
        "no scheme": f"//{there}/in",
        "our host before a fragment": f"http://{there}#@{here}/",
        "our host in the query": f"http://{there}?@{here}/",
    }


@pytest.mark.parametrize("trick", sorted(tricks(Server("http://a:1"), Server("http://b:2"))))
async def test_a_location_that_only_looks_like_ours_is_another_origin(trick: str) -> None:
    table: dict[str, str] = {}
    async with serving(answer()) as other, serving(routes(table)) as ours:
        table["/start"] = tricks(ours, other)[trick]
        async with client(ours.url, AUTH) as http:
            error = await error_of_get(http)
        assert isinstance(error, Blocked)
        assert other.url in error.message
        assert other.seen == []


@pytest.mark.parametrize(
    "location",
    [None, "", "http://[::1", "javascript:alert(1)", "http://h:port/", "http://a\\@b/"],
)
async def test_a_missing_or_meaningless_location_is_unreadable(location: str | None) -> None:
    async with serving(redirect(302, location)) as ours, client(ours.url, AUTH) as http:
        error = await error_of_get(http)
        assert isinstance(error, Unreadable)
        assert ours.paths == ["/start"]


@pytest.mark.parametrize("status", [300, 304, 305, 306])
async def test_other_answers_of_the_300s_are_not_followed(status: int) -> None:
    async with serving(redirect(status, "/next")) as ours, client(ours.url) as http:
        assert isinstance(await error_of_get(http), Unreadable)
        assert ours.paths == ["/start"]


async def test_three_redirects_at_home_are_followed_with_our_headers() -> None:
    async with serving(routes({"/start": "/a%2Fb?x=%26+%20", "/a/b": "c d", "/c d": "/d"})) as ours:
        async with client(ours.url, AUTH) as http:
            reply = await http.get("/start", headers=OURS)
        assert ours.paths == ["/start", "/a%2Fb?x=%26+%20", "/c%20d", "/d"]
        assert reply.url == f"{ours.url}/d"
        assert [r.headers["Authorization"] for r in ours.seen] == ["Bearer the-token"] * 4
        assert [r.headers["X-Api-Key"] for r in ours.seen] == ["the-key"] * 4


async def test_a_fourth_redirect_is_too_many() -> None:
    table = {"/start": "/a", "/a": "/b", "/b": "/c", "/c": "/d"}
    async with serving(routes(table)) as ours, client(ours.url) as http:
        assert isinstance(await error_of_get(http), Unreadable)
        assert ours.paths == ["/start", "/a", "/b", "/c"]


async def test_a_circle_of_redirects_ends() -> None:
    async with serving(routes({"/start": "/start"})) as ours, client(ours.url) as http:
        assert isinstance(await error_of_get(http), Unreadable)
        assert len(ours.seen) == 4


async def test_another_spelling_of_our_own_origin_is_followed() -> None:
    table: dict[str, str] = {}
    async with serving(routes(table)) as ours:
        table["/start"] = f"HTTP://LOCALHOST:{ours.port}/next#part"
        async with client(f"http://LocalHost:{ours.port}", AUTH, allow=("127.0.0.0/8", "::1/128")) as http:
            await http.get("/start")
        assert ours.paths == ["/start", "/next"]


async def test_a_user_name_in_a_location_at_home_is_dropped() -> None:
    table: dict[str, str] = {}
    async with serving(routes(table)) as ours:
        table["/start"] = f"http://eve:pw@127.0.0.1:{ours.port}/next"
        async with client(ours.url) as http:
            await http.get("/start")
        assert ours.paths == ["/start", "/next"]
        assert "Authorization" not in ours.seen[1].headers


async def test_the_adapter_may_say_what_a_redirect_means() -> None:
    def judge(reply: Reply) -> AdapterError | None:
        return AuthFailed("This is the login page.") if reply.status == 302 else None

    async with serving(redirect(302, "https://login.example/")) as ours, client(ours.url) as http:
        with pytest.raises(AuthFailed):
            await http.get("/start", judge=judge)


@pytest.mark.parametrize("path", ["@{there}/in", "//{there}/in", "/\\{there}", ".{there}", ":1@{there}"])
async def test_no_path_leads_to_another_origin(path: str) -> None:
    async with serving(answer()) as other, serving(answer()) as ours:
        async with client(ours.url, AUTH) as http:
            await http.get(path.format(there=f"127.0.0.1:{other.port}"))
        assert len(ours.seen) == 1
        assert other.seen == []


async def test_a_path_and_its_parameters_arrive_as_they_are_meant() -> None:
    async with serving(answer()) as ours:
        async with client(f"{ours.url}/jira/", AUTH) as http:
            await http.get("/job/a%2Fb/api", {"jql": "a = 'b&c' + d"})
        assert ours.paths == ["/jira/job/a%2Fb/api?jql=a%20%3D%20%27b%26c%27%20%2B%20d"]


@pytest.mark.parametrize(
    "base", ["ftp://h", "http://", "jira.example", "http://h:99999", "file:///etc/passwd"]
)
async def test_a_base_that_is_no_web_address_is_refused(base: str) -> None:
    with pytest.raises(Blocked):
        async with client(base):
            pass
