"""Credentials of kind `oauth2` through the API and the command line: secrets go in, and stay at one host."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from store.credentials import place
from store.database import Database, now
from store.schema import credentials as table
from store.tokens import Secrets, secrets_of
from tests.api_server import Api, serving_api
from tests.gated import SYSTEM, Gated
from tests.tidegates import run
from tidegate.demo.remotes.tokens import TokenServer

pytestmark = pytest.mark.sqlite_does

URL = "https://login.example.com/oauth/token"
SECRET, REFRESH = "a client's secret", "a refresh token"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, {SYSTEM: Gated}) as served:
        yield served


def body(**values: object) -> dict[str, object]:
    plain = {"name": "c", "system": SYSTEM, "kind": "oauth2", "token_url": URL, "client_id": "us"}
    return {**plain, "scope": "read", "secret": SECRET, "refresh_token": REFRESH, **values}


async def made(api: Api, **values: object) -> Any:
    return await api.post("/v1/credentials", body(**values))


async def row(api: Api) -> dict[str, Any]:
    async with api.context.database.read() as connection:
        return dict((await connection.execute(select(table))).mappings().one())


async def held(api: Api) -> Secrets:
    found = await row(api)
    return secrets_of(api.context.vault.open(found["secret"], place(found["id"])))


async def test_both_secrets_go_in_and_only_their_presence_comes_out(api: Api) -> None:
    answer = await made(api)
    assert (answer["has_secret"], answer["has_refresh_token"]) == (True, True)
    assert (answer["token_url"], answer["client_id"], answer["scope"]) == (URL, "us", "read")
    assert SECRET not in str(answer)
    assert REFRESH not in str(answer)
    assert await api.get(f"/v1/credentials/{answer['id']}") == answer
    assert SECRET not in str(await row(api))
    assert await held(api) == Secrets(SECRET, REFRESH)


@pytest.mark.parametrize("given", ["secret", "refresh_token"])
async def test_one_of_the_two_is_enough(api: Api, given: str) -> None:
    answer = await made(api, **{name: None for name in ("secret", "refresh_token") if name != given})
    assert [answer["has_secret"], answer["has_refresh_token"]] == [given == "secret", given != "secret"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"secret": None, "refresh_token": None}, "secret"),
        ({"refresh_token": "********"}, "refresh_token"),
        ({"refresh_token": "two\nlines"}, "refresh_token"),
        ({"client_id": None}, "client_id"),
        ({"token_url": None}, "token_url"),
        ({"token_url": "login.example.com/token"}, "token_url"),
        ({"token_url": "ftp://login.example.com/token"}, "token_url"),
        ({"token_url": "http://login.example.com/token"}, "token_url"),
        ({"token_url": "http://10.0.0.1/token"}, "token_url"),
        ({"token_url": "https://10.0.0.1/token"}, "token_url"),
        ({"token_url": "https://169.254.169.254/token"}, "token_url"),
        ({"token_url": "https://[::1]/token"}, "token_url"),
        ({"token_url": "https://0x0a000001/token"}, "token_url"),
        ({"token_url": "https://us:pw@login.example.com/token"}, "token_url"),
        ({"token_url": "https://login.example.com/token?client_secret=x"}, "token_url"),
        ({"token_url": "https://login.example.com/token#x"}, "token_url"),
        ({"token_url": "https://[login/token"}, "token_url"),
        ({"kind": "bearer", "token_url": None, "client_id": None, "scope": None}, "refresh_token"),
    ],
)
async def test_what_cannot_work_or_is_not_safe_is_refused(
    api: Api, values: dict[str, object], field: str
) -> None:
    assert list(await api.refused("POST", "/v1/credentials", body(**values))) == [field]


async def test_an_allowed_private_address_may_be_asked_without_tls(api: Api) -> None:
    assert (await made(api, token_url="http://127.0.0.1:8080/token"))["id"]


async def test_masks_keep_both_and_each_is_replaced_by_itself(api: Api) -> None:
    answer = await made(api)
    path = f"/v1/credentials/{answer['id']}"
    masked = {"secret": "********", "refresh_token": "********"}
    changed = await api.patch(path, {**masked, "name": "new name"})
    assert (changed["name"], await held(api)) == ("new name", Secrets(SECRET, REFRESH))
    await api.patch(path, {"secret": "another"})
    assert await held(api) == Secrets("another", REFRESH)
    await api.patch(path, {"refresh_token": "of another consent"})
    assert await held(api) == Secrets("another", "of another consent")
    without = await api.patch(path, {"refresh_token": None})
    assert (without["has_refresh_token"], await held(api)) == (False, Secrets("another", None))
    assert list(await api.refused("PATCH", path, {"secret": None})) == ["secret"]


@pytest.mark.parametrize(
    "change",
    [
        {"token_url": "https://elsewhere.example/token"},
        {"token_url": "https://login.example.com:8443/oauth/token"},
        {"token_url": "https://elsewhere.example/token", "secret": "********", "refresh_token": "********"},
        {"kind": "bearer", "token_url": None, "client_id": None, "scope": None},
    ],
)
async def test_stored_secrets_go_to_no_other_host_and_are_no_other_kind(
    api: Api, change: dict[str, object]
) -> None:
    path = f"/v1/credentials/{(await made(api))['id']}"
    assert set(await api.refused("PATCH", path, change)) == {"secret", "refresh_token"}
    assert (await row(api))["options"]["token_url"] == URL


async def test_another_host_is_taken_with_new_secrets(api: Api) -> None:
    path = f"/v1/credentials/{(await made(api))['id']}"
    url = "https://elsewhere.example/token"
    changed = await api.patch(path, {"token_url": url, "secret": "new", "refresh_token": None})
    assert (changed["token_url"], changed["has_refresh_token"]) == (url, False)
    assert await held(api) == Secrets("new", None)


async def test_another_path_at_the_same_host_keeps_the_secrets(api: Api) -> None:
    path = f"/v1/credentials/{(await made(api))['id']}"
    await api.patch(path, {"token_url": "https://LOGIN.example.com:443/v2/token"})
    assert await held(api) == Secrets(SECRET, REFRESH)


async def test_a_password_does_not_become_a_client_secret(api: Api) -> None:
    plain = {"name": "c", "system": SYSTEM, "kind": "basic", "username": "me", "secret": "a password"}
    path = f"/v1/credentials/{(await api.post('/v1/credentials', plain))['id']}"
    change = {"kind": "oauth2", "token_url": URL, "client_id": "us"}
    assert set(await api.refused("PATCH", path, change)) == {"secret"}
    assert (await api.patch(path, {**change, "secret": SECRET}))["kind"] == "oauth2"


async def token(api: Api, **values: object) -> None:
    async with api.context.database.write() as connection:
        await connection.execute(
            update(table).values({"token": "sealed", "token_expires_at": now(), **values})
        )


@pytest.mark.parametrize(
    ("change", "kept"),
    [({"name": "n"}, True), ({"scope": "write"}, False), ({"refresh_token": "another"}, False)],
)
async def test_a_token_of_before_is_used_no_more_after_a_change_that_matters(
    api: Api, change: dict[str, object], kept: bool
) -> None:
    path = f"/v1/credentials/{(await made(api))['id']}"
    await token(api)
    await api.patch(path, change)
    assert ((await row(api))["token"] is not None) == kept


async def test_a_refresh_token_is_not_kept_while_it_is_being_exchanged(api: Api) -> None:
    path = f"/v1/credentials/{(await made(api))['id']}"
    await token(api, renewing="someone", renewing_until=now(60.0))
    assert await api.refused("PATCH", path, {"scope": "write"}, 409) == {}
    await api.patch(path, {"scope": "write", "refresh_token": "another"})
    assert await held(api) == Secrets(SECRET, "another")


async def test_a_connection_is_tested_with_a_token(api: Api) -> None:
    async with TokenServer() as issuer:
        issuer.clients["us"] = SECRET
        credential = await made(api, token_url=issuer.token_url, refresh_token=None)
        issuer.withdraw("us")
        connection = {"name": "g", "system": SYSTEM, "url": "http://127.0.0.1:9", "frequency": "manually"}
        there = await api.post("/v1/connections", {**connection, "credential_id": credential["id"]})
        tested = await api.post(f"/v1/connections/{there['id']}/test", {}, 200)
        assert (tested["ok"], tested["error"]["kind"], issuer.issued) == (False, "unreachable", 1)
        issuer.clients["us"] = "another"
        async with api.context.database.write() as connection_:
            await connection_.execute(update(table).values(token=None))
        tested = await api.post(f"/v1/connections/{there['id']}/test", {}, 200)
        assert tested["error"]["kind"] == "auth"
        assert "new secret" in tested["error"]["hint"]


async def test_the_command_line_takes_both_secrets_from_variables_and_files(tmp_path: Path) -> None:
    file = tmp_path / "refresh"
    file.write_text(f"{REFRESH}\n")
    about = ("--kind", "oauth2", "--system", "jira", "--token-url", URL, "--client-id", "us")
    secret, refresh = ("--secret-env", "SECRET"), ("--refresh-token-file", str(file))
    folder = tmp_path / "data"
    both = await run(folder, "credentials", "add", "c", *about, *secret, *refresh, "--json", SECRET=SECRET)
    assert both.code == 0, both.err
    assert '"has_secret": true' in both.out
    assert '"has_refresh_token": true' in both.out
    public = await run(folder, "credentials", "add", "p", *about, *refresh, "--json")
    assert '"has_secret": false' in public.out, public.err
    neither = await run(folder, "credentials", "add", "n", *about)
    assert neither.code != 0
    assert REFRESH not in both.out + both.err + public.out + public.err
