"""Asking the simulated Jira Cloud for single issues, and for itself."""

import json
from datetime import timedelta

import pytest

from adapters.base import AuthFailed, BadTarget, Fetched, NotFound, QueryRejected, Unavailable
from adapters.jira import Jira
from tests.support import read_all, records_of
from tests.unit.jira_cloud import ALL, JSON, SEARCH, cloud, connected
from tidegate.demo.remotes.base import Fault

BULK = "/rest/api/3/issue/bulkfetch"


def outcome(fetched: Fetched) -> dict[str, str]:
    """What became of each key."""
    return (
        {record.key: "record" for record in records_of(fetched, "issues")}
        | {str(one.key): "rejected" for one in fetched.rejected}
        | {one.key: one.reason for one in fetched.missing}
    )


async def test_a_fetched_issue_has_the_body_that_reading_gave() -> None:
    async with cloud() as remote:
        remote.seed(3)
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
            fetched = await jira.fetch("issues", ["10002"])
        assert records_of(fetched, "issues") == [records_of(pages, "issues")[1]]


async def test_every_key_asked_for_is_answered_once() -> None:
    async with cloud() as remote:
        for name in ("OPS", "SECRET"):
            remote.add_project(name)
        stays, leaves, hidden, deleted = (remote.create_issue("TG", name) for name in "abcd")
        remote.move_issue(leaves.id, "OPS")
        remote.move_issue(hidden.id, "SECRET")
        remote.hide_project("SECRET")
        remote.delete_issue(deleted.id)
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(i.id) for i in (deleted, hidden, leaves, stays)])
        assert outcome(fetched) == {
            str(stays.id): "record",
            str(leaves.id): "left",
            str(hidden.id): "hidden",
            str(deleted.id): "hidden",
        }


async def test_a_site_that_ignores_unknown_issues_is_asked_once_less() -> None:
    async with cloud() as remote:
        remote.refuses_unknown_issues = False
        stays = remote.create_issue("TG", "a")
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(stays.id), "99999"])
        assert outcome(fetched) == {str(stays.id): "record", "99999": "hidden"}
        assert [len(remote.requests(path)) for path in (SEARCH, BULK)] == [1, 1]


async def test_an_issue_that_the_index_does_not_know_yet_is_fetched() -> None:
    async with cloud() as remote:
        remote.lag = timedelta(minutes=5)
        issue = remote.create_issue("TG", "Just made")
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(issue.id)])
        assert outcome(fetched) == {str(issue.id): "record"}


async def test_an_issue_named_by_its_key_comes_back_under_its_id() -> None:
    async with cloud() as remote:
        remote.add_project("OPS")
        remote.add_project("NEW")
        issue = remote.create_issue("OPS", "Moves")
        remote.move_issue(issue.id, "NEW")
        async with connected(remote, "jql=project%20in%20(OPS,NEW)") as jira:
            now = await jira.fetch("issues", ["NEW-1"])
            before = await jira.fetch("issues", ["OPS-1", "OPS-7", "no key"])
        assert outcome(now) == {str(issue.id): "record"}
        assert outcome(before) == {str(issue.id): "record", "OPS-7": "hidden", "no key": "hidden"}


async def test_fifty_issues_are_fetched_over_as_many_pages_as_the_remote_likes() -> None:
    async with cloud() as remote:
        remote.max_page = 20
        keys = [str(issue.id) for issue in remote.seed(50)]
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", keys)
        assert sorted(outcome(fetched)) == keys
        assert all(
            json.loads(seen.body)["reconcileIssues"] == [int(key) for key in keys]
            for seen in remote.requests(SEARCH)
        )


async def test_nothing_asked_for_costs_nothing() -> None:
    async with cloud() as remote, connected(remote) as jira:
        assert outcome(await jira.fetch("issues", [])) == {}
        assert not remote.ledger


async def test_an_illegible_issue_is_rejected_and_never_called_gone() -> None:
    async with cloud() as remote:
        good, bad = remote.create_issue("TG", "a"), remote.create_issue("TG", "b")
        remote.send_instead(bad.id, b'{"id":"not a number","key":"TG-2","fields":{}}')
        answer = {"issues": [{"id": str(bad.id)}], "issueErrors": []}
        remote.faults.append(Fault(BULK, 200, json.dumps(answer).encode(), JSON))
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(good.id), str(bad.id)])
        assert not fetched.missing
        assert [record.key for record in records_of(fetched, "issues")] == [str(good.id)]
        assert str(bad.id) in [one.key for one in fetched.rejected]


async def test_an_issue_that_nobody_asked_for_is_not_given() -> None:
    async with cloud() as remote:
        wanted, other = remote.create_issue("TG", "a"), remote.create_issue("TG", "b")
        both = b'{"issues":[%s,%s],"isLast":true}' % (remote.body(wanted), remote.body(other))
        remote.faults.append(Fault(SEARCH, 200, both, JSON))
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(wanted.id)])
        assert outcome(fetched) == {str(wanted.id): "record"}


async def test_what_jira_could_not_look_up_is_asked_again_later() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("OPS", "Elsewhere")
        answer = {"issues": [], "issueErrors": [{"id": str(issue.id), "errorMessage": "try again"}]}
        remote.faults.append(Fault(BULK, 200, json.dumps(answer).encode(), JSON))
        async with connected(remote) as jira:
            with pytest.raises(Unavailable):
                await jira.fetch("issues", [str(issue.id)])


async def test_a_query_that_is_wrong_in_itself_proves_nothing_about_issues() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Here")
        async with connected(remote, "jql=project%20=%20GONE") as jira:
            with pytest.raises(QueryRejected, match="GONE"):
                await jira.fetch("issues", [str(issue.id)])


async def test_check_says_who_we_are_and_how_many_issues_match() -> None:
    async with cloud() as remote:
        remote.seed(7)
        number = remote.add_filter("project = TG")
        async with connected(remote, f"filter={number}") as jira:
            check = await jira.check()
        assert (check.account, check.system_version) == ("ada", "Jira Cloud 1001.0.0-SNAPSHOT")
        assert (check.streams["issues"].readable, check.streams["issues"].count) == (True, 7)


async def test_check_names_a_filter_that_is_not_shared() -> None:
    async with cloud() as remote:
        number = remote.add_filter("project = TG", owner="someone", shared=False)
        async with connected(remote, f"filter={number}") as jira:
            check = await jira.check()
            with pytest.raises(NotFound, match="not shared"):
                await read_all(jira, "issues", ALL)
        assert not check.streams["issues"].readable
        assert "not shared" in (check.streams["issues"].problem or "")


async def test_check_fails_for_a_credential_that_is_not_taken() -> None:
    async with cloud() as remote:
        remote.revoke("token")
        async with connected(remote) as jira:
            with pytest.raises(AuthFailed):
                await jira.check()


@pytest.mark.parametrize(("kind", "username"), [("basic", None), ("basic", "a:b"), ("ssh", "ada")])
def test_a_credential_that_cannot_work_is_refused(kind: str, username: str | None) -> None:
    with pytest.raises(BadTarget) as refused:
        Jira.auth(kind, username, lambda: "secret")
    assert refused.value.field == ("kind" if kind == "ssh" else "username")


@pytest.mark.parametrize(
    ("kind", "username", "header"),
    [
        ("basic", "ada", "Basic YWRhOnM="),
        ("bearer", None, "Bearer s"),
        ("pat", None, "Bearer s"),
        ("anonymous", None, None),
    ],
)
async def test_each_kind_of_credential_is_sent_as_jira_takes_it(
    kind: str, username: str | None, header: str | None
) -> None:
    assert await Jira.auth(kind, username, lambda: "s").header() == header
