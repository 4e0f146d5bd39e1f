"""A process dies at each step of the main path in turn; another goes on, and nothing is lost or doubled."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import msgspec
import pytest
from sqlalchemy import select, update

from config.failpoints import FAILPOINT, Step
from store.database import now
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.marks import GIVEN_TIME
from tests.chaos.roles import Role
from tests.chaos.town import Town
from tidegate.demo.remotes.base import Fault

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ISSUES = 25
DIES_WITHIN = 60.0
#: A trigger that was read and not acknowledged is taken over after 30 s.
GOES_ON_WITHIN = 90.0

Drive = Callable[[Town, Role], Awaitable[None]]


async def a_due_time(town: Town, victim: Role) -> None:
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    async with town.database.write() as connection:
        mine = update(connections).where(connections.c.id == connection_id)
        await connection.execute(mine.values(frequency="monthly", next_due_at=now(-1)))


async def a_look(town: Town, victim: Role) -> None:
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    await town.ends(await town.sync(connection_id))
    async with town.database.write() as connection:
        mine = update(connections).where(connections.c.id == connection_id)
        await connection.execute(mine.values(frequency="monthly", next_look_at=now(-1)))


async def a_trigger(town: Town, victim: Role) -> None:
    await town.connections(["TIDE"], ISSUES)
    async with town.redis() as redis:
        await redis.xadd("tidegate:triggers", {"connection": "TIDE"})


async def a_request(town: Town, victim: Role) -> None:
    """Asked again by hand, as a person would who got no answer."""
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    with pytest.raises(aiohttp.ClientError):
        await town.sync(connection_id)
    await another(town, victim)
    await town.sync(connection_id)


async def a_webhook(town: Town, victim: Role) -> None:
    """Sent again under the same name, as Jira does with what was not taken."""
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    await town.ends(await town.sync(connection_id))
    issue = town.jira.create_issue("TIDE", "Told by a webhook")
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


async def a_sync(town: Town, victim: Role) -> None:
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    await town.sync(connection_id)


async def a_census(town: Town, victim: Role) -> None:
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    await town.ends(await town.sync(connection_id))
    await town.call("POST", f"/v1/connections/{connection_id}/sync", {"scope": "census"})


async def an_outage(town: Town, victim: Role) -> None:
    town.jira.faults.append(Fault("/search", 503, times=1, after=1))
    await a_sync(town, victim)


async def an_end_of_the_process(town: Town, victim: Role) -> None:
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    town.jira.hold(after=1)
    await town.stands_at(await town.sync(connection_id), 1)
    victim.ask_to_end()
    town.jira.open()


DRIVES: Mapping[str, tuple[str, Drive]] = {
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


async def another(town: Town, victim: Role) -> None:
    """The victim is dead, and another process of its kind works in its place."""
    async with asyncio.timeout(DIES_WITHIN):
        code = await victim.child.wait()
    assert code == -signal.SIGKILL, victim.tail()
    if len(town.named(victim.name)) == 0:
        await town.start_all(victim.name)


async def a_sync_is_there(town: Town) -> bool:
    async with town.database.read() as connection:
        return (await connection.execute(select(syncs.c.id))).first() is not None


#: Those that are tried in short runs, too: `make chaos` tries all.
SHORT = [
    Step.DUE_COMMITTED,
    Step.TRIGGER_COMMITTED,
    Step.WEBHOOK_COMMITTED,
    Step.CLAIM_COMMITTED,
    Step.PAGE_WRITTEN,
    Step.PAGE_COMMITTED,
    Step.PASS_ON_COMMITTED,
    Step.END_COMMITTED,
    Step.EVENT_SENT,
]


@GIVEN_TIME
@pytest.mark.parametrize(
    "step", [pytest.param(one, marks=() if one in SHORT else pytest.mark.soak) for one in Step]
)
async def test_a_process_that_dies_at_any_step_costs_nothing(town: Town, step: Step) -> None:
    role, drive = DRIVES[step.partition("_")[0]]
    others = [await town.start(name) for name in ("api", "scheduler", "worker") if name != role]
    victim = await town.start(role, **{FAILPOINT: f"{step}:1:kill"})
    victim.meant = True
    await town.all_work([*others, victim])
    await drive(town, victim)
    await another(town, victim)
    assert victim.said("failpoint.reached", step=step)
    await town.until(lambda: a_sync_is_there(town), GOES_ON_WITHIN, "what was asked for has its sync")
    await town.all_end(within=GOES_ON_WITHIN)
    await truth.holds(town)


#: Where the process works on by itself once what failed has passed.
FAILING = [
    Step.DUE_WRITTEN,
    Step.DUE_COMMITTED,
    Step.TRIGGER_WRITTEN,
    Step.TRIGGER_COMMITTED,
    Step.CLAIM_COMMITTED,
    Step.PAGE_WRITTEN,
    Step.END_WRITTEN,
    Step.POSITIONS_COMMITTED,
    Step.EVENT_SENT,
]
#: Of these, too, some are tried in short runs.
FEW = [Step.CLAIM_COMMITTED, Step.PAGE_WRITTEN, Step.POSITIONS_COMMITTED]


@pytest.mark.parametrize(
    "step", [pytest.param(one, marks=() if one in FEW else pytest.mark.soak) for one in FAILING]
)
async def test_a_step_that_fails_once_is_made_up_for_by_the_same_process(town: Town, step: Step) -> None:
    role, drive = DRIVES[step.partition("_")[0]]
    others = [await town.start(name) for name in ("api", "scheduler", "worker") if name != role]
    struck = await town.start(role, **{FAILPOINT: f"{step}:1:raise"})
    await town.all_work([*others, struck])
    await drive(town, struck)
    await town.until(lambda: reached(struck, step), DIES_WITHIN, f"{step} is passed")
    await town.until(lambda: a_sync_is_there(town), GOES_ON_WITHIN, "what was asked for has its sync")
    await town.all_end(within=GOES_ON_WITHIN)
    await truth.holds(town)


async def reached(role: Role, step: Step) -> bool:
    return bool(role.said("failpoint.reached", step=step))
