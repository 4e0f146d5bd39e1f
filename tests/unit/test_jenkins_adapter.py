"""The Jenkins adapter against a simulated controller: jobs, builds, records by key."""

import json
from datetime import timedelta

import pytest

from adapters.auth import Anonymous, Basic, Bearer
from adapters.base import BadTarget, Forbidden, NotFound, Record
from adapters.jenkins import Jenkins
from adapters.times import to_millis
from tests.support import read_all, records_of
from tests.unit.jenkins_site import TOKEN, connected, controller, named, read_job
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController

MINUTE = timedelta(minutes=1)


async def read_jobs(remote: JenkinsController, path: str = "") -> dict[str, Record]:
    async with connected(remote, path) as adapter:
        pages, _ = await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
        assert pages[-1].end
        return {record.key: record for record in records_of(pages)}


def plant(remote: JenkinsController) -> None:
    """Folders in folders, a multibranch project with a slash in a branch, and a job at the top."""
    remote.add_folder("team")
    remote.add_folder("team/inner")
    remote.add_job("team/inner/deploy")
    remote.add_multibranch("team/app", ["main", "feature/x"])
    remote.add_job("top")


async def test_nested_folders_and_branches_are_listed_by_full_name_with_their_container_as_parent() -> None:
    async with controller() as remote:
        plant(remote)
        jobs = await read_jobs(remote)
        assert {key: job.parent for key, job in jobs.items()} == {
            "team": None,
            "team/inner": "team",
            "team/inner/deploy": "team/inner",
            "team/app": "team",
            "team/app/main": "team/app",
            "team/app/feature%2Fx": "team/app",
            "top": None,
        }
        assert {key: named(job)["kind"] for key, job in jobs.items()} == {
            "team": "folder",
            "team/inner": "folder",
            "team/inner/deploy": "pipeline",
            "team/app": "multibranch",
            "team/app/main": "pipeline",
            "team/app/feature%2Fx": "pipeline",
            "top": "pipeline",
        }


async def test_a_listing_costs_one_request_for_each_folder_and_is_shared_by_both_feeds() -> None:
    async with controller() as remote:
        plant(remote)
        async with connected(remote) as adapter:
            await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
            for partition in await adapter.plan("builds"):
                await read_all(adapter, "builds", partition)
        assert sorted(seen.path for seen in remote.ledger) == [
            "/api/json",
            "/job/team/api/json",
            "/job/team/job/app/api/json",
            "/job/team/job/inner/api/json",
        ]


async def test_a_connection_to_one_job_costs_one_request_when_idle() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("top", MINUTE)
        remote.clock.advance(MINUTE)
        _, cursor = await read_job(remote, "top")
        remote.ledger.clear()
        async with connected(remote, "/job/top") as adapter:
            pages, _ = await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
            (partition,) = await adapter.plan("builds")
            await read_all(adapter, "builds", partition, cursor)
        assert [record.key for record in records_of(pages)] == ["top"]
        assert len(remote.ledger) == 1


async def test_builds_of_a_branch_with_a_slash_are_read() -> None:
    async with controller(context="/jenkins") as remote:
        plant(remote)
        remote.start_build("team/app/feature%2Fx")
        (build,), _ = await read_job(remote, "team/app/feature%2Fx")
        assert build.parent == "team/app/feature%2Fx"
        assert build.key.startswith("team/app/feature%2Fx#1@")
        assert remote.requests("/jenkins/job/team/job/app/job/feature%252Fx/api/json")
        assert named(build)["url"] == f"{remote.base}/job/team/job/app/job/feature%252Fx/1/"
        assert named(build)["branch"] == "feature/x"


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/job/team/job/app", {"team/app", "team/app/main", "team/app/feature%2Fx"}),
        ("/job/team/job/app/job/feature%252Fx/12/console", {"team/app/feature%2Fx"}),
        ("/job/team/job/inner", {"team/inner", "team/inner/deploy"}),
        ("/view/mine/", {"top", "team/inner", "team/inner/deploy"}),
        (
            "/blue/organizations/jenkins/team%2Fapp/activity",
            {"team/app", "team/app/main", "team/app/feature%2Fx"},
        ),
    ],
)
async def test_a_url_is_read_as_what_it_names(path: str, keys: set[str]) -> None:
    async with controller() as remote:
        plant(remote)
        remote.views["mine"] = ["top", "team/inner"]
        assert set(await read_jobs(remote, path)) == keys


async def test_a_folder_has_the_same_bytes_whether_listed_opened_or_fetched() -> None:
    async with controller() as remote:
        plant(remote)
        listed = (await read_jobs(remote))["team/app"]
        opened = (await read_jobs(remote, "/job/team/job/app"))["team/app"]
        async with connected(remote) as adapter:
            (fetched,) = (await adapter.fetch("jobs", ["team/app"])).records
        assert listed == opened == fetched
        assert "jobs" not in json.loads(listed.body)


async def test_a_view_changes_nothing_but_the_volatile_link_of_a_job() -> None:
    async with controller() as remote:
        plant(remote)
        remote.views["mine"] = ["top"]
        plain = json.loads((await read_jobs(remote))["top"].body)
        viewed = json.loads((await read_jobs(remote, "/view/mine"))["top"].body)
        assert {name for name in plain if plain[name] != viewed[name]} == {"url"}
        assert all("url" in stream.volatile for feed in Jenkins.feeds for stream in feed.streams)


async def test_an_old_jenkins_without_full_names_and_classes_is_read_alike() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("team/inner/deploy")
        new = set(await read_jobs(remote))
        for item in remote.root.every():
            item.members = tuple(name for name in item.members if not name.startswith("full"))
        assert set(await read_jobs(remote)) == new
        assert set(await read_jobs(remote, "/job/team")) == {key for key in new if key.startswith("team")}
        records, _ = await read_job(remote, "team/inner/deploy")
        assert len(records) == 1


async def test_a_job_that_may_not_be_read_is_missing_from_the_listing() -> None:
    async with controller() as remote:
        plant(remote)
        remote.item("top").readers = {"someone"}
        assert "top" not in await read_jobs(remote)


async def test_a_folder_that_may_not_be_opened_makes_its_part_fail_and_no_other() -> None:
    async with controller() as remote:
        plant(remote)
        headers = {
            "X-Jenkins": "2.462.1",
            "X-You-Are-Authenticated-As": "dana",
            "X-Required-Permission": "hudson.model.Item.Read",
        }
        remote.faults.append(Fault("/job/team/job/inner/", 403, b"", headers, times=2))
        async with connected(remote) as adapter:
            reading = adapter.read("jobs", (await adapter.plan("jobs"))[0], None)
            page = await anext(reading)
            assert "team/app/main" in {record.key for record in page.records}
            assert not page.end
            with pytest.raises(Forbidden, match="Job/Read"):
                await anext(reading)
            partitions = {p.name: p for p in await adapter.plan("builds")}
            assert "team/app/main" in partitions
            with pytest.raises(Forbidden, match="Job/Read"):
                await read_all(adapter, "builds", partitions["team/inner"])


async def test_a_large_listing_is_read_in_pages_and_goes_on_where_it_stopped() -> None:
    async with controller() as remote:
        for number in range(1200):
            remote.add_job(f"job-{number:04}")
        seen: list[str] = []
        cursor = None
        for _ in range(5):
            async with connected(remote) as adapter:
                page = await anext(adapter.read("jobs", (await adapter.plan("jobs"))[0], cursor))
                seen += [record.key for record in page.records]
                cursor = page.cursor
                assert page.expected == {"jobs": 1200}
            if page.end:
                break
        assert seen == [f"job-{number:04}" for number in range(1200)]
        async with connected(remote) as adapter:
            again = await anext(adapter.read("jobs", (await adapter.plan("jobs"))[0], cursor))
            assert again.records[0].key == "job-0000"


async def test_a_build_that_runs_across_a_sync_is_not_final_and_later_fetched_as_final() -> None:
    async with controller() as remote:
        remote.add_job("app")
        build = remote.start_build("app")
        remote.clock.advance(MINUTE)
        (running,), cursor = await read_job(remote, "app")
        assert not running.final
        assert (named(running)["duration"], named(running)["finished_at"]) == (None, None)
        assert running.updated_at == named(running)["started_at"]
        remote.finish_build("app", 1, "UNSTABLE")
        records, _ = await read_job(remote, "app", cursor)
        assert records == []
        async with connected(remote) as adapter:
            (done,) = (await adapter.fetch("builds", [running.key])).records
        assert (done.key, done.final) == (running.key, True)
        assert (named(done)["result"], named(done)["duration"]) == ("UNSTABLE", 60_000)
        assert done.updated_at == named(done)["finished_at"] == build.started + MINUTE


async def test_a_result_that_is_set_while_the_build_still_runs_is_not_final() -> None:
    async with controller() as remote:
        remote.add_job("app")
        remote.start_build("app").result = "SUCCESS"
        (build,), _ = await read_job(remote, "app")
        assert (named(build)["result"], build.final) == ("SUCCESS", False)


async def test_a_build_has_its_cause_commit_and_test_counts_in_columns() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=1)
        (build,), _ = await read_job(remote, "service-0000")
        columns = named(build)
        assert columns["cause"] == "Started by user Dana"
        assert columns["started_by"] == "dana"
        assert columns["commit_sha"] == "00000001" * 5
        assert columns["tests_total"] == 120


async def test_of_several_checkouts_the_one_on_the_branch_of_the_job_counts() -> None:
    async with controller() as remote:
        remote.add_multibranch("app", ["feature/x"])
        checkouts = [("1" * 40, "main"), ("2" * 40, "refs/remotes/origin/feature/x")]
        remote.start_build("app/feature%2Fx").broken = {
            "actions": [
                {"lastBuiltRevision": {"SHA1": sha, "branch": [{"SHA1": sha, "name": name}]}}
                for sha, name in checkouts
            ]
        }
        (build,), _ = await read_job(remote, "app/feature%2Fx")
        assert (named(build)["commit_sha"], named(build)["branch"]) == ("2" * 40, "feature/x")


async def test_values_of_parameters_never_leave_jenkins() -> None:
    async with controller() as remote:
        remote.add_job("app")
        remote.start_build("app").parameter = "typed-secret"
        (build,), _ = await read_job(remote, "app")
        assert b"typed-secret" not in build.body
        assert all("parameters" not in seen.query.get("tree", "") for seen in remote.ledger)


async def test_fetch_and_read_bring_the_same_bytes() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=150)
        records, _ = await read_job(remote, "service-0000")
        by_key = {record.key: record for record in records}
        async with connected(remote) as adapter:
            few = await adapter.fetch("builds", [records[0].key, records[140].key])
            many = await adapter.fetch("builds", [record.key for record in records[80:120]])
        for record in [*few.records, *many.records]:
            assert record == by_key[record.key]
        assert (len(few.records), len(many.records)) == (2, 40)


async def test_many_recent_builds_of_a_job_are_fetched_in_one_request() -> None:
    async with controller() as remote:
        remote.seed(jobs=2, builds=90)
        keys = [f"service-{job:04}#{number}" for job in (0, 1) for number in range(20, 40)]
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", keys)
        assert len(fetched.records) == 40
        assert len(remote.ledger) == 2


async def test_a_short_key_means_the_present_build_and_a_full_key_only_that_one() -> None:
    async with controller() as remote:
        remote.add_job("app")
        old = remote.start_build("app", MINUTE)
        remote.clock.advance(MINUTE)
        (before,), _ = await read_job(remote, "app")
        remote.recreate_job("app")
        remote.start_build("app")
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", ["app#1", before.key])
        assert [record.key for record in fetched.records] == [
            f"app#1@{to_millis(remote.job('app').builds[1].started)}"
        ]
        assert [(m.key, m.reason) for m in fetched.missing] == [(before.key, "deleted")]
        assert old.number == 1


@pytest.mark.parametrize("count", [1, 5])
async def test_rotated_builds_are_missing_as_rotated_with_the_key_as_asked(count: int) -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=20)
        remote.rotate("service-0000", keep=3)
        keys = [f"service-0000#{number}" for number in range(1, 1 + count)]
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", keys)
        assert [(m.key, m.reason) for m in fetched.missing] == [(key, "rotated") for key in keys]


async def test_builds_of_a_deleted_job_and_the_job_itself_are_missing_as_deleted() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("team/app/main")
        remote.delete_item("team/app")
        async with connected(remote) as adapter:
            builds = await adapter.fetch("builds", ["team/app/main#1"])
            jobs = await adapter.fetch("jobs", ["team/app", "team/app/main", "top"])
        assert [(m.key, m.reason) for m in builds.missing] == [("team/app/main#1", "deleted")]
        assert [(m.key, m.reason) for m in jobs.missing] == [
            ("team/app", "deleted"),
            ("team/app/main", "deleted"),
        ]
        assert [record.key for record in jobs.records] == ["top"]


async def test_what_jenkins_refuses_to_show_is_hidden_and_not_deleted() -> None:
    async with controller() as remote:
        plant(remote)
        remote.start_build("top")
        remote.item("top").readers = set()
        remote.item("top").discoverers = {"dana"}
        async with connected(remote) as adapter:
            jobs = await adapter.fetch("jobs", ["top"])
            builds = await adapter.fetch("builds", ["top#1"])
        assert [m.reason for m in [*jobs.missing, *builds.missing]] == ["hidden", "hidden"]


async def test_a_job_that_is_not_found_but_still_listed_is_not_called_deleted() -> None:
    async with controller() as remote:
        plant(remote)
        headers = {"X-Jenkins": "2.462.1", "Content-Type": "text/html"}
        remote.faults.append(Fault("/job/top/", 404, b"<html>", headers))
        async with connected(remote) as adapter:
            jobs = await adapter.fetch("jobs", ["top"])
        assert [m.reason for m in jobs.missing] == ["hidden"]


async def test_a_job_outside_the_target_has_left() -> None:
    async with controller() as remote:
        plant(remote)
        remote.views["mine"] = ["team/inner"]
        async with connected(remote, "/job/team") as adapter:
            assert [m.reason for m in (await adapter.fetch("builds", ["top#1"])).missing] == ["left"]
        async with connected(remote, "/view/mine") as adapter:
            jobs = await adapter.fetch("jobs", ["top", "gone", "team/inner/deploy"])
        assert [(m.key, m.reason) for m in jobs.missing] == [("top", "left"), ("gone", "deleted")]
        assert [record.key for record in jobs.records] == ["team/inner/deploy"]


async def test_a_key_that_names_no_build_is_rejected_with_how_one_is_written() -> None:
    async with controller() as remote:
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", ["nonsense"])
        assert [(r.key, "job#number" in r.reason) for r in fetched.rejected] == [("nonsense", True)]


async def test_the_wrong_jenkins_url_is_never_followed_and_no_credential_is_sent_there() -> None:
    async with controller(context="/jenkins") as remote, JenkinsController() as elsewhere:
        plant(remote)
        remote.jenkins_url = elsewhere.url
        remote.start_build("team/app/main")
        jobs = await read_jobs(remote)
        records, _ = await read_job(remote, "team/app/main")
        async with connected(remote) as adapter:
            await adapter.fetch("builds", [records[0].key])
            await adapter.check()
        assert elsewhere.url.encode() in jobs["top"].body
        assert elsewhere.ledger == []
        assert named(jobs["top"])["url"] == f"{remote.base}/job/top/"


async def test_check_tells_account_version_and_count() -> None:
    async with controller() as remote:
        remote.add_job("a")
        remote.add_job("b")
        async with connected(remote) as adapter:
            found = await adapter.check()
        assert (found.account, found.system_version) == ("dana", "2.462.1")
        assert found.streams["jobs"].count == 2
        assert all(stream.readable for stream in found.streams.values())


async def test_check_of_a_job_that_is_not_there_says_so() -> None:
    async with controller() as remote, connected(remote, "/job/nope/job/feature%252Fx") as adapter:
        with pytest.raises(NotFound, match="nope/feature/x"):
            await adapter.check()


@pytest.mark.parametrize(
    ("kind", "username", "made"),
    [
        ("basic", "dana", Basic),
        ("pat", "dana", Basic),
        ("bearer", None, Bearer),
        ("anonymous", None, Anonymous),
    ],
)
def test_the_kinds_of_credential_that_jenkins_takes(kind: str, username: str | None, made: type) -> None:
    assert isinstance(Jenkins.auth(kind, username, lambda: TOKEN), made)


@pytest.mark.parametrize(
    ("kind", "username", "field"),
    [
        ("basic", None, "username"),
        ("basic", "", "username"),
        ("basic", "a:b", "username"),
        ("pat", None, "kind"),
        ("oauth2", None, "kind"),
    ],
)
def test_other_credentials_are_refused_with_what_to_use(kind: str, username: str | None, field: str) -> None:
    with pytest.raises(BadTarget, match=r"user|basic") as refused:
        Jenkins.auth(kind, username, lambda: TOKEN)
    assert refused.value.field == field
