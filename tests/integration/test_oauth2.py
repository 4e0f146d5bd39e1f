"""Connections of kind `oauth2`: tokens fetched once, renewed in time, and never lost or shown."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from adapters.auth import Auth
from adapters.base import Unavailable
from adapters.guard import AddressGuard
from adapters.http import Http, LocalBudget, Meter, open_session, utc_now
from adapters.oauth2 import LIMITS, Door
from store import credentials as stored
from store import tokens
from store.connections import Connection
from store.credentials import HOLDS
from store.database import Database, clock, now
from store.schema import credentials as table
from store.tokens import Secrets
from tests.gated import PAGES, SYSTEM, Gated, GatedRemote
from tests.house import House, open_house
from tidegate.demo.remotes.tokens import TokenServer
from worker.sync import run_slice
from worker.tokens import StoredTokens, _end

SECRET = "canary-client-secret"


@pytest.fixture
async def issuer() -> AsyncIterator[TokenServer]:
    async with TokenServer() as started:
        started.clients["us"] = SECRET
        yield started


@pytest.fixture
async def remote(issuer: TokenServer) -> AsyncIterator[GatedRemote]:
    async with GatedRemote(issuer) as started:
        yield started


@pytest.fixture
async def gated(database: Database) -> AsyncIterator[House]:
    async with open_house(database, {SYSTEM: Gated}) as made:
        yield made


async def credential(house: House, issuer: TokenServer, *, consent: bool = True) -> int:
    """A credential as the API stores it."""
    secrets = Secrets(SECRET, issuer.consent("us") if consent else None)
    holds = ["secret", "refresh_token"] if consent else ["secret"]
    values = {"name": "c", "system": SYSTEM, "kind": "oauth2"}
    options = {"token_url": issuer.token_url, "client_id": "us", HOLDS: holds}
    async with house.database.write() as connection:
        at = await clock(connection)
        made = await stored.add(connection, {**values, "options": options}, at)
        sealed = house.vault.seal(secrets.as_text(), stored.place(made))
        await stored.change(connection, made, {"secret": sealed})
    return made


async def connected(house: House, issuer: TokenServer, remote: GatedRemote, **how: bool) -> Connection:
    return await house.connection(SYSTEM, remote.url, await credential(house, issuer, **how))


async def row(house: House) -> dict[str, Any]:
    async with house.database.read() as connection:
        return dict((await connection.execute(select(table))).mappings().one())


async def change(house: House, **values: object) -> None:
    async with house.database.write() as connection:
        await connection.execute(update(table).values(values))


async def refresh_token(house: House) -> str | None:
    found = await row(house)
    opened = house.vault.open(found["secret"], stored.place(found["id"]))
    return tokens.secrets_of(opened).refresh_token


async def last_consented(issuer: TokenServer) -> str:
    return issuer._consents[0].tokens[-1]


def of(house: House, database: Database, session: Any, credential_id: int) -> StoredTokens:
    """The tokens as one more process has them."""

    def to(token_url: str) -> Door:
        base = token_url.removesuffix("/oauth/token")

        def door(auth: Auth) -> Http:
            return Http(session, base, auth, LocalBudget(utc_now), LIMITS, utc_now, Meter())

        return door

    return StoredTokens(database, house.vault, credential_id, to, Random(1))


@pytest.mark.parametrize("consent", [True, False])
async def test_the_first_sync_fetches_a_token_and_the_second_uses_it(
    gated: House, issuer: TokenServer, remote: GatedRemote, consent: bool
) -> None:
    connection = await connected(gated, issuer, remote, consent=consent)
    for _ in range(2):
        assert (await gated.sync(connection.id)).state == "succeeded"
    assert issuer.issued == 1
    assert len(remote.requests()) == 2 * PAGES


async def test_a_token_near_its_end_is_renewed_before_it_is_refused(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    await gated.sync(connection.id)
    await change(gated, token_expires_at=now(29.0))
    assert (await gated.sync(connection.id)).state == "succeeded"
    assert issuer.issued == 2
    assert len(remote.requests()) == 2 * PAGES
    await change(gated, token_expires_at=now(90.0))
    await gated.sync(connection.id)
    assert issuer.issued == 2


@pytest.mark.parametrize(("lives", "ends"), [(3600, 3600), (120, 120), (60, 90), (10, 65)])
async def test_a_token_of_a_short_life_is_renewed_at_half_of_it(lives: float, ends: float) -> None:
    at = utc_now()
    assert _end(at, lives) - at == timedelta(seconds=ends)


async def test_two_processes_that_need_a_token_at_once_fetch_one(
    gated: House, database: Database, issuer: TokenServer
) -> None:
    issuer.latency = 0.3
    made = await credential(gated, issuer)
    url = database.engine.url.render_as_string(hide_password=False)
    another = Database(url, database.schema)
    try:
        async with open_session(AddressGuard(["127.0.0.1/32"])) as session:
            both = [of(gated, each, session, made) for each in (database, another)]
            got = await asyncio.gather(*(both[i % 2].usable() for i in range(8)))
    finally:
        await another.close()
    assert issuer.issued == 1
    assert len({token.reveal() for token in got}) == 1


async def test_one_who_died_while_fetching_is_not_waited_for_longer_than_the_lease(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    await change(gated, renewing="dead", renewing_until=now(0.5))
    before = utc_now()
    assert (await gated.sync(connection.id)).state == "succeeded"
    assert utc_now() - before > timedelta(seconds=0.4)
    assert (await row(gated))["renewing"] is None


async def test_the_new_refresh_token_is_stored_before_the_access_token_is_used(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    first = await refresh_token(gated)
    kept: list[bool] = []

    async def at_the_first_use(_: int) -> None:
        there = await refresh_token(gated)
        kept.append(there != first and there == await last_consented(issuer))

    remote.before = at_the_first_use
    await gated.sync(connection.id)
    assert kept == [True] * PAGES


async def test_one_who_dies_when_the_token_is_first_used_leaves_it_to_the_next(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    using = asyncio.Event()

    async def hang(_: int) -> None:
        using.set()
        await asyncio.Event().wait()

    remote.before = hang
    opened = await gated.open(connection.id)
    dying = asyncio.create_task(run_slice(gated.deps, opened.id))
    await using.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    remote.before = None
    assert (await gated.work(opened.id)).state == "succeeded"
    assert issuer.issued == 1


async def test_one_who_is_to_end_while_fetching_stores_the_token_first(
    gated: House, database: Database, issuer: TokenServer
) -> None:
    issuer.latency = 0.3
    made = await credential(gated, issuer)
    async with open_session(AddressGuard(["127.0.0.1/32"])) as session:
        fetching = asyncio.create_task(of(gated, database, session, made).usable())
        while not issuer.ledger:  # noqa: ASYNC110 - a request sets no event of ours
            await asyncio.sleep(0.01)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert await refresh_token(gated) == await last_consented(issuer)
        await of(gated, database, session, made).usable()
    assert issuer.issued == 1


async def test_a_refresh_token_that_was_used_elsewhere_ends_the_consent_and_says_what_to_do(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    before = (await row(gated))["secret"]
    await gated.sync(connection.id)
    # As if the answer with the new one had never been stored.
    await change(gated, secret=before, token=None)
    sync = await gated.sync(connection.id)
    assert (sync.state, sync.error and sync.error.kind) == ("failed", "auth")
    after = await gated.get(connection.id)
    assert (after.health, after.cause) == ("failed", "auth")
    assert sync.error is not None
    assert "Unknown or invalid refresh token" in sync.error.message
    assert "Consent again" in sync.error.hint
    assert len(remote.requests()) == PAGES


async def test_a_client_secret_that_has_expired_says_what_to_do(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    issuer.vendor = "entra"
    issuer.expired.add(SECRET)
    connection = await connected(gated, issuer, remote, consent=False)
    sync = await gated.sync(connection.id)
    assert sync.error is not None
    assert (sync.error.kind, "new secret" in sync.error.hint) == ("auth", True)
    assert "AADSTS7000222" in sync.error.message
    assert "Trace" not in sync.error.message
    assert (await row(gated))["renewing"] is None


async def test_a_token_that_is_refused_in_the_middle_is_renewed_once(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    asked: list[int] = []

    async def end(number: int) -> None:
        asked.append(number)
        if asked == [1, 2, 3]:
            issuer.end_tokens()

    remote.before = end
    assert (await gated.sync(connection.id)).state == "succeeded"
    assert sorted(asked) == [1, 2, 3, 3, 4]
    assert issuer.issued == 2
    assert await gated.keys(SYSTEM, "things") == {"1", "2", "3", "4"}


async def test_a_remote_that_refuses_every_token_is_not_asked_for_ever(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    remote.refuses_all = True
    sync = await gated.sync(connection.id)
    assert (sync.state, sync.error and sync.error.kind) == ("failed", "auth")
    assert (issuer.issued, len(remote.requests())) == (2, 2)


async def test_an_issuer_that_is_away_makes_the_sync_wait(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    await issuer.close()
    sync = await gated.sync(connection.id)
    assert (sync.state, sync.error and sync.error.kind) == ("waiting", Unavailable.kind)


async def test_a_token_fetched_with_secrets_that_were_replaced_meanwhile_is_not_stored(
    gated: House, database: Database, issuer: TokenServer
) -> None:
    issuer.latency = 0.3
    made = await credential(gated, issuer)
    async with open_session(AddressGuard(["127.0.0.1/32"])) as session:
        fetching = asyncio.create_task(of(gated, database, session, made).usable())
        while not issuer.ledger:  # noqa: ASYNC110 - a request sets no event of ours
            await asyncio.sleep(0.01)
        other = issuer.consent("us")
        sealed = gated.vault.seal(Secrets(SECRET, other).as_text(), stored.place(made))
        await change(gated, secret=sealed)
        await fetching
    assert issuer.issued == 2
    assert await refresh_token(gated) == issuer._consents[1].tokens[-1] != other


async def test_a_token_fetched_while_its_secrets_were_sealed_anew_is_stored(
    gated: House, database: Database, issuer: TokenServer
) -> None:
    """A refresh token is given once: if the new one were dropped, the consent would be lost."""
    issuer.latency = 0.3
    made = await credential(gated, issuer)
    async with open_session(AddressGuard(["127.0.0.1/32"])) as session:
        fetching = asyncio.create_task(of(gated, database, session, made).usable())
        while not issuer.ledger:  # noqa: ASYNC110 - a request sets no event of ours
            await asyncio.sleep(0.01)
        opened = gated.vault.open((await row(gated))["secret"], stored.place(made))
        await change(gated, secret=gated.vault.seal(opened, stored.place(made)))
        await fetching
    assert issuer.issued == 1
    assert await refresh_token(gated) == await last_consented(issuer)


async def test_no_secret_and_no_token_is_in_a_table_or_an_event_or_shown(
    gated: House, issuer: TokenServer, remote: GatedRemote
) -> None:
    connection = await connected(gated, issuer, remote)
    await gated.sync(connection.id)
    issuer.withdraw("us")
    issuer.end_tokens()
    sync = await gated.sync(connection.id)
    assert sync.state == "failed"
    found = await row(gated)
    texts = [repr(found), repr(sync), repr(await gated.get(connection.id))]
    texts += [repr(event) for event in await gated.events(connection.id)]
    async with gated.database.read() as reading:
        held = await tokens.get(reading, found["id"])
        adapter = await gated.deps.remotes.open(reading, connection, utc_now, Meter())
    assert isinstance(adapter, Gated)
    texts += [repr(held), repr(adapter), repr(vars(adapter)), repr(adapter._http.auth)]
    sent = {seen.authorization for seen in remote.requests()} - {None}
    secrets = [SECRET, *issuer._consents[0].tokens, *(str(one).removeprefix("Bearer ") for one in sent)]
    assert len(secrets) >= 4
    for text in texts:
        assert not any(secret in text for secret in secrets)
    assert msgspec.json.encode(texts)


async def test_the_lease_is_held_by_one_until_it_is_over_or_the_token_is_another(
    gated: House, issuer: TokenServer
) -> None:
    made = await credential(gated, issuer)

    async def taken(who: str, token: str | None = None) -> bool:
        async with gated.database.write() as connection:
            return await tokens.lease(connection, made, who, token) is not None

    assert [await taken(who) for who in ("a", "b")] == [True, False]
    await change(gated, renewing_until=now(-1.0))
    assert [await taken(who) for who in ("b", "c")] == [True, False]
    async with gated.database.write() as connection:
        await tokens.release(connection, made, "a")
    assert not await taken("c")
    async with gated.database.write() as connection:
        await tokens.release(connection, made, "b")
    await change(gated, token="another")
    assert not await taken("c")
    assert await taken("c", "another")
