"""A role that fails is begun again, later each time; it is told of, and the others live on."""

import asyncio

from structlog.testing import capture_logs

from tidegate import keeping
from tidegate.keeping import Roles, keep


async def test_a_role_that_fails_is_begun_again_later_each_time_and_named_meanwhile() -> None:
    roles, stop, starts = Roles("api", "relay"), asyncio.Event(), 0

    async def fails() -> None:
        nonlocal starts
        starts += 1
        if starts == 3:
            stop.set()
        raise ZeroDivisionError("a bug")

    with capture_logs() as told:
        async with asyncio.timeout(20):
            await keep(roles, "relay", fails, stop)
    waits = [line["again_in"] for line in told if line["event"] == "role.failed"]
    assert waits == [keeping.FIRST_BACKOFF, 2 * keeping.FIRST_BACKOFF]
    assert (roles.failing, roles.working) == (["relay"], ["api"])


async def test_a_role_that_ends_by_itself_is_begun_again_too() -> None:
    roles, stop, starts = Roles("relay"), asyncio.Event(), 0

    async def ends() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            stop.set()

    async with asyncio.timeout(20):
        await keep(roles, "relay", ends, stop)
    assert (starts, roles.failing) == (2, ["relay"])


async def test_a_role_is_ended_with_whoever_keeps_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def goes_on() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    kept = asyncio.create_task(keep(Roles(), "relay", goes_on, asyncio.Event()))
    await begun.wait()
    kept.cancel()
    await asyncio.gather(kept, return_exceptions=True)
    assert ended.is_set()


async def test_at_the_end_a_failure_is_told_and_nothing_begun_again() -> None:
    stop, starts = asyncio.Event(), 0

    async def cannot_end() -> None:
        nonlocal starts
        starts += 1
        stop.set()
        raise OSError("the database is away")

    with capture_logs() as told:
        await keep(Roles("relay"), "relay", cannot_end, stop)
    assert [(line["event"], line["role"]) for line in told] == [("role.not_ended", "relay")]
    assert starts == 1


def test_a_part_that_works_again_is_named_no_more() -> None:
    roles = Roles("scheduler", "relay")
    roles.fails("relay")
    roles.fails("webhooks out")
    roles.works("relay")
    assert (roles.failing, roles.working) == (["webhooks out"], ["scheduler", "relay"])
