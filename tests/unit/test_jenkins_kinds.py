"""Every kind of job and container on the simulated controller, read by the adapter."""

import json
from datetime import timedelta

import pytest

from adapters.base import Forbidden, NotFound, QueryRejected, Record, TooLarge
from adapters.http import Limits
from adapters.jenkins import Jenkins
from tests.support import http_client, read_all, records_of
from tests.unit.jenkins_site import connected, controller, dana, named, numbers, read_job
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jenkins_items import FREESTYLE

MINUTE = timedelta(minutes=1)
JENKINS = {"X-Jenkins": "2.462.1", "Content-Type": "text/html"}


async def jobs_at(remote: JenkinsController, path: str = "") -> dict[str, Record]:
    async with connected(remote, path) as adapter:
        pages, _ = await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
        assert pages[-1].end
        return {record.key: record for record in records_of(pages)}


def plant(remote: JenkinsController) -> None:
    remote.add_job("plain", FREESTYLE)
    remote.add_matrix("grid", {"OS": ["linux", "windows"], "JDK": ["17", "21"]})
    remote.add_maven("library", ["com.example$core", "com.example$web"])
    remote.add_external("nightly backup")
    remote.add_organization("acme", {"web": ["main", "feature/login"], "api": ["main"]})


async def test_every_kind_has_its_word_and_no_combination_or_module_is_a_job() -> None:
    async with controller() as remote:
        plant(remote)
        jobs = await jobs_at(remote)
        assert {key: named(job)["kind"] for key, job in jobs.items()} == {
            "plain": "freestyle",
            "grid": "matrix",
            "library": "maven",
            "nightly backup": "external",
            "acme": "organization",
            "acme/web": "multibranch",
            "acme/web/main": "pipeline",
            "acme/web/feature%2Flogin": "pipeline",
            "acme/api": "multibranch",
            "acme/api/main": "pipeline",
        }
        assert (named(jobs["nightly backup"])["buildable"], named(jobs["plain"])["buildable"]) == (
            False,
            True,
        )


async def test_a_matrix_job_has_one_record_a_build_with_its_runs_inside() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("grid", MINUTE)
        remote.clock.advance(2 * MINUTE)
        (build,), _ = await read_job(remote, "grid")
        runs = json.loads(build.body)["runs"]
        assert build.key.startswith("grid#1@")
        assert [run["fullDisplayName"] for run in runs] == [
            f"grid » OS={os},JDK={jdk} #1" for os in ("linux", "windows") for jdk in ("17", "21")
        ]
        assert {run["result"] for run in runs} == {"SUCCESS"}
        assert named(build)["runs"] == 4


async def test_older_runs_that_a_partial_matrix_build_lists_are_not_counted_as_its_own() -> None:
    async with controller() as remote:
        grid = remote.add_matrix("grid", {"OS": ["linux", "windows"]})
        remote.start_build("grid", MINUTE)
        remote.clock.advance(2 * MINUTE)
        grid.only = {"OS=linux"}
        remote.start_build("grid", MINUTE)
        remote.clock.advance(2 * MINUTE)
        builds, _ = await read_job(remote, "grid")
        newest = next(build for build in builds if build.key.startswith("grid#2@"))
        assert [run["number"] for run in json.loads(newest.body)["runs"]] == [2, 1]
        assert named(newest)["runs"] == 1


async def test_a_matrix_build_is_final_only_when_it_has_ended_and_is_fetched_alike() -> None:
    async with controller() as remote:
        remote.add_matrix("grid", {"OS": ["linux"]})
        remote.start_build("grid")
        (running,), _ = await read_job(remote, "grid")
        remote.clock.advance(MINUTE)
        remote.finish_build("grid", 1, "FAILURE")
        async with connected(remote) as adapter:
            (done,) = (await adapter.fetch("builds", [running.key])).records
        assert (running.final, done.final, named(done)["result"]) == (False, True, "FAILURE")
        assert json.loads(done.body)["runs"][0]["result"] == "FAILURE"


async def test_the_run_of_a_combination_is_no_build_of_its_own_and_asking_for_it_fails_nothing() -> None:
    async with controller() as remote:
        remote.add_matrix("grid", {"OS": ["linux"]})
        remote.start_build("grid", MINUTE)
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", ["grid/OS=linux#1", "grid#1"])
        assert [(m.key, m.reason) for m in fetched.missing] == [("grid/OS=linux#1", "deleted")]
        assert len(fetched.records) == 1


@pytest.mark.parametrize("job", ["library", "nightly backup", "plain", "acme/web/feature%2Flogin"])
async def test_builds_of_each_kind_are_read(job: str) -> None:
    async with controller() as remote:
        plant(remote)
        for _ in range(3):
            remote.start_build(job, MINUTE)
            remote.clock.advance(MINUTE)
        records, _ = await read_job(remote, job)
        assert numbers(records) == [1, 2, 3]
        assert {named(record)["runs"] for record in records} == {None}


async def test_a_job_without_builds_a_disabled_one_and_one_in_the_queue_are_read() -> None:
    async with controller() as remote:
        remote.add_job("empty")
        remote.add_job("off").disabled = True
        remote.add_job("waiting").in_queue = True
        jobs = await jobs_at(remote)
        columns = {key: named(job) for key, job in jobs.items()}
        assert columns["empty"]["last_build_number"] is None
        assert (columns["off"]["disabled"], columns["off"]["buildable"]) == (True, False)
        assert columns["off"]["color"] == "disabled"
        for name in jobs:
            assert await read_job(remote, name) == ([], "{}")


async def test_a_job_that_enters_the_queue_has_not_changed() -> None:
    async with controller() as remote:
        job = remote.add_job("app")
        before = (await jobs_at(remote))["app"]
        job.in_queue = True
        assert (await jobs_at(remote))["app"] == before


@pytest.mark.parametrize(
    "name", ["nightly build", "größe »ü«", "приложение", "release#1", "100% sure", "a+b=c"]
)
async def test_awkward_names_are_read_looked_up_and_told_apart(name: str) -> None:
    async with controller(context="/jenkins") as remote:
        remote.add_folder("team ä")
        remote.add_job(f"team ä/{name}")
        remote.start_build(f"team ä/{name}", MINUTE)
        (build,), _ = await read_job(remote, f"team ä/{name}")
        async with connected(remote) as adapter:
            assert [r.key for r in (await adapter.fetch("jobs", [f"team ä/{name}"])).records] == [
                f"team ä/{name}"
            ]
            by_key = await adapter.fetch("builds", [build.key, f"team ä/{name}#1"])
        assert [record.key for record in by_key.records] == [build.key]
        assert build.key.startswith(f"team ä/{name}#1@")


async def test_a_view_of_views_is_read_with_all_the_views_in_it() -> None:
    async with controller() as remote:
        plant(remote)
        remote.views |= {"A": [], "A/B": ["plain"], "A/C d": [], "A/C d/E": ["acme/web", "plain"]}
        assert set(await jobs_at(remote, "/view/A")) == {
            "plain",
            "acme/web",
            "acme/web/main",
            "acme/web/feature%2Flogin",
        }
        assert set(await jobs_at(remote, "/view/A/view/B")) == {"plain"}


async def test_a_view_with_jobs_of_sub_folders_keeps_their_full_names() -> None:
    async with controller() as remote:
        plant(remote)
        remote.views["mine"] = ["acme/web/main", "plain"]
        jobs = await jobs_at(remote, "/view/mine")
        assert {key: job.parent for key, job in jobs.items()} == {"acme/web/main": "acme/web", "plain": None}


async def test_the_view_all_is_the_whole_controller_and_a_folder_has_views_too() -> None:
    async with controller() as remote:
        plant(remote)
        remote.views["acme:chosen"] = ["acme/api"]
        assert set(await jobs_at(remote, "/view/all/")) == set(await jobs_at(remote))
        assert set(await jobs_at(remote, "/job/acme/view/chosen")) == {"acme/api", "acme/api/main"}


async def test_a_view_that_is_not_there_is_named_as_a_view() -> None:
    async with controller() as remote, connected(remote, "/view/Team%20A") as adapter:
        with pytest.raises(NotFound, match="no view 'Team A'"):
            await adapter.check()


async def test_a_folder_of_thousands_of_jobs_costs_one_request() -> None:
    async with controller() as remote:
        remote.add_folder("huge")
        for number in range(3000):
            remote.add_job(f"huge/job-{number}")
        assert len(await jobs_at(remote, "/job/huge")) == 3001
        assert len(remote.ledger) == 1


async def test_a_path_without_job_before_the_last_name_is_refused_with_the_url_that_was_meant() -> None:
    async with controller(context="/ci") as remote:
        plant(remote)
        for path, meant in [
            ("/job/acme/web", "/job/acme/job/web "),
            ("/job/acme/job/web/feature%252Flogin", "/job/acme/job/web/job/feature%252Flogin "),
        ]:
            async with connected(remote, path) as adapter:
                with pytest.raises(QueryRejected, match="leaves out job/") as raised:
                    await adapter.check()
                assert f"{remote.base}{meant}" in raised.value.hint


async def test_a_plugins_page_behind_a_job_leads_to_the_job() -> None:
    async with controller() as remote:
        plant(remote)
        assert set(await jobs_at(remote, "/job/plain/allure/")) == {"plain"}
        assert set(await jobs_at(remote, "/job/grid/OS=linux,JDK=17/1/console")) == {"grid"}


async def test_a_path_without_any_job_is_told_how_paths_are_written() -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote, "/acme/web") as adapter:
            with pytest.raises(NotFound) as raised:
                await adapter.check()
        assert "/job/team/job/app" in raised.value.hint


async def test_builds_that_are_deleted_in_the_middle_of_the_walk_leave_no_gap_at_any_size_of_range() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=320)
        target = Jenkins.parse(remote.base, {})
        small = Limits(body=40_000)
        seen: list[Record] = []
        async with http_client(target.base, dana(), small) as http:
            adapter = Jenkins(target, http)
            (partition,) = await adapter.plan("builds")
            async for page in adapter.read("builds", partition, None):
                seen += page.records
                for number in (300, 299, 250, 200, 120):
                    remote.job("service-0000").builds.pop(number, None)
        assert set(range(1, 300)) - {299, 250, 200, 120} <= set(numbers(seen))
        assert len(seen) == len({record.key for record in seen})


async def test_a_build_that_is_too_large_even_alone_is_told_as_such() -> None:
    async with controller() as remote:
        remote.add_job("app")
        for _ in range(5):
            remote.start_build("app", MINUTE).broken = {"description": "x" * 20_000}
        target = Jenkins.parse(remote.base, {})
        async with http_client(target.base, dana(), Limits(body=10_000)) as http:
            adapter = Jenkins(target, http)
            (partition,) = await adapter.plan("builds")
            with pytest.raises(TooLarge):
                await read_all(adapter, "builds", partition)


async def test_two_thousand_builds_over_twenty_jobs_take_one_request_a_job() -> None:
    async with controller() as remote:
        remote.seed(jobs=20, builds=100)
        count = 0
        async with connected(remote) as adapter:
            for partition in await adapter.plan("builds"):
                count += len(records_of((await read_all(adapter, "builds", partition))[0]))
        assert (count, len(remote.ledger)) == (2000, 21)


async def test_a_job_that_is_deleted_between_planning_and_reading_ends_without_an_error() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("plain", MINUTE)
        async with connected(remote) as adapter:
            partition = next(p for p in await adapter.plan("builds") if p.name == "plain")
            remote.delete_item("plain")
            pages, _ = await read_all(adapter, "builds", partition)
        assert [(page.records, page.end) for page in pages] == [((), True)]


async def test_the_one_job_of_a_connection_that_is_deleted_is_not_found() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("plain", MINUTE)
        async with connected(remote, "/job/plain") as adapter:
            (partition,) = await adapter.plan("builds")
            remote.delete_item("plain")
            with pytest.raises(NotFound, match="job 'plain'"):
                await read_all(adapter, "builds", partition)


async def test_a_folder_that_is_listed_but_not_found_is_no_empty_folder() -> None:
    async with controller() as remote:
        plant(remote)
        remote.faults.append(Fault("/job/acme/job/web/", 404, b"<html>", JENKINS, times=100))
        async with connected(remote) as adapter:
            reading = adapter.read("jobs", (await adapter.plan("jobs"))[0], None)
            page = await anext(reading)
            assert not page.end
            with pytest.raises(NotFound, match="acme/web"):
                await anext(reading)


async def test_a_folder_that_vanished_since_it_was_listed_is_gone_with_what_it_held() -> None:
    async with controller() as remote:
        plant(remote)
        remote.faults.append(Fault("/job/acme/job/web/", 404, b"<html>", JENKINS))
        # Asked once more, the folder around it does not name it any longer.
        left = b'{"name": "acme", "jobs": [{"name": "api"}]}'
        as_json = {"X-Jenkins": "2.462.1", "Content-Type": "application/json"}
        remote.faults.append(Fault("/job/acme/api/json", 200, left, as_json, after=1))
        jobs = await jobs_at(remote)
        assert "acme/api/main" in jobs
        assert "acme/web/main" not in jobs


async def test_a_folder_that_is_closed_to_the_account_is_named_with_the_permission() -> None:
    async with controller() as remote:
        plant(remote)
        remote.item("acme/web").closed_to = {"dana"}
        async with connected(remote) as adapter:
            found = await adapter.check()
            partitions = {p.name: p for p in await adapter.plan("builds")}
            with pytest.raises(Forbidden) as raised:
                await read_all(adapter, "builds", partitions["acme/web"])
        assert "dana may not read job 'acme/web'" in raised.value.message
        assert "give dana Job/Read on job 'acme/web'" in raised.value.hint
        jobs = found.streams["jobs"]
        assert (jobs.readable, jobs.kind) == (True, "forbidden")
        assert "acme/web" in str(jobs.problem)
