"""A client of the issue tracker connections' document, over a real API."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from sqlalchemy import func, select

import store.credentials
from store.database import Database
from store.schema import audit, connections, credentials
from tests.api_server import ADMIN_KEY, DESCRIBED, Api, serving_api
from tests.house import ADAPTERS
from tidegate.demo.remotes.jira import JiraCloud

PATH = "/api/v2/connections/issue-tracker/"
CONNECTORS = "/api/v2/connectors/issue-tracker/"
TEST = "/api/v2/connections/test-issue-tracker/"
CREATE: Mapping[str, Any] = {
    "alias": "Example Connection",
    "connector": 1,
    "debug_mode": True,
    "project": 1,
    "frequency": "hourly",
    "params": {"issue_tracker_project": "Example Project", "issue_tracker_parent_issue": "Parent"},
}


@asynccontextmanager
async def tracking(database: Database) -> AsyncIterator["Tracker"]:
    """A client of an installation with two projects."""
    async with serving_api(database, ADAPTERS) as served, aiohttp.ClientSession() as http:
        await served.post("/v1/projects", {"name": "Project 1", "key": "one"})
        await served.post("/v1/projects", {"name": "Project 2", "key": "two"})
        yield Tracker(served, http)


class Tracker:
    """Sends requests as the document does, with its key; answers must be such as is described."""

    def __init__(self, api: Api, http: aiohttp.ClientSession) -> None:
        self.api = api
        self._http = http

    async def ask(
        self, method: str, path: str, body: object = None, status: int = 200, key: str | None = ADMIN_KEY
    ) -> Any:
        """The JSON of an answer with this status; None where there is no body."""
        headers = {"Accept": "application/json"}
        if key is not None:
            headers["Authorization"] = f'Token "{key}"'
        url = self.api.url + path
        async with self._http.request(method, url, json=body, headers=headers) as answer:
            told = await answer.json(content_type=None) if await answer.read() else None
            assert answer.status == status, told
            assert answer.headers["Content-Type"] == "application/json"
            address, slash, query = path.partition("?")
            described = f"{address.rstrip('/')}/{slash}{query}"
            wrong = DESCRIBED.wrong_with(method, described, status, answer.headers, told)
            assert wrong is None, wrong
            return told

    async def connector(self, name: str = "Bugs", system: str = "jira", **params: object) -> Any:
        given = {
            "issue_tracker_server": "bugs.server.co",
            "issue_tracker_user": "Sindy",
            "issue_tracker_pass": "a secret of the tests",
        }
        body = {"name": name, "system": {"id": system}, "params": {**given, **params}}
        return await self.ask("POST", CONNECTORS, body, 201)

    async def connection(self, connector: int, project: int = 1, **values: object) -> Any:
        """One that is synced only when asked."""
        body = {**CREATE, "connector": connector, "project": project, "frequency": "manually", **values}
        return await self.ask("POST", PATH, body, 201)

    async def at_site(self, site: JiraCloud, **values: Any) -> Any:
        """One that can be synced, with its connector."""
        connector = await self.connector(
            issue_tracker_server=site.url, issue_tracker_user="username", issue_tracker_pass="password"
        )
        params = {"issue_tracker_project": "rally_project"}
        return await self.connection(connector["id"], **{"params": params, **values})

    async def get(self, connection_id: int, query: str = "") -> Any:
        return await self.ask("GET", f"{PATH}{connection_id}/{query}")

    async def change(self, connection_id: int, body: object, status: int = 200) -> Any:
        return await self.ask("PATCH", f"{PATH}{connection_id}/", body, status)

    async def native(self, connection_id: int) -> Any:
        """The same connection through Tidegate's own API."""
        return await self.api.get(f"/v1/connections/{connection_id}")

    async def secret(self, credential_id: int) -> str:
        """What is stored sealed."""
        async with self.api.context.database.read() as connection:
            sealed = await store.credentials.sealed(connection, credential_id)
        assert sealed is not None
        return self.api.context.vault.open(sealed, store.credentials.place(credential_id))

    async def key_with(self, *permissions: str, projects: list[int] | None = None) -> str:
        body = {"name": "other", "permissions": list(permissions), "projects": projects}
        key: str = (await self.api.post("/v1/keys", body))["key"]
        return key

    async def counted(self) -> list[int]:
        """How many connections, credentials and lines of the audit log there are."""
        async with self.api.context.database.read() as connection:
            return [
                (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (connections, credentials, audit)
            ]
