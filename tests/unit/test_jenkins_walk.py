"""Reading the builds of a job: nothing lost, nothing read in vain."""

import json
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Record, Unreadable
from adapters.jenkins.builds import Build, Builds, Mark
from adapters.jenkins.walk import Cursor, advance, is_idle, next_range, on
from tests.support import records_of
from tests.unit.jenkins_site import connected, controller, named, numbers, partition_of, read_job
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController

MINUTE = timedelta(minutes=1)


def run_builds(remote: JenkinsController, job: str, count: int) -> None:
    """So many builds, one after the other, a minute each."""
    for _ in range(count):
        remote.start_build(job, MINUTE)
        remote.clock.advance(MINUTE)


async def test_two_thousand_builds_are_read_in_at_most_sixty_requests() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=2000)
        records, _ = await read_job(remote, "service-0000")
        assert numbers(records) == list(range(1, 2001))
        assert len(remote.ledger) <= 60


async def test_an_idle_job_costs_no_request_beyond_the_listing() -> None:
    async with controller() as remote:
        remote.seed(jobs=20, builds=3)
        cursors = {}
        async with connected(remote) as adapter:
            for partition in await adapter.plan("builds"):
                async for page in adapter.read("builds", partition, None):
                    cursors[partition.name] = page.cursor
        remote.ledger.clear()
        async with connected(remote) as adapter:
            for partition in await adapter.plan("builds"):
                cursor = cursors[partition.name]
                pages = [page async for page in adapter.read("builds", partition, cursor)]
                assert [page.end for page in pages] == [True]
                assert pages[0].cursor == cursor
        assert len(remote.ledger) == 1


async def test_a_new_build_is_read_in_one_request_with_the_last_few() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 40)
        _, cursor = await read_job(remote, "app")
        run_builds(remote, "app", 1)
        remote.ledger.clear()
        records, _ = await read_job(remote, "app", cursor)
        assert numbers(records) == list(range(31, 42))
        assert [seen.query["tree"].partition("[")[0] for seen in remote.requests("/job/app/")] == ["builds"]


async def test_builds_beyond_the_newest_hundred_are_read_after_a_long_pause() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 10)
        _, cursor = await read_job(remote, "app")
        run_builds(remote, "app", 350)
        records, _ = await read_job(remote, "app", cursor)
        assert set(range(11, 361)) <= set(numbers(records))


async def test_a_build_that_starts_during_the_walk_is_read_by_the_next_and_none_is_skipped() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=350)
        seen: list[Record] = []
        cursor = None
        async with connected(remote) as adapter:
            async for page in adapter.read("builds", await partition_of(adapter, "service-0000"), None):
                seen += page.records
                cursor = page.cursor
                run_builds(remote, "service-0000", 7)
        assert set(numbers(seen)) >= set(range(1, 351))
        assert len(seen) == len({record.key for record in seen})
        later, _ = await read_job(remote, "service-0000", cursor)
        newest = remote.job("service-0000").next_number - 1
        assert set(numbers(seen + later)) == set(range(1, newest + 1))


async def test_builds_that_vanish_during_the_walk_make_no_gap() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=400)
        seen: list[Record] = []
        async with connected(remote) as adapter:
            async for page in adapter.read("builds", await partition_of(adapter, "service-0000"), None):
                seen += page.records
                for number in range(395, 330, -1):
                    remote.job("service-0000").builds.pop(number, None)
        assert set(numbers(seen)) >= set(range(1, 331))


async def test_a_walk_whose_oldest_builds_are_rotated_away_comes_to_its_end() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=250)
        seen: list[Record] = []
        async with connected(remote) as adapter:
            async for page in adapter.read("builds", await partition_of(adapter, "service-0000"), None):
                seen += page.records
                remote.rotate("service-0000", keep=100)
                ended = page.end
        assert ended
        assert set(numbers(seen)) >= set(range(151, 251))


async def test_an_interrupted_walk_goes_on_in_another_process_and_leaves_no_gap() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=500)
        seen: list[Record] = []
        cursor = None
        for _ in range(20):
            async with connected(remote) as adapter:
                reading = adapter.read("builds", await partition_of(adapter, "service-0000"), cursor)
                page = await anext(reading)
                seen += page.records
                cursor = page.cursor
            run_builds(remote, "service-0000", 1)
            if page.end:
                break
        assert page.end
        newest = max(numbers(seen))
        assert set(numbers(seen)) == set(range(1, newest + 1))
        assert newest > 500


async def test_the_first_page_after_an_interruption_asks_where_the_last_one_ended() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=500)
        async with connected(remote) as adapter:
            page = await anext(adapter.read("builds", await partition_of(adapter, "service-0000"), None))
        async with connected(remote) as adapter:
            partition = await partition_of(adapter, "service-0000")
            again = await anext(adapter.read("builds", partition, page.cursor))
        assert numbers(list(again.records)) == list(range(302, 401))
        assert not set(again.records) & set(page.records)


async def test_a_job_made_anew_is_read_from_the_beginning_even_with_fewer_builds() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 20)
        old, cursor = await read_job(remote, "app")
        remote.recreate_job("app")
        run_builds(remote, "app", 3)
        new, cursor = await read_job(remote, "app", cursor)
        assert numbers(new) == [1, 2, 3]
        assert not {r.key for r in new} & {r.key for r in old}
        assert json.loads(cursor or "")["top"] == 3


@pytest.mark.parametrize("builds", [20, 25, 180])
async def test_a_job_made_anew_that_overtook_its_former_self_is_read_from_the_beginning(builds: int) -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 20)
        _, cursor = await read_job(remote, "app")
        remote.recreate_job("app")
        run_builds(remote, "app", builds)
        new, _ = await read_job(remote, "app", cursor)
        assert numbers(new) == list(range(1, builds + 1))


async def test_a_job_whose_newest_build_was_deleted_is_not_read_again() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 20)
        _, cursor = await read_job(remote, "app")
        remote.delete_build("app", 20)
        remote.ledger.clear()
        records, after = await read_job(remote, "app", cursor)
        assert (records, after) == ([], cursor)
        assert len(remote.ledger) == 1
        run_builds(remote, "app", 1)
        records, _ = await read_job(remote, "app", after)
        assert 21 in numbers(records)


async def test_a_job_without_builds_is_read_without_a_request() -> None:
    async with controller() as remote:
        remote.add_job("app")
        records, cursor = await read_job(remote, "app")
        assert records == []
        run_builds(remote, "app", 1)
        records, _ = await read_job(remote, "app", cursor)
        assert numbers(records) == [1]


async def test_a_rejected_build_is_reported_and_the_others_of_its_page_live() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 5)
        remote.job("app").builds[3].broken = {"timestamp": "yesterday"}
        async with connected(remote) as adapter:
            partition = await partition_of(adapter, "app")
            pages = [page async for page in adapter.read("builds", partition, None)]
        assert numbers(records_of(pages)) == [1, 2, 4, 5]
        (rejected,) = pages[0].rejected
        assert (rejected.stream, rejected.key) == ("builds", "app#3")
        assert b'"yesterday"' in rejected.body
        assert "timestamp" in rejected.reason


async def test_rejected_builds_at_the_edges_of_pages_do_not_stop_the_walk() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=350)
        bad = [251, 250, 152, 151]
        for number in bad:
            remote.job("service-0000").builds[number].broken = {"timestamp": None}
        records, _ = await read_job(remote, "service-0000")
        assert numbers(records) == [n for n in range(1, 351) if n not in bad]


async def test_members_of_an_unexpected_type_leave_their_columns_empty() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 1)
        remote.job("app").builds[1].broken = {
            "duration": "long",
            "result": 7,
            "queueId": 2**70,
            "actions": "none",
            "displayName": ["x"],
        }
        (record,), _ = await read_job(remote, "app")
        columns = named(record)
        assert columns["duration"] is columns["result"] is columns["queue_id"] is columns["cause"] is None
        assert columns["number"] == 1


async def test_an_answer_without_the_list_is_not_taken_for_a_job_without_builds() -> None:
    async with controller() as remote:
        remote.add_job("app")
        run_builds(remote, "app", 1)
        headers = {"Content-Type": "application/json", "X-Jenkins": "2.462.1"}
        remote.faults.append(Fault("/job/app/", 200, b'{"_class":"x"}', headers))
        with pytest.raises(Unreadable, match="builds"):
            await read_job(remote, "app")


async def test_a_remote_that_repeats_itself_is_found_out() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=300)
        async with connected(remote) as adapter:
            reading = adapter.read("builds", await partition_of(adapter, "service-0000"), None)
            first = await anext(reading)
            body = b'{"allBuilds":[' + b",".join(record.body for record in first.records) + b"]}"
            headers = {"Content-Type": "application/json", "X-Jenkins": "2.462.1"}
            remote.faults.append(Fault("/job/", 200, body, headers, times=1000))
            with pytest.raises(Unreadable, match="nothing new"):
                async for _ in reading:
                    pass
        assert len(remote.ledger) < 30


async def test_since_limits_the_first_read() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=900)
        since = (remote.clock.now() - timedelta(minutes=150, seconds=30)).isoformat()
        async with connected(remote, params={"since": since}) as adapter:
            partition = await partition_of(adapter, "service-0000")
            pages = [page async for page in adapter.read("builds", partition, None)]
        assert numbers(records_of(pages)) == list(range(751, 901))
        assert pages[-1].end
        assert len(remote.requests("/job/")) == 2


class Disk:
    """A job's builds as a list that changes between two looks at it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.builds: list[Build] = []
        self.next = 1

    def start(self, count: int) -> None:
        for _ in range(count):
            key = f"j#{self.next}@{self.next * 1000}"
            self.builds.insert(0, Build(self.next, self.next * 1000, Record("builds", key, b"")))
            self.next += 1

    def vanish(self, count: int) -> None:
        for _ in range(min(count, len(self.builds))):
            self.builds.pop(self.chance.randrange(len(self.builds)))

    @property
    def mark(self) -> Mark:
        newest = self.builds[0] if self.builds else None
        return Mark(newest.number, newest.at, self.next) if newest else Mark(next=self.next)


@given(seed=st.integers(0, 2**32), first=st.integers(0, 420), busy=st.integers(0, 60))
def test_every_build_that_lives_through_a_walk_is_read_by_it(seed: int, first: int, busy: int) -> None:
    chance = random.Random(seed)
    disk = Disk(chance)
    disk.start(first)
    cursor, seen = Cursor(), set[int]()
    for _ in range(3):
        mark = disk.mark
        lived = {build.number for build in disk.builds}
        cursor = on(cursor, mark)
        for _ in range(60):
            if is_idle(cursor, mark):
                break
            asked = next_range(cursor, mark)
            part = disk.builds[: 100 if asked.newest else None][asked.start : asked.stop]
            step = advance(cursor, asked, Builds(part, list(range(len(part))), [], len(part)), mark)
            seen |= {build.number for build in step.builds}
            cursor = step.cursor
            disk.start(chance.randint(0, busy))
            disk.vanish(chance.randint(0, busy // 2))
            lived &= {build.number for build in disk.builds}
        assert is_idle(cursor, mark)
        assert lived <= seen
        disk.start(chance.randint(0, 150))
