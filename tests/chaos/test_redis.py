"""Redis emptied, killed and restarted in the middle of syncs: it is only a doorbell."""

import os
import signal

import pytest

from tests.chaos import truth
from tests.chaos.marks import GIVEN, SERVERS
from tests.chaos.servers import OwnRedis
from tests.chaos.town import PROMISED, Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

ISSUES = 40


@GIVEN
async def test_nothing_is_lost_when_redis_is_emptied(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    running = await town.connections(["TIDE", "SURF"], 2 * ISSUES)
    town.jira.hold(after=5)
    for connection_id in running:
        await town.sync(connection_id)
    await town.until(lambda: waiting(town, len(running)), 15, "both syncs are at work")
    # These are rung for while no worker looks, so that Redis loses their rings.
    rung = await town.connections(["SAND", "WIND"], ISSUES)
    await town.freeze(*town.named("worker"))
    for connection_id in rung:
        await town.sync(connection_id)
    async with town.redis() as redis:
        await redis.flushall()
    for worker in town.named("worker"):
        worker.thaw()
    town.jira.open()
    await town.all_end(within=PROMISED + 5)
    await truth.holds(town)


async def test_a_killed_embedded_redis_comes_back_and_all_goes_on(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    running, rung = await town.connections(["TIDE", "SURF"], ISSUES)
    town.jira.hold(after=2)
    await town.stands_at(await town.sync(running), 2)
    async with town.redis() as redis:
        pid = int((await redis.info("server"))["process_id"])
    os.kill(pid, signal.SIGKILL)
    await town.sync(rung)
    town.jira.open()
    await town.all_end(within=PROMISED)
    await truth.holds(town)


@SERVERS
async def test_a_redis_that_restarts_with_nothing_stops_nobody(town: Town, own: OwnRedis) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    running, rung = await town.connections(["TIDE", "SURF"], ISSUES)
    town.jira.hold(after=2)
    await town.stands_at(await town.sync(running), 2)
    await own.kill()
    await town.sync(rung)
    await town.until(lambda: noticed(town), 20, "every worker notices that Redis is gone")
    town.nobody_died()
    await own.start()
    town.jira.open()
    await town.all_end(within=PROMISED)
    await truth.holds(town)


async def waiting(town: Town, searches: int) -> bool:
    return town.jira.held == searches


async def noticed(town: Town) -> bool:
    return all(worker.said("worker.redis_lost") for worker in town.named("worker"))
