"""Remotes that say back what they were sent: a refusal is read without the credential."""

import html
import json
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from adapters.auth import Auth, Basic, Bearer
from adapters.base import AdapterError, QueryRejected
from adapters.http import decode
from tests.servers import answer, client, serving

SECRET = 'canary"\\é/+'
WAYS: list[Auth] = [Basic("ana", lambda: SECRET), Bearer(lambda: SECRET)]


@pytest.mark.parametrize("auth", WAYS, ids=["basic", "bearer"])
async def test_a_refusal_is_read_without_the_secret_that_it_says_back(auth: Auth) -> None:
    sent = b64encode(f"ana:{SECRET}".encode()).decode()
    said = json.dumps({"plain": SECRET, "whole": f"Basic {sent}" if isinstance(auth, Basic) else ""})
    async with serving(answer(400, said.encode())) as server, client(server.url, auth) as http:
        with pytest.raises(QueryRejected) as told:
            # Adapters put into words what the remote said.
            await http.get("/x", judge=lambda reply: QueryRejected(reply.body.decode()))
    assert set(json.loads(told.value.message).values()) <= {"********", "Basic ********", ""}


@pytest.mark.parametrize("write", [quote, quote_plus, lambda text: quote(text, safe=""), html.escape])
async def test_a_secret_that_is_said_back_in_a_link_or_a_page_is_masked(write: Callable[[str], str]) -> None:
    secret = "canary<&> é/+"
    page = f"<a href='/login?was={write(secret)}'>again</a>"
    async with (
        serving(answer(400, page.encode())) as server,
        client(server.url, Basic("ana", lambda: secret)) as http,
    ):
        with pytest.raises(QueryRejected) as told:
            await http.get("/x", judge=lambda reply: QueryRejected(reply.body.decode()))
    assert told.value.message == "<a href='/login?was=********'>again</a>"


async def test_an_answer_that_is_none_is_kept_as_it_was_sent() -> None:
    said = json.dumps({"name": "canary"}).encode()
    async with serving(answer(200, said)) as server, client(server.url, Bearer(lambda: "canary")) as http:
        reply = await http.get("/x")
        assert reply.body == said
        with pytest.raises(AdapterError):
            decode(reply, int)
