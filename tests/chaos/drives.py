"""What has a process pass each step of the main path, so that it can die there."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import msgspec
import pytest
from sqlalchemy import update

from config.failpoints import Step
from store.database import now
from store.schema import connections
from tests.chaos.roles import Role
from tests.chaos.town import Town
from tidegate.demo.remotes.base import Fault

ISSUES = 25
DIES_WITHIN = 60.0

#: Has the victim pass a step with a new connection to a new project; the connection's id.
Drive = Callable[[Town, Role, str], Awaitable[int]]


async def a_due_time(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    await _due(town, connection_id, "next_due_at")
    return connection_id


async def a_look(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    await town.ends(await town.sync(connection_id))
    await _due(town, connection_id, "next_look_at")
    return connection_id


async def _due(town: Town, connection_id: int, when: str) -> None:
    async with town.database.write() as connection:
        mine = update(connections).where(connections.c.id == connection_id)
        await connection.execute(mine.values({"frequency": "monthly", when: now(-1)}))


async def a_trigger(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    async with town.redis() as redis:
        await redis.xadd("tidegate:triggers", {"connection": project})
    return connection_id


async def a_request(town: Town, victim: Role, project: str) -> int:
    """Asked again by hand, as a person would who got no answer."""
    (connection_id,) = await town.connections([project], ISSUES)
    with pytest.raises(aiohttp.ClientError):
        await town.sync(connection_id)
    await another(town, victim)
    await town.sync(connection_id)
    return connection_id


async def a_webhook(town: Town, victim: Role, project: str) -> int:
    """Sent again under the same name, as Jira does with what was not taken."""
    (connection_id,) = await town.connections([project], ISSUES)
    await town.ends(await town.sync(connection_id))
    issue = town.jira.create_issue(project, "Told by a webhook")
    token = (await town.call("GET", f"/v1/connections/{connection_id}"))["callback_token"]
    body = msgspec.json.encode({"webhookEvent": "jira:issue_created", "issue": {"id": str(issue.id)}})

    async def post() -> None:
        headers = {"X-Atlassian-Webhook-Identifier": "one", "Content-Type": "application/json"}
        async with town.http.post(f"{town.url}/webhooks/{token}", data=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    with pytest.raises(aiohttp.ClientError):
        await post()
    await another(town, victim)
    await post()
    return connection_id


async def a_sync(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    await town.sync(connection_id)
    return connection_id


async def a_census(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    await town.ends(await town.sync(connection_id))
    await town.call("POST", f"/v1/connections/{connection_id}/sync", {"scope": "census"})
    return connection_id


async def an_outage(town: Town, victim: Role, project: str) -> int:
    town.jira.faults.append(Fault("/search", 503, times=1, after=1))
    return await a_sync(town, victim, project)


async def an_end_of_the_process(town: Town, victim: Role, project: str) -> int:
    (connection_id,) = await town.connections([project], ISSUES)
    town.jira.hold(after=1)
    await town.stands_at(await town.sync(connection_id), 1)
    victim.ask_to_end()
    town.jira.open()
    return connection_id


async def another(town: Town, victim: Role) -> None:
    """The victim is dead, and another process of its kind works in its place."""
    async with asyncio.timeout(DIES_WITHIN):
        code = await victim.child.wait()
    assert code == -signal.SIGKILL, victim.tail()
    if len(town.named(victim.name)) == 0:
        await town.start_all(victim.name)


_DRIVES: Mapping[str, tuple[str, Drive]] = {
    "due": ("scheduler", a_due_time),
    "look": ("scheduler", a_look),
    "trigger": ("scheduler", a_trigger),
    "positions": ("scheduler", a_sync),
    "event": ("scheduler", a_sync),
    "asked": ("api", a_request),
    "webhook": ("api", a_webhook),
    "claim": ("worker", a_sync),
    "plan": ("worker", a_sync),
    "page": ("worker", a_sync),
    "end": ("worker", a_sync),
    "slice": ("worker", a_sync),
    "keys": ("worker", a_census),
    "wait": ("worker", an_outage),
    "pass": ("worker", an_end_of_the_process),
}


#: The steps from a trigger to the stream of events; those behind it are those of deliveries.
DRIVEN = [step for step in Step if step.partition("_")[0] in _DRIVES]


def drive_of(step: Step) -> tuple[str, Drive]:
    """The role that passes a step, and what has it do so."""
    return _DRIVES[step.partition("_")[0]]
