"""Walks over pages by offset on a simulated Jira Data Center: nothing slips between, whatever moves."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from adapters.base import Page, TooLarge, Unavailable, Unreadable
from adapters.http import Limits
from adapters.jira import Jira
from adapters.jira.offsets import AHEAD, overlap
from tests.support import read_all
from tests.unit.jira_datacenter import (
    ALL,
    JSON,
    SEARCH,
    asked,
    connected,
    datacenter,
    first_sync,
    keys_of,
    offsets,
)
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter


async def read(remote: JiraDataCenter, cursor: str | None = None) -> tuple[list[Page], str | None]:
    async with connected(remote) as jira:
        return await read_all(jira, "issues", ALL, cursor)


async def keep(jira: Jira, kept: list[Page]) -> None:
    async for page in jira.read("issues", ALL, None):
        kept.append(page)  # noqa: PERF401 - what came before an error is to be kept


def expected_of(pages: list[Page]) -> list[int]:
    return [page.expected["issues"] for page in pages if page.expected]


def each_search(act: Callable[[int], object | None], most: int = 10**9) -> Callable[[int], None]:
    """Act before searches, with their number, but not for ever."""
    count = 0

    def meanwhile(_: int) -> None:
        nonlocal count
        count += 1
        if count <= most:
            act(count)

    return meanwhile


async def test_all_issues_are_read_once_in_order_and_the_total_is_exact() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(450)
        pages, _ = await read(remote)
        assert keys_of(pages) == [str(issue.id) for issue in seeded]
        assert expected_of(pages) == [450] * len(pages)
        assert [page.end for page in pages] == [False] * 4 + [True]
        assert sorted(offsets(remote)) == [0, 95, 190, 285, 380]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 195, 196])
async def test_the_end_is_where_the_total_says(count: int) -> None:
    async with datacenter() as remote:
        remote.seed(count)
        pages, _ = await read(remote)
        assert len(keys_of(pages)) == len(set(keys_of(pages))) == count
        assert pages[-1].end
        assert len(offsets(remote)) == (1 if count <= 100 else 2 if count <= 195 else 3)


async def test_pages_are_asked_for_side_by_side_and_given_in_order() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(1000)
        remote.latency = 0.2
        async with connected(remote) as jira:
            await jira.check()
            began = asyncio.get_running_loop().time()
            pages, _ = await read_all(jira, "issues", ALL)
            took = asyncio.get_running_loop().time() - began
        assert keys_of(pages) == [str(issue.id) for issue in seeded]
        # Eleven pages and two requests before them, one after the other, would take 2.6 s.
        assert took < 2.0


async def test_no_more_than_a_few_pages_are_on_their_way() -> None:
    async with datacenter() as remote:
        remote.seed(2000)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            await anext(reading)
            async with asyncio.timeout(5):
                while len(offsets(remote)) < 1 + AHEAD:  # noqa: ASYNC110 - a ledger has no event
                    await asyncio.sleep(0.001)
            await anext(reading)
            assert len(offsets(remote)) <= 2 + AHEAD
            await reading.aclose()


async def test_a_server_that_gives_fewer_than_asked_for_is_stepped_through_as_it_likes() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(230)
        remote.max_page = 20
        pages, _ = await read(remote)
        assert keys_of(pages) == [str(issue.id) for issue in seeded]
        assert sorted(offsets(remote))[:3] == [0, 19, 38]


async def test_issues_deleted_while_pages_are_read_push_no_other_out() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(1200)
        victims = iter([issue.id for issue in seeded[:90]])

        def delete(_: int) -> None:
            for _ in range(3):
                remote.delete_issue(next(victims))

        remote.meanwhile = each_search(delete, 30)
        pages, _ = await read(remote)
        assert set(keys_of(pages)) >= {str(number) for number in remote.issues}
        assert pages[-1].end


@pytest.mark.parametrize("at_once", [1, 4, 5, 6, 40, 150])
async def test_many_issues_deleted_at_once_push_no_other_out(at_once: int) -> None:
    async with datacenter() as remote:
        seeded = remote.seed(1200)

        def delete(number: int) -> None:
            if number == 4:
                for issue in seeded[100 : 100 + at_once]:
                    remote.delete_issue(issue.id)

        remote.meanwhile = each_search(delete)
        pages, _ = await read(remote)
        assert set(keys_of(pages)) >= {str(number) for number in remote.issues}
        assert expected_of(pages)[-1] == 1200 - at_once


async def test_issues_that_leave_the_filter_while_pages_are_read_push_no_other_out() -> None:
    async with datacenter() as remote:
        remote.add_project("OPS")
        seeded = remote.seed(1000)
        remote.meanwhile = each_search(
            lambda n: [remote.move_issue(issue.id, "OPS") for issue in seeded[n * 10 : n * 10 + 8]], 20
        )
        pages, _ = await read(remote)
        stayed = {str(issue.id) for issue in remote.issues.values() if issue.project == "TG"}
        assert set(keys_of(pages)) >= stayed


async def test_issues_that_enter_in_front_repeat_none_but_a_few_and_lose_none() -> None:
    async with datacenter() as remote:
        remote.add_project("OPS")
        old = [remote.create_issue("OPS", f"{n}") for n in range(60)]
        remote.clock.advance(timedelta(days=30))
        seeded = remote.seed(800)
        remote.meanwhile = each_search(
            lambda n: [remote.move_issue(issue.id, "TG") for issue in old[n * 2 : n * 2 + 2]], 25
        )
        pages, cursor = await read(remote)
        assert set(keys_of(pages)) >= {str(issue.id) for issue in seeded}
        assert expected_of(pages)[-1] <= len(set(keys_of(pages)))
        again, _ = await read(remote, cursor)
        entered = {str(issue.id) for issue in old if remote.issues[issue.id].project == "TG"}
        assert entered
        assert entered <= set(keys_of(pages)) | set(keys_of(again))


async def test_issues_updated_during_an_incremental_walk_push_no_other_out() -> None:
    async with datacenter() as remote:
        remote.seed(600)
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=2))
        changed = [remote.update_issue(number, status="Done") for number in range(10_001, 10_601)]
        remote.clock.advance(timedelta(hours=1))
        remote.meanwhile = each_search(
            lambda n: [remote.update_issue(i, summary="!") for i in range(10_001 + n * 9, 10_010 + n * 9)], 9
        )
        pages, after = await read(remote, cursor)
        assert set(keys_of(pages)) == {str(issue.id) for issue in changed}
        assert pages[-1].end
        again, _ = await read(remote, after)
        assert len(set(keys_of(again))) >= 9 * 9


@pytest.mark.parametrize(("matching", "last_moved"), [(500, 130), (150, 105)])
async def test_an_index_that_moves_rows_late_loses_none_either(matching: int, last_moved: int) -> None:
    async with datacenter() as remote:
        remote.seed(600)
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=2))
        settled = [remote.update_issue(number, status="Done") for number in range(10_001, 10_001 + matching)]
        remote.clock.advance(timedelta(hours=1))
        # Shown as new already, but sorted in their old place until the index knows.
        remote.lag = timedelta(seconds=5)
        for number in range(10_060, 10_001 + last_moved):
            remote.update_issue(number, summary="!")
        remote.meanwhile = each_search(lambda n: remote.clock.advance(timedelta(seconds=6 if n == 2 else 0)))
        pages, _ = await read(remote, cursor)
        assert set(keys_of(pages)) >= {str(issue.id) for issue in settled}


async def test_a_page_that_fails_keeps_the_earlier_ones_and_reading_goes_on_behind_them() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(1000)
        kept: list[Page] = []
        remote.faults.append(Fault(SEARCH, status=503, after=4))
        async with connected(remote) as jira:
            with pytest.raises(Unavailable):
                await keep(jira, kept)
        assert 0 < len(kept) <= 4
        rest, _ = await read(remote, kept[-1].cursor)
        assert keys_of([*kept, *rest]) == [str(issue.id) for issue in seeded]
        assert expected_of(rest)[-1] == 1000


async def test_a_walk_that_was_interrupted_while_issues_went_loses_none() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(500)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            kept = [await anext(reading) for _ in range(3)]
            await reading.aclose()
        for issue in seeded[:250]:
            remote.delete_issue(issue.id)
        rest, cursor = await read(remote, kept[-1].cursor)
        assert set(keys_of([*kept, *rest])) >= {str(number) for number in remote.issues}
        changed = remote.update_issue(seeded[400].id, status="Done")
        again, _ = await read(remote, cursor)
        assert str(changed.id) in keys_of(again)


async def test_closing_the_reading_leaves_no_request_on_its_way() -> None:
    async with datacenter() as remote:
        remote.seed(900)
        remote.faults.append(Fault(SEARCH, delay=30, after=1, times=9))
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            await anext(reading)
            async with asyncio.timeout(10):
                await reading.aclose()
            assert not [task for task in asyncio.all_tasks() if "_search" in repr(task)]


async def test_a_thousand_issues_of_one_moment_are_all_read_incrementally() -> None:
    async with datacenter() as remote:
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=1))
        made = [remote.create_issue("TG", f"{n}") for n in range(1000)]
        remote.clock.advance(timedelta(hours=1))
        pages, _ = await read(remote, cursor)
        assert sorted(keys_of(pages)) == sorted(str(issue.id) for issue in made)


async def test_going_back_asks_by_time_from_the_minute_that_was_reached() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(300)

        def delete(number: int) -> None:
            if number == 2:
                for issue in seeded[:90]:
                    remote.delete_issue(issue.id)

        remote.meanwhile = each_search(delete)
        await read(remote)
        assert any("created >=" in jql for jql in asked(remote))


async def test_issues_that_change_faster_than_they_are_read_are_left_for_later() -> None:
    async with datacenter() as remote:
        remote.seed(2000, spread=timedelta())
        spare = iter(list(remote.issues))

        def delete(_: int) -> None:
            for _ in range(30):
                remote.delete_issue(next(spare))

        remote.meanwhile = each_search(delete)
        with pytest.raises(Unavailable, match="faster"):
            await read(remote)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"startAt":0,"maxResults":100,"total":7,"issues":[]}', "gives none"),
        (b'{"startAt":50,"maxResults":100,"total":0,"issues":[]}', "asked for the issues from 0 on"),
        (b'{"startAt":0,"maxResults":100,"issues":[]}', "total"),
        (b'{"startAt":0,"maxResults":100,"total":0}', "issues"),
    ],
)
async def test_a_page_that_makes_no_sense_is_not_empty(body: bytes, says: str) -> None:
    async with datacenter() as remote:
        remote.seed(7)
        remote.faults.append(Fault(SEARCH, 200, body, JSON, times=20))
        with pytest.raises(Unreadable, match=says):
            await read(remote)


async def test_a_site_that_gives_the_first_page_for_ever_ends_in_an_error() -> None:
    async with datacenter() as remote:
        issues = b",".join(remote.body(issue) for issue in remote.seed(100))
        remote.faults.append(Fault(SEARCH, 200, b'{"total":300,"issues":[%s]}' % issues, JSON, times=99))
        with pytest.raises(Unavailable):
            await read(remote)


async def test_an_answer_too_large_is_asked_for_in_smaller_pages() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(250)
        async with connected(remote, limits=Limits(body=200_000)) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert keys_of(pages) == [str(issue.id) for issue in seeded]


async def test_two_issues_that_are_too_large_together_are_an_error_with_a_reason() -> None:
    async with datacenter() as remote:
        remote.seed(10)
        async with connected(remote, limits=Limits(body=2_000)) as jira:
            with pytest.raises(TooLarge):
                await read_all(jira, "issues", ALL)


async def test_one_bad_issue_at_the_joint_of_two_pages_is_rejected_once() -> None:
    async with datacenter() as remote:
        seeded = remote.seed(250)
        remote.send_instead(seeded[97].id, b'{"key":"TG-98"}')
        pages, _ = await read(remote)
        assert len(keys_of(pages)) == len(set(keys_of(pages))) == 249
        assert [len(page.rejected) for page in pages] == [1, 0, 0]
        assert expected_of(pages)[-1] == 250


def test_pages_overlap_by_less_than_they_hold() -> None:
    assert [overlap(rows) for rows in (0, 1, 2, 3, 20, 40, 100, 1000)] == [0, 0, 1, 1, 1, 2, 5, 50]


def test_the_walk_is_declared_within_the_budget_of_a_host() -> None:
    assert Jira.limits.parallel > AHEAD
