"""Walks over many pages of a simulated Jira Cloud site: stopped, resumed, changed meanwhile, in circles."""

import asyncio
from datetime import timedelta

import pytest

from adapters.base import Page, Unavailable, Unreadable
from tests.support import read_all
from tests.unit.jira_cloud import ALL, JSON, SEARCH, cloud, connected, first_sync, keep, keys_of
from tidegate.demo.remotes.base import Fault


async def test_a_page_that_fails_keeps_the_earlier_ones_and_reading_goes_on_behind_them() -> None:
    async with cloud() as remote:
        seeded = remote.seed(2000)
        remote.faults.append(Fault(SEARCH, status=503, after=9))
        kept: list[Page] = []
        async with connected(remote) as jira:
            with pytest.raises(Unavailable):
                await keep(jira, kept)
        assert len(kept) == 9
        async with connected(remote) as jira:
            rest, _ = await read_all(jira, "issues", ALL, kept[-1].cursor)
        assert keys_of([*kept, *rest]) == [str(issue.id) for issue in seeded]


async def test_a_reader_that_stops_early_goes_on_behind_its_last_page() -> None:
    async with cloud() as remote:
        remote.seed(450)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            first = await anext(reading)
            await reading.aclose()
        async with connected(remote) as jira:
            rest, _ = await read_all(jira, "issues", ALL, first.cursor)
        assert len(keys_of([first, *rest])) == len(set(keys_of([first, *rest]))) == 450


async def test_the_next_page_is_on_its_way_before_this_one_is_given() -> None:
    async with cloud() as remote:
        remote.seed(250)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            await anext(reading)
            async with asyncio.timeout(5):
                while len(remote.requests(SEARCH)) < 2:  # noqa: ASYNC110 - a ledger has no event
                    await asyncio.sleep(0.001)
            await reading.aclose()


async def test_closing_the_reading_waits_for_no_request_that_is_on_its_way() -> None:
    async with cloud() as remote:
        remote.seed(250)
        remote.faults.append(Fault(SEARCH, delay=30, after=1))
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            await anext(reading)
            async with asyncio.timeout(10):
                await reading.aclose()
            assert not [task for task in asyncio.all_tasks() if "_search" in repr(task)]


async def test_a_walk_that_was_interrupted_ends_with_the_time_of_its_first_request() -> None:
    async with cloud() as remote:
        remote.seed(250)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            first = await anext(reading)
            await reading.aclose()
        changed = remote.update_issue(10_001, status="Done")
        remote.clock.advance(timedelta(days=2))
        async with connected(remote) as jira:
            _, cursor = await read_all(jira, "issues", ALL, first.cursor)
            again, _ = await read_all(jira, "issues", ALL, cursor)
        assert str(changed.id) in keys_of(again)


async def test_issues_changed_during_a_first_read_move_no_other_out_of_it() -> None:
    async with cloud() as remote:
        remote.seed(300)
        seen: list[str] = []
        async with connected(remote) as jira:
            async for page in jira.read("issues", ALL, None):
                seen += keys_of([page])
                for number in range(10_001, 10_050):
                    remote.update_issue(number, status="Done")
        assert seen == [str(number) for number in range(10_001, 10_301)]


async def test_an_expired_token_goes_on_from_where_the_walk_was() -> None:
    async with cloud() as remote:
        seeded = remote.seed(1000)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            kept = [await anext(reading) for _ in range(5)]
            await reading.aclose()
        remote.expire_tokens()
        async with connected(remote) as jira:
            rest, _ = await read_all(jira, "issues", ALL, kept[-1].cursor)
        assert set(keys_of([*kept, *rest])) == {str(issue.id) for issue in seeded}
        assert len(keys_of(rest)) < 510
        assert rest[-1].end


async def test_an_expired_token_of_an_incremental_walk_loses_nothing() -> None:
    async with cloud() as remote:
        remote.seed(300)
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=1))
        changed = [remote.update_issue(number, status="Done") for number in range(10_001, 10_301)]
        remote.clock.advance(timedelta(minutes=30))
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, cursor)
            kept = [await anext(reading)]
            await reading.aclose()
        remote.expire_tokens()
        async with connected(remote) as jira:
            rest, _ = await read_all(jira, "issues", ALL, kept[0].cursor)
        assert set(keys_of([*kept, *rest])) == {str(issue.id) for issue in changed}


async def test_tokens_that_are_always_refused_end_in_an_error_and_not_in_a_loop() -> None:
    async with cloud() as remote:
        remote.seed(300, spread=timedelta())
        pages: list[Page] = []
        async with connected(remote) as jira:
            with pytest.raises(Unreadable, match="refusing the page token"):
                await keep(jira, pages, remote.expire_tokens)
        assert len(pages) < 6


async def test_a_token_that_repeats_is_an_error() -> None:
    async with cloud() as remote:
        remote.seed(400)
        remote.repeats_token = True
        async with connected(remote) as jira:
            with pytest.raises(Unreadable, match="circle"):
                await read_all(jira, "issues", ALL)


async def test_a_chain_begun_anew_may_use_the_same_tokens_again() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Old")
        remote.clock.advance(timedelta(days=1))
        first = b'{"issues":[%s],"nextPageToken":"page-2"}' % remote.body(issue)
        second = first.replace(b"page-2", b"page-3")
        last = b'{"issues":[],"isLast":true}'
        for status, body in ((200, first), (200, second), (400, b"{}"), (200, first), (200, last)):
            remote.faults.append(Fault(SEARCH, status, body, JSON))
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert [page.end for page in pages] == [False, False, False, True]
