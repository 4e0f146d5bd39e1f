"""Webhooks that somebody made up, cut, repeated or took from elsewhere: refused, and nothing is opened."""

import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from adapters.jira.hooks import signature
from store.database import Database
from tests.api_server import Api, serving_api
from tests.house import ADAPTERS

pytestmark = pytest.mark.sqlite_does

SECRET = "a secret of this connection"
OTHERS = "a secret of another connection"
BODY = b'{"webhookEvent": "jira:issue_updated", "issue": {"id": "10040", "key": "TES-41"}}'
RIGHT = signature(BODY, SECRET)
DIGITS = RIGHT.partition("=")[2]

Headers = Sequence[tuple[str, str]]


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, ADAPTERS) as served:
        yield served


async def jira(api: Api, secret: str | None = SECRET) -> Any:
    wanted = {"name": "j", "system": "jira", "url": "https://jira.example.com/issues/?filter=1"}
    return await api.post("/v1/connections", {**wanted, "frequency": "manually", "webhook_secret": secret})


async def send(api: Api, made: Any, headers: Headers, body: bytes = BODY) -> tuple[int, Any]:
    """As the remote sends it: without any key, and with no header that it does not name."""
    bare = ("Content-Type", "X-API-Key")
    async with (
        aiohttp.ClientSession(skip_auto_headers=bare) as http,
        http.post(f"{api.url}/webhooks/{made['callback_token']}", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def opened(api: Api, made: Any) -> list[Any]:
    found: list[Any] = (await api.get(f"/v1/connections/{made['id']}/syncs"))["syncs"]
    return found


def signed(value: str) -> Headers:
    return [("X-Hub-Signature", value)]


FORGED: Mapping[str, Headers] = {
    "none": [],
    "empty": signed(""),
    "a name alone": signed("sha256"),
    "no digits": signed("sha256="),
    "digits alone": signed(DIGITS),
    "the shortest": signed("sha256=" + DIGITS[:1]),
    "a prefix": signed("sha256=" + DIGITS[:32]),
    "a digit less": signed(RIGHT[:-1]),
    "a digit more": signed(RIGHT + "0"),
    "another digit": signed(RIGHT[:-1] + ("0" if RIGHT[-1] != "0" else "1")),
    "zeros": signed("sha256=" + "0" * 64),
    "of another connection": signed(signature(BODY, OTHERS)),
    "of another body": signed(signature(BODY + b" ", SECRET)),
    "by an empty secret": signed("sha256=" + hmac.new(b"", BODY, "sha256").hexdigest()),
    "by a weak method": signed("sha1=" + hmac.new(SECRET.encode(), BODY, "sha1").hexdigest()),
    "by no method": signed("none=" + DIGITS),
    "under another method": signed("sha512=" + DIGITS),
    "of Standard Webhooks, cut": [("webhook-signature", "v1,")],
    "of Standard Webhooks": [
        ("webhook-id", "1"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1," + b64encode(bytes.fromhex(DIGITS)).decode()),
    ],
    "of GitHub": [("X-Hub-Signature-256", RIGHT)],
    "the right one after a wrong one": [*signed("sha256=" + "0" * 64), *signed(RIGHT)],
    "the right one before a wrong one": [*signed(RIGHT), *signed("sha256=" + "0" * 64)],
    "the right one twice": [*signed(RIGHT), *signed(RIGHT)],
    "two in one": signed(f"{RIGHT}, {RIGHT}"),
    "a wrong one beside the secret itself": [*signed("sha256=" + "0" * 64), ("X-Tidegate-Token", SECRET)],
    "the secret of another": [("X-Tidegate-Token", OTHERS)],
    "the beginning of the secret": [("X-Tidegate-Token", SECRET[:-1])],
    "two secrets": [("X-Tidegate-Token", OTHERS), ("X-Tidegate-Token", SECRET)],
}


@pytest.mark.parametrize("name", FORGED)
async def test_what_is_not_signed_as_agreed_is_401_and_opens_nothing(api: Api, name: str) -> None:
    made = await jira(api)
    status, answer = await send(api, made, FORGED[name])
    assert (status, answer["status"]) == (401, 401)
    assert await opened(api, made) == []
    assert api.rope.rung == []
    assert DIGITS not in str(answer)


async def test_what_is_signed_as_agreed_is_taken(api: Api) -> None:
    made = await jira(api)
    status, answer = await send(api, made, signed(RIGHT))
    assert (status, [sync["id"] for sync in await opened(api, made)]) == (202, [answer["sync_id"]])


REWRITTEN: Mapping[str, Callable[[bytes], bytes]] = {
    "in other bytes": lambda body: json.dumps(json.loads(body), separators=(",", ":")).encode(),
    "in another order": lambda body: json.dumps(json.loads(body), sort_keys=True).encode(),
    "with space at the end": lambda body: body + b"\n",
    "with a mark of UTF-8": lambda body: b"\xef\xbb\xbf" + body,
    "in UTF-16": lambda body: body.decode().encode("utf-16"),
    "cut": lambda body: body[:-1],
    "as nothing": lambda _: b"",
    "as a form": lambda body: b"payload=" + body,
}


@pytest.mark.parametrize("name", REWRITTEN)
async def test_the_signature_of_the_same_said_otherwise_is_401(api: Api, name: str) -> None:
    made = await jira(api)
    rewritten = REWRITTEN[name](BODY)
    assert rewritten != BODY
    assert (await send(api, made, signed(RIGHT), rewritten))[0] == 401
    assert await opened(api, made) == []


FORM = (
    b"--x\r\nContent-Disposition: form-data; name=payload; filename=/etc/passwd\r\n\r\n%b\r\n--x--\r\n" % BODY
)
OTHER_KINDS: Sequence[tuple[str, bytes]] = [
    ("multipart/form-data; boundary=x", FORM),
    ("application/x-www-form-urlencoded", b"payload=%7B%22webhookEvent%22%3A%22x%22%7D"),
    ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    ("application/json", b"\x80\x04K\x01."),
    ("text/html", b"<html></html>"),
]


@pytest.mark.parametrize(("kind", "body"), OTHER_KINDS)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["open", "signed"])
async def test_what_is_no_json_is_400_whatever_it_says_it_is(
    api: Api, kind: str, body: bytes, secret: str | None
) -> None:
    made = await jira(api, secret)
    proof = signed(signature(body, SECRET)) if secret else []
    status, answer = await send(api, made, [*proof, ("Content-Type", kind)], body)
    assert (status, answer["status"]) == (400, 400)
    assert await opened(api, made) == []


@pytest.mark.parametrize("kind", [kind for kind, _ in OTHER_KINDS] + [""])
async def test_how_a_body_is_read_does_not_depend_on_what_it_says_it_is(api: Api, kind: str) -> None:
    """A header chooses no other parser: the same bytes are the same webhook, and need the same proof."""
    made = await jira(api)
    named = [("Content-Type", kind)] if kind else []
    assert (await send(api, made, named))[0] == 401
    assert await opened(api, made) == []
    status, answer = await send(api, made, [*named, *signed(RIGHT)])
    assert (status, answer["ignored"]) == (202, None)


async def test_a_replay_is_taken_with_202_and_opens_nothing(api: Api) -> None:
    made, other = await jira(api), await jira(api, OTHERS)
    named: Headers = [*signed(RIGHT), ("X-Atlassian-Webhook-Identifier", "one")]
    status, first = await send(api, made, named)
    assert status == 202
    for _ in range(3):
        status, again = await send(api, made, named)
        assert (status, again["sync_id"]) == (202, first["sync_id"]) or "before" in again["ignored"]
    assert len(await opened(api, made)) == 1
    assert (await opened(api, made))[0]["joined"] == 0
    # At another connection it proves nothing.
    assert (await send(api, other, named))[0] == 401
    assert await opened(api, other) == []


@pytest.mark.parametrize("system", ["jenkins", "azure"])
@pytest.mark.parametrize("header", ["X-Tidegate-Token", "Authorization"])
async def test_of_two_tokens_none_is_believed(api: Api, system: str, header: str) -> None:
    url = {"jenkins": "https://ci.example.com/job/one", "azure": "https://dev.azure.com/one"}[system]
    wanted = {"name": "x", "system": system, "url": url, "frequency": "manually", "webhook_secret": SECRET}
    made = await api.post("/v1/connections", wanted)
    right = SECRET if header == "X-Tidegate-Token" else "Basic " + b64encode(f"u:{SECRET}".encode()).decode()
    for wrong in ("", right[:-1], OTHERS):
        for pair in ([wrong, right], [right, wrong]):
            sent = [(header, one) for one in pair]
            assert (await send(api, made, sent, b"{}"))[0] == 401
    assert await opened(api, made) == []
