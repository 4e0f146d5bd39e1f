"""How a request says who we are."""

from base64 import b64decode

from adapters.auth import Anonymous, Basic, Bearer
from tests.servers import answer, client, serving


async def test_without_a_credential_nothing_is_said() -> None:
    async with serving(answer()) as ours, client(ours.url, Anonymous()) as http:
        await http.get("/x")
        assert http.anonymous
        assert "Authorization" not in ours.seen[0].headers


async def test_basic_is_sent_with_the_first_request() -> None:
    async with serving(answer()) as ours, client(ours.url, Basic("me@x.org", lambda: "päss:wörd")) as http:
        await http.get("/x")
        scheme, _, coded = ours.seen[0].headers["Authorization"].partition(" ")
        assert not http.anonymous
        assert (scheme, b64decode(coded).decode()) == ("Basic", "me@x.org:päss:wörd")


async def test_a_long_credential_stays_on_one_line() -> None:
    header = await Basic("u" * 200, lambda: "p" * 200).header()
    assert header.isprintable()


async def test_bearer_is_sent_as_it_is() -> None:
    async with serving(answer()) as ours, client(ours.url, Bearer(lambda: "abc.def")) as http:
        await http.get("/x")
        assert ours.seen[0].headers["Authorization"] == "Bearer abc.def"


async def test_a_secret_is_revealed_anew_for_each_request() -> None:
    secrets = iter(["old", "new"])
    async with serving(answer()) as ours, client(ours.url, Bearer(lambda: next(secrets))) as http:
        await http.get("/x")
        await http.get("/x")
        assert [r.headers["Authorization"] for r in ours.seen] == ["Bearer old", "Bearer new"]
