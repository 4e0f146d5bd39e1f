"""Sealed secrets that somebody moves in the database: they open nowhere else, and nothing is sent."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Column, Table, select, update

from store.database import Database
from store.outgoing import subscriptions
from store.schema import connections, credentials
from tests.api_server import Api, serving_api
from tests.house import ADAPTERS
from tests.servers import answer, serving

pytestmark = pytest.mark.sqlite_does

TEXT = "the secret of one of them"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, ADAPTERS) as served:
        yield served


async def exchanged(api: Api, table: Table, column: Column[Any], one: int, other: int) -> None:
    """Two rows get the sealed text of each other, which are not the same."""
    async with api.context.database.write() as connection:
        texts = {}
        for which in (one, other):
            query = select(column).where(table.c.id == which)
            texts[which] = (await connection.execute(query)).scalar_one()
        assert texts[one] != texts[other]
        for which, text in ((one, texts[other]), (other, texts[one])):
            await connection.execute(update(table).where(table.c.id == which).values({column.name: text}))


async def test_sealed_texts_that_change_places_open_nowhere_and_nothing_is_sent(api: Api) -> None:
    """Of two projects: a credential, a webhook's secret and a subscriber's, each equal in clear."""
    async with serving(answer(200, b"{}")) as remote:
        made, hooks = [], []
        for name in ("one", "two"):
            project = (await api.post("/v1/projects", {"name": name, "key": name}))["id"]
            body = {"name": name, "system": "jira", "kind": "basic", "username": "me", "secret": TEXT}
            credential = (await api.post("/v1/credentials", body))["id"]
            wanted = {"name": name, "system": "jira", "url": f"{remote.url}/issues/?filter=1"}
            wanted |= {"frequency": "manually", "webhook_secret": TEXT, "project_id": project}
            made.append(await api.post("/v1/connections", {**wanted, "credential_id": credential}))
            hooks.append(await api.post("/v1/subscriptions", {"name": name, "url": f"{remote.url}/hook"}))
        one, two = (each["credential_id"] for each in made)
        await exchanged(api, credentials, credentials.c.secret, one, two)
        first, second = (each["id"] for each in made)
        await exchanged(api, connections, connections.c.webhook_secret, first, second)
        await exchanged(api, subscriptions, subscriptions.c.secret, hooks[0]["id"], hooks[1]["id"])
        for each in made:
            tried = await api.post(f"/v1/connections/{each['id']}/test", None, 200)
            assert (tried["ok"], tried["error"]["kind"]) == (False, "auth")
            assert (await api.synced(each["id"]))["error"]["kind"] == "auth"
            headers = {"X-API-Key": "", "X-Tidegate-Token": TEXT}
            url = f"{api.url}/webhooks/{each['callback_token']}"
            async with api.http.post(url, data=b"{}", headers=headers) as refused:
                assert refused.status == 503
                assert TEXT not in await refused.text()
        for hook in hooks:
            tried = await api.post(f"/v1/subscriptions/{hook['id']}/test", None, 200)
            assert "sealed for another place" in str(tried)
        assert remote.seen == []
