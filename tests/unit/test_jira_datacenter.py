"""Reading a simulated Jira Data Center: which issues, by which requests, and what a person is told."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest

from adapters.base import (
    AdapterError,
    AuthFailed,
    Fetched,
    Forbidden,
    NotFound,
    Page,
    QueryRejected,
    RateLimited,
    Unavailable,
    Unreadable,
)
from adapters.http import Http
from adapters.jira import Jira
from adapters.jira.site import ServerInfo
from tests.support import http_client, read_all, records_of
from tests.unit.jira_datacenter import (
    ALL,
    JSON,
    NOON,
    SEARCH,
    asked,
    connected,
    datacenter,
    first_sync,
    keys_of,
    sent,
)
from tidegate.demo.remotes.base import Fault

HTML = {"Content-Type": "text/html"}
KOLKATA = "Asia/Kolkata"


def outcome(fetched: Fetched) -> dict[str, str]:
    """What became of each key."""
    return (
        {record.key: "record" for record in records_of(fetched, "issues")}
        | {str(one.key): "rejected" for one in fetched.rejected}
        | {one.key: one.reason for one in fetched.missing}
    )


async def test_an_idle_connection_costs_three_requests() -> None:
    async with datacenter(context="/jira") as remote:
        remote.seed(20)
        number = remote.add_filter("project = TG ORDER BY priority DESC")
        cursor = await first_sync(remote, f"filter={number}")
        remote.ledger.clear()
        async with connected(remote, f"filter={number}") as jira:
            (partition,) = await jira.plan("issues")
            pages, _ = await read_all(jira, "issues", partition, cursor)
        assert [seen.line for seen in remote.ledger] == [
            "GET /jira/rest/api/2/myself",
            f"GET /jira/rest/api/2/filter/{number}",
            f"POST /jira{SEARCH}",
        ]
        assert [(len(page.records), page.expected, page.end) for page in pages] == [(0, {"issues": 0}, True)]


async def test_forty_changes_in_kolkata_are_in_the_second_sync_in_six_searches() -> None:
    async with datacenter(zone=KOLKATA) as remote:
        remote.seed(2500)
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=1))
        changed = [remote.update_issue(number, status="Done") for number in range(10_100, 10_140)]
        remote.clock.advance(timedelta(minutes=5))
        remote.ledger.clear()
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert set(keys_of(pages)) == {str(issue.id) for issue in changed}
        assert len(remote.requests(SEARCH)) == 1


@pytest.mark.parametrize("zone", ["America/Los_Angeles", KOLKATA, "UTC", "Pacific/Kiritimati"])
async def test_an_issue_updated_in_any_time_zone_is_in_the_second_sync(zone: str) -> None:
    async with datacenter(zone=zone) as remote:
        remote.create_issue("TG", "Stays")
        changed = remote.create_issue("TG", "Changes")
        remote.clock.advance(timedelta(days=2))
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(minutes=1))
        remote.update_issue(changed.id, status="Done")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(changed.id)]


async def test_the_date_in_the_query_is_that_of_the_account() -> None:
    async with datacenter(zone=KOLKATA) as remote:
        cursor = await first_sync(remote)
        async with connected(remote) as jira:
            await read_all(jira, "issues", ALL, cursor)
        # 12:00:30 less the overlap of ten minutes is 11:50:30 UTC.
        assert asked(remote)[-1] == (
            '(project = TG) AND updated >= "2026/03/04 17:20" ORDER BY updated ASC, key ASC'
        )


async def test_a_record_of_data_center_is_the_issue_as_sent_with_its_columns() -> None:
    async with datacenter() as remote:
        (ada,) = remote.people
        issue = remote.create_issue("TG", "Rows are lost", assignee=ada, reporter=ada, labels=("a", "b"))
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        (record,) = records_of(pages, "issues")
        assert (record.key, record.body, record.updated_at) == (str(issue.id), sent(remote, issue), NOON)
        names = [column.name for column in Jira.feeds[0].streams[0].columns]
        values = dict(zip(names, record.columns, strict=True))
        assert (values["assignee"], values["assignee_id"], values["reporter_id"]) == ("Ada", ada, ada)
        assert isinstance(json.loads(record.body)["fields"]["description"], str)


async def test_since_limits_the_first_read() -> None:
    async with datacenter(zone=KOLKATA) as remote:
        remote.create_issue("TG", "Old")
        revived = remote.create_issue("TG", "Revived")
        remote.clock.advance(timedelta(days=2))
        remote.update_issue(revived.id, status="Done")
        async with connected(remote, since="2026-03-05") as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert keys_of(pages) == [str(revived.id)]
        assert pages[-1].expected == {"issues": 1}


async def test_a_changed_filter_is_read_from_the_beginning() -> None:
    async with datacenter() as remote:
        task = remote.create_issue("TG", "Task")
        remote.clock.advance(timedelta(days=1))
        number = remote.add_filter("project = TG AND type = Bug")
        cursor = await first_sync(remote, f"filter={number}")
        remote.filters[number].jql = "project = TG"
        async with connected(remote, f"filter={number}") as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(task.id)]


async def test_a_stranger_reads_what_is_public() -> None:
    async with datacenter() as remote:
        remote.public = True
        remote.seed(3)
        async with connected(remote, kind="anonymous") as jira:
            check = await jira.check()
            pages, cursor = await read_all(jira, "issues", ALL)
            remote.ledger.clear()
            await read_all(jira, "issues", ALL, cursor)
        assert (check.account, check.streams["issues"].count, len(keys_of(pages))) == (None, 3, 3)
        assert [seen.line for seen in remote.ledger] == [f"POST {SEARCH}"]


async def test_a_site_that_became_another_product_is_read_anew() -> None:
    async with datacenter() as remote:
        remote.seed(3)
        cursor = (await first_sync(remote)).replace('"datacenter"', '"cloud"')
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert len(keys_of(pages)) == 3


async def read_on(reading: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in reading]


# Fetching by key


async def test_a_fetched_issue_has_the_body_that_reading_gave() -> None:
    async with datacenter() as remote:
        remote.seed(3)
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
            fetched = await jira.fetch("issues", ["10002"])
        assert records_of(fetched, "issues") == [records_of(pages, "issues")[1]]


@pytest.mark.parametrize("always_validates", [True, False])
async def test_every_key_asked_for_is_answered_once(always_validates: bool) -> None:
    async with datacenter() as remote:
        remote.always_validates = always_validates
        for name in ("OPS", "SECRET"):
            remote.add_project(name)
        stays, leaves, hidden, deleted = (remote.create_issue("TG", name) for name in "abcd")
        remote.move_issue(leaves.id, "OPS")
        remote.move_issue(hidden.id, "SECRET")
        remote.hide_project("SECRET")
        remote.delete_issue(deleted.id)
        async with connected(remote) as jira:
            keys = [str(i.id) for i in (deleted, hidden, leaves, stays)]
            fetched = await jira.fetch("issues", [*keys, "OPS-1", "TG-99"])
        assert outcome(fetched) == {
            str(stays.id): "record",
            str(leaves.id): "left",
            str(hidden.id): "hidden",
            str(deleted.id): "hidden",
            "OPS-1": "left",
            "TG-99": "hidden",
        }
        # The two that were named by their keys, and those that the query does not show: an index may be late.
        assert (len(remote.requests("/issue/")) > 5) == always_validates


async def test_fifty_issues_are_fetched_over_as_many_pages_as_the_site_allows() -> None:
    async with datacenter() as remote:
        remote.max_page = 20
        keys = [str(issue.id) for issue in remote.seed(50)]
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", keys)
        assert sorted(outcome(fetched)) == keys


async def test_a_query_that_is_wrong_in_itself_proves_nothing_about_issues() -> None:
    async with datacenter() as remote:
        issue = remote.create_issue("TG", "Here")
        async with connected(remote, "jql=project%20=%20GONE") as jira:
            with pytest.raises(QueryRejected, match="GONE"):
                await jira.fetch("issues", [str(issue.id)])


# Checking


@pytest.mark.parametrize("context", ["", "/jira", "/tools/jira"])
@pytest.mark.parametrize(("kind", "secret"), [("pat", "pat-1"), ("bearer", "pat-1"), ("basic", "secret")])
async def test_check_says_who_we_are_what_it_is_and_how_many_match(
    kind: str, secret: str, context: str
) -> None:
    async with datacenter(context=context) as remote:
        remote.seed(7)
        number = remote.add_filter("project = TG")
        async with connected(remote, f"filter={number}", kind=kind, secret=secret) as jira:
            check = await jira.check()
        assert (check.account, check.system_version) == ("Ada", "Jira Data Center 9.12.2")
        found = check.streams["issues"]
        assert (found.readable, found.count, found.problem) == (True, 7, None)


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        (ServerInfo("1001.0.0-SNAPSHOT", "Cloud"), "Jira Cloud 1001.0.0-SNAPSHOT"),
        (ServerInfo("1001.0.0-SNAPSHOT"), "Jira Cloud 1001.0.0-SNAPSHOT"),
        (ServerInfo("9.12.2", "DataCenter"), "Jira Data Center 9.12.2"),
        (ServerInfo("9.12.2", "Data Center"), "Jira Data Center 9.12.2"),
        (ServerInfo("10.3.0", "Server"), "Jira Data Center 10.3.0"),
        (ServerInfo("8.20.1", "Server"), "Jira Server 8.20.1"),
        (ServerInfo("6.4.14"), "Jira Server 6.4.14"),
        (ServerInfo("odd"), "Jira Server odd"),
    ],
)
def test_the_product_is_told_by_its_own_answer(info: ServerInfo, shown: str) -> None:
    assert info.shown == shown
    assert info.is_cloud == shown.startswith("Jira Cloud")


async def test_a_project_that_may_not_be_browsed_is_told_with_its_permission() -> None:
    async with datacenter() as remote:
        remote.seed(3)
        remote.hide_project("TG")
        async with connected(remote) as jira:
            found = (await jira.check()).streams["issues"]
        assert (found.readable, found.kind) == (False, "rejected")
        assert "'TG' does not exist" in (found.problem or "")
        assert "Browse Projects" in (found.problem or "")


async def test_a_filter_that_finds_nothing_for_this_account_says_which_permission_may_be_missing() -> None:
    async with datacenter() as remote:
        remote.seed(3)
        number = remote.add_filter("status = Done OR status != Done")
        remote.hide_project("TG")
        async with connected(remote, f"filter={number}") as jira:
            found = (await jira.check()).streams["issues"]
        assert (found.readable, found.count) == (True, 0)
        assert "Browse Projects" in (found.problem or "")


async def test_a_filter_that_is_not_shared_is_named() -> None:
    async with datacenter() as remote:
        number = remote.add_filter("project = TG", owner="someone", shared=False)
        async with connected(remote, f"filter={number}") as jira:
            assert "not shared" in ((await jira.check()).streams["issues"].problem or "")
            with pytest.raises(NotFound, match="not shared"):
                await read_all(jira, "issues", ALL)


async def test_another_context_path_is_told_as_a_wrong_address() -> None:
    async with datacenter(context="/jira") as remote:
        target = Jira.parse(f"{remote.url}/?filter=1", {})
        async with http_client(target.base, clock=remote.clock.now) as http:
            with pytest.raises(NotFound, match="page instead of data") as raised:
                await Jira(target, http).check()
        assert "context path" in raised.value.hint


# Credentials and other refusals


@pytest.mark.parametrize(
    ("kind", "hint"), [("pat", "Personal Access Tokens"), ("basic", "Check user name and password")]
)
async def test_a_refused_credential_says_what_data_center_takes(kind: str, hint: str) -> None:
    async with datacenter() as remote:
        async with connected(remote, kind=kind, secret="wrong") as jira:
            with pytest.raises(AuthFailed) as raised:
                await jira.check()
        assert hint in raised.value.hint


@pytest.mark.parametrize("kind", ["pat", "basic"])
async def test_one_attempt_with_a_refused_credential_is_one_failed_login(kind: str) -> None:
    async with datacenter() as remote:
        async with connected(remote, kind=kind, secret="wrong") as jira:
            with pytest.raises(AuthFailed):
                await read_all(jira, "issues", ALL)
        assert len(remote.ledger) == 1


async def test_too_many_failed_logins_lead_to_a_captcha_that_is_explained() -> None:
    async with datacenter() as remote:
        for _ in range(remote.captcha_after):
            async with connected(remote, kind="basic", secret="wrong") as jira:
                with pytest.raises(AuthFailed):
                    await jira.check()
        async with connected(remote, kind="basic", secret="secret") as jira:
            with pytest.raises(AuthFailed, match="captcha") as raised:
                await jira.check()
            assert "browser" in raised.value.hint
            remote.solve_captcha("ada")
            assert (await jira.check()).account == "Ada"


async def test_passwords_that_are_switched_off_are_told_with_what_to_use() -> None:
    async with datacenter() as remote:
        remote.takes_passwords = False
        async with connected(remote, kind="basic", secret="secret") as jira:
            with pytest.raises(AuthFailed, match="takes no user name") as raised:
                await jira.check()
        assert "personal access token" in raised.value.hint


async def test_a_token_revoked_between_pages_fails_and_does_not_end_the_reading() -> None:
    async with datacenter() as remote:
        remote.seed(900)
        async with connected(remote) as jira:
            reading = jira.read("issues", ALL, None)
            assert not (await anext(reading)).end
            remote.revoke("pat-1")
            with pytest.raises(AuthFailed):
                await read_on(reading)


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "says"),
    [
        (200, b'{"startAt":0,"total":0,"issues":[]}', JSON | {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"},
         AuthFailed, "stranger"),
        (200, b"<form id=\"login-form\"><input name='os_username'>", HTML, AuthFailed, "login page"),
        (200, b"<html>hello", HTML, Unreadable, "instead of JSON"),
        (302, b"", {"Location": "/login.jsp?os_destination=%2Frest"}, AuthFailed, "login page"),
        (302, b"", {"Location": "https://sso.example.com/adfs/ls"}, AuthFailed, "login page"),
        (302, b"", {"Location": "/johnson/setup"}, Unavailable, "maintenance"),
        (401, b"<html>", HTML, AuthFailed, "credential"),
        (403, b"<html>blocked", HTML, Forbidden, "page instead of data"),
        (403, b'{"errorMessages":["No access to this application."]}', JSON, Forbidden, "No access"),
        (403, b"", {"X-Authentication-Denied-Reason": "CAPTCHA_CHALLENGE; a=b"}, AuthFailed, "captcha"),
        (400, b'{"errorMessages":["Odd."]}', JSON, QueryRejected, "Odd"),
        (404, b"<html>", HTML, NotFound, "page instead"),
        (502, b"<html>", HTML, Unavailable, "502"),
        (503, b"<html>", HTML, Unavailable, "503"),
        (203, b'{"startAt":0,"total":0,"issues":[]}', JSON, Unreadable, "203"),
    ],
)  # fmt: skip
async def test_an_answer_to_a_search_becomes_its_error(
    status: int, body: bytes, headers: Mapping[str, str], error: type[AdapterError], says: str
) -> None:
    async with datacenter() as remote:
        remote.faults.append(Fault(SEARCH, status, body, headers, times=9))
        async with connected(remote) as jira:
            with pytest.raises(error, match=says) as raised:
                await read_all(jira, "issues", ALL)
        assert type(raised.value) is error
        assert raised.value.hint


async def test_a_full_bucket_slows_nothing_and_an_empty_one_says_when() -> None:
    async with datacenter() as remote:
        remote.seed(250)
        remote.bucket = 40
        await first_sync(remote)
        remote.limit(times=9, retry_after=90)
        async with connected(remote) as jira:
            with pytest.raises(RateLimited) as raised:
                await read_all(jira, "issues", ALL)
        assert raised.value.retry_at == NOON + timedelta(seconds=90)


async def test_a_limit_that_names_only_its_interval_is_waited_for() -> None:
    async with datacenter() as remote:
        remote.limit(times=9, retry_after=None)
        async with connected(remote) as jira:
            with pytest.raises(RateLimited) as raised:
                await jira.check()
        assert raised.value.retry_at == NOON + timedelta(seconds=60)


# The simulated site keeps to what is known of the real one


async def found(http: Http, **body: object) -> dict[str, object]:
    answer: dict[str, object] = json.loads((await http.post(SEARCH, body)).body)
    return answer


async def test_the_site_cuts_pages_without_a_word_and_counts_exactly() -> None:
    async with datacenter() as remote:
        remote.seed(30)
        remote.max_page = 10
        auth = Jira.auth("pat", None, lambda: "pat-1")
        async with http_client(remote.base, auth, clock=remote.clock.now) as http:
            page = await found(http, jql="", startAt=25, maxResults=50, fields=["id"])
            beyond = await found(http, jql="project = TG", startAt=40)
            with pytest.raises(QueryRejected):
                await found(http, jql="id in (10001, 99)")
            some = await found(http, jql="id in (10001, 99)", validateQuery=False)
        assert [page[name] for name in ("startAt", "maxResults", "total")] == [25, 10, 30]
        assert isinstance(page["issues"], list)
        assert len(page["issues"]) == 5
        assert (beyond["total"], beyond["issues"], some["total"]) == (30, [], 1)
