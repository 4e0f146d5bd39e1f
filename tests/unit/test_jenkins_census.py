"""The census of Jenkins: every key and nothing else, in few requests, and only from who knows us."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.base import AuthFailed, Forbidden, Keys, NotFound, Partition, Unreadable
from adapters.jenkins import Jenkins
from tests.support import read_all, records_of
from tests.unit.jenkins_site import TOKEN, connected, controller, partition_of
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController

MINUTE = timedelta(minutes=1)
JOB = "service-0000"


async def keys_of(pages: AsyncIterator[Keys]) -> list[str]:
    """All keys of a census that ends as the remote says so."""
    found, ended = list[str](), False
    async for page in pages:
        assert not ended
        found += page.keys
        ended = page.end
    assert ended
    return found


async def read_keys(adapter: Jenkins, job: str) -> set[str]:
    pages, _ = await read_all(adapter, "builds", await partition_of(adapter, job))
    return {record.key for record in records_of(pages)}


@pytest.mark.parametrize(("builds", "requests"), [(0, 0), (1, 1), (100, 1), (101, 2), (599, 2), (1400, 4)])
async def test_a_census_has_the_keys_that_reading_has_in_few_requests(builds: int, requests: int) -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=builds)
        async with connected(remote) as adapter:
            expected = await read_keys(adapter, JOB)
            partition = await partition_of(adapter, JOB)
            before = len(remote.requests("/job/"))
            found = await keys_of(adapter.census("builds", partition, None))
        assert set(found) == expected
        assert len(expected) == builds
        assert len(remote.requests("/job/")) - before == requests


async def test_a_census_asks_of_a_build_for_what_makes_its_key_only() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=700)
        async with connected(remote) as adapter:
            await keys_of(adapter.census("builds", await partition_of(adapter, JOB), None))
        trees = [seen.query["tree"].partition("{")[0] for seen in remote.requests(f"/job/{JOB}")]
        assert trees == [
            "builds[number,timestamp]",
            "allBuilds[number,timestamp]",
            "allBuilds[number,timestamp]",
        ]


async def test_a_census_goes_on_in_another_process_where_it_stopped() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=1700)
        found, cursor, ended, turns = set[str](), None, False, 0
        while not ended:
            async with connected(remote) as adapter:
                partition = await partition_of(adapter, JOB)
                page = await anext(adapter.census("builds", partition, cursor))
            found |= set(page.keys)
            cursor, ended, turns = page.cursor, page.end, turns + 1
            # Builds that start meanwhile push the others down the list.
            for _ in range(7):
                remote.start_build(JOB, MINUTE)
        assert {key.partition("@")[0] for key in found} >= {f"{JOB}#{n}" for n in range(1, 1701)}
        assert turns == 5


async def test_a_census_goes_back_to_since_and_no_further() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=900)
        since = remote.job(JOB).builds[801].started
        async with connected(remote, params={"since": since.isoformat()}) as adapter:
            found = await keys_of(adapter.census("builds", await partition_of(adapter, JOB), None))
        assert {key.partition("@")[0] for key in found} == {f"{JOB}#{n}" for n in range(801, 901)}
        assert len(remote.requests(f"/job/{JOB}")) <= 2


@pytest.mark.parametrize("path", ["", "/job/team", "/job/team/job/app", "/view/mine"])
async def test_the_jobs_of_a_census_are_the_jobs_that_are_read(path: str) -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote, path) as adapter:
            (partition,) = await adapter.plan("jobs")
            pages, _ = await read_all(adapter, "jobs", partition)
            found = await keys_of(adapter.census("jobs", partition, None))
        assert set(found) == {record.key for record in records_of(pages)}


async def test_a_census_uses_the_listing_that_planning_made() -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote) as adapter:
            for partition in await adapter.plan("builds"):
                await keys_of(adapter.census("builds", partition, None))
            await keys_of(adapter.census("jobs", Partition("all"), None))
        listed = [seen.path for seen in remote.ledger if "jobs[" in seen.query["tree"]]
        assert sorted(listed) == ["/api/json", "/job/team/api/json"]
        assert len(remote.requests("/whoAmI")) == 1


async def test_the_jobs_of_a_folder_that_is_refused_are_no_end() -> None:
    async with controller() as remote:
        plant(remote)
        remote.item("team").closed_to = {"dana"}
        async with connected(remote) as adapter:
            pages = adapter.census("jobs", Partition("all"), None)
            assert not (await anext(pages)).end
            with pytest.raises(Forbidden, match="'team'"):
                await anext(pages)


async def test_a_folder_that_opens_after_planning_is_not_counted_as_empty() -> None:
    async with controller() as remote:
        plant(remote)
        remote.item("team").closed_to = {"dana"}
        async with connected(remote) as adapter:
            partition = await partition_of(adapter, "team")
            remote.item("team").closed_to = set()
            with pytest.raises(Unreadable, match="could not be opened"):
                await keys_of(adapter.census("builds", partition, None))


async def test_a_job_that_vanished_since_it_was_planned_has_no_builds() -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote) as adapter:
            partition = await partition_of(adapter, "team/app")
            remote.delete_item("team/app")
            assert await keys_of(adapter.census("builds", partition, None)) == []


@pytest.mark.parametrize("folder", ["", "team"])
async def test_a_job_that_is_not_found_by_who_sees_nothing_is_no_empty_one(folder: str) -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote) as adapter:
            partition = await partition_of(adapter, "team/app")
            for item in remote.root.items.values():
                item.readers = {"somebody"}
            with pytest.raises(NotFound):
                await keys_of(adapter.census("builds", partition, None))


async def test_the_target_itself_is_no_empty_job_when_it_is_not_found() -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote, "/job/team/job/app") as adapter:
            (partition,) = await adapter.plan("builds")
            remote.delete_item("team/app")
            with pytest.raises(NotFound):
                await keys_of(adapter.census("builds", partition, None))


@pytest.mark.parametrize("stream", ["jobs", "builds"])
async def test_not_one_key_comes_from_a_jenkins_that_ignores_the_bearer(stream: str) -> None:
    async with controller(anonymous_read=True) as remote:
        plant(remote)
        auth = Jenkins.auth("bearer", None, lambda: TOKEN)
        remote.bearers[TOKEN] = "robot"
        async with connected(remote, auth=auth) as adapter:
            partition = Partition("all") if stream == "jobs" else await partition_of(adapter, "team/app")
            remote.bearers.clear()
            with pytest.raises(AuthFailed):
                await anext(adapter.census(stream, partition, None))


async def test_not_one_key_comes_from_a_listing_during_which_the_bearer_was_forgotten() -> None:
    async with controller(anonymous_read=True) as remote:
        plant(remote)
        auth = Jenkins.auth("bearer", None, lambda: TOKEN)
        remote.bearers[TOKEN] = "robot"
        # The proof before the listing still finds us known.
        known = b'{"name":"robot","anonymous":false}'
        headers = {"X-Jenkins": "2.462.1", "Content-Type": "application/json"}
        remote.faults.append(Fault("/whoAmI", 200, known, headers))
        async with connected(remote, auth=auth) as adapter:
            remote.bearers.clear()
            with pytest.raises(AuthFailed):
                await anext(adapter.census("jobs", Partition("all"), None))


async def test_another_account_than_before_is_no_proof() -> None:
    async with controller() as remote:
        plant(remote)
        auth = Jenkins.auth("bearer", None, lambda: TOKEN)
        remote.bearers[TOKEN] = "robot"
        async with connected(remote, auth=auth) as adapter:
            await adapter.plan("builds")
            remote.bearers[TOKEN] = "guest"
            with pytest.raises(AuthFailed, match="robot and then for guest"):
                await anext(adapter.census("jobs", Partition("all"), None))


async def test_nothing_is_gone_by_key_once_the_bearer_is_forgotten() -> None:
    async with controller(anonymous_read=True) as remote:
        plant(remote)
        remote.add_job("open")
        auth = Jenkins.auth("bearer", None, lambda: TOKEN)
        remote.bearers[TOKEN] = "robot"
        async with connected(remote, auth=auth) as adapter:
            await adapter.plan("jobs")
            remote.item("team").readers = {"robot"}
            remote.bearers.clear()
            with pytest.raises(AuthFailed):
                await adapter.fetch("jobs", ["team/app"])
            with pytest.raises(AuthFailed):
                await adapter.fetch("builds", ["team/app#1"])


@pytest.mark.parametrize("key", ["..", "team/../x", "a//b", "", "a\x00b"])
async def test_a_key_that_leads_elsewhere_makes_no_request(key: str) -> None:
    async with controller() as remote, connected(remote) as adapter:
        jobs = await adapter.fetch("jobs", [key])
        builds = await adapter.fetch("builds", [f"{key}#1"])
        assert [len(found.rejected) for found in (jobs, builds)] == [1, 1]
        assert remote.ledger == []


async def test_a_number_that_was_never_given_is_deleted_and_one_that_was_is_rotated() -> None:
    async with controller() as remote:
        plant(remote)
        remote.job("team/app").builds.clear()
        async with connected(remote) as adapter:
            few = await adapter.fetch("builds", ["team/app#3", "team/app#4"])
            many = await adapter.fetch("builds", [f"team/app#{n}@5" for n in range(1, 8)])
        reasons = {m.key.partition("@")[0]: m.reason for m in [*few.missing, *many.missing]}
        assert reasons == {f"team/app#{n}": "rotated" if n < 4 else "deleted" for n in range(1, 8)}


async def test_builds_of_what_is_a_folder_now_are_deleted() -> None:
    async with controller() as remote:
        plant(remote)
        remote.delete_item("team/app")
        remote.add_folder("team/app")
        async with connected(remote) as adapter:
            found = await adapter.fetch("builds", ["team/app#1@5"])
        assert [m.reason for m in found.missing] == ["deleted"]


async def test_a_build_refused_while_its_job_is_readable_is_not_called_hidden() -> None:
    async with controller() as remote:
        plant(remote)
        headers = {"X-Jenkins": "2.462.1", "X-You-Are-Authenticated-As": "dana"}
        remote.faults.append(Fault("/job/app/1/", 403, b"", headers))
        async with connected(remote) as adapter:
            with pytest.raises(Forbidden):
                await adapter.fetch("builds", ["team/app#1"])


async def test_a_login_page_on_the_way_to_a_job_is_no_proof_that_it_is_hidden() -> None:
    async with controller() as remote:
        plant(remote)
        page = b"<html><input type='password'></html>"
        remote.faults.append(Fault("/job/team/", 200, page, {"Content-Type": "text/html"}, times=9))
        async with connected(remote) as adapter:
            for stream, key in (("jobs", "team/app"), ("builds", "team/app#1")):
                with pytest.raises(Forbidden):
                    await adapter.fetch(stream, [key])


def plant(remote: JenkinsController) -> None:
    remote.add_folder("team")
    remote.add_job("top")
    remote.add_job("team/app")
    for _ in range(3):
        remote.start_build("team/app", MINUTE)
        remote.clock.advance(2 * MINUTE)
    remote.views["mine"] = ["team/app", "top"]
