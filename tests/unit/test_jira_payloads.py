"""Answers recorded from real Jira sites, served by a real server and read by the adapter."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.parser import Parser

import msgspec
import pytest
from aiohttp import web
from msgspec import Raw

from adapters.base import (
    AdapterError,
    AuthFailed,
    NotFound,
    Partition,
    QueryRejected,
    RateLimited,
    Unreadable,
)
from adapters.jira import Jira
from adapters.times import from_millis, parse_time, to_millis
from tests.servers import serving
from tests.support import http_client, payloads, read_all, records_of

pytestmark = pytest.mark.payloads

SEARCH = "/rest/api/3/search/jql"
DC_SEARCH = "/rest/api/2/search"
HISTORIES = "/rest/api/3/changelog/bulkfetch"
DC_INFO = b'{"version": "9.12.2", "deploymentType": "DataCenter"}'
DC_MYSELF = b'{"key": "JIRAUSER10000", "name": "ada", "displayName": "Ada", "timeZone": "Asia/Kolkata"}'
INFO = b'{"version": "1001.0.0-SNAPSHOT", "deploymentType": "Cloud"}'
MYSELF = b'{"accountId": "a", "displayName": "Ada", "timeZone": "Europe/Berlin"}'

# Issues in any envelope, or none, with how many there are.
ISSUES = {
    "openapi_search_jql.json": 1,
    "openapi_issue_bulkfetch.json": 3,
    "cloud_agile_board_issues.json": 2,
    "cloud_agile_epic_issues.json": 3,
    "cloud_issues_faros.json": 4,
    "cloud_v2_issue_changelog_rich.json": 1,
    "cloud_v2_issue_changelog_sp1.json": 1,
    "cloud_v2_issue_flagged.json": 1,
    "cloud_v2_issue_links_subtask.json": 1,
    # The same shape from Jira Server and Data Center.
    "dc_v2_issue.json": 1,
    "server_agile_board_issues_links.json": 4,
    "server_issues_in_sprint_classic_page.json": 1,
    "server_v2_issue.json": 1,
    "server_v2_search_page.json": 11,
}


class _Envelope(msgspec.Struct):
    issues: list[Raw]


class _Plain(msgspec.Struct):
    id: str
    key: str
    fields: dict[str, object]


def recorded(name: str) -> bytes:
    """The bytes of a file; a file that is missing fails the test."""
    return (payloads() / "jira" / name).read_bytes()


def issues_in(body: bytes) -> list[Raw]:
    """The issues of a page, of a list, or the one issue that the file is."""
    if body.lstrip().startswith(b"["):
        return msgspec.json.decode(body, type=list[Raw])
    try:
        return msgspec.json.decode(body, type=_Envelope).issues
    except msgspec.ValidationError:
        return [Raw(body.strip())]


@asynccontextmanager
async def site(answers: Mapping[str, web.Response], url: str = "/?filter=1") -> AsyncIterator[Jira]:
    """An adapter towards a server that gives one answer per path, once or more."""

    async def handler(request: web.Request) -> web.StreamResponse:
        known = answers.get(request.path)
        if known is None:
            return web.Response(status=404, text="nothing here")
        return web.Response(status=known.status, body=known.body, headers=known.headers)

    async with serving(handler) as server:
        target = Jira.parse(server.url + url, {})
        auth = Jira.auth("basic", "ada@example.com", lambda: "token")
        async with http_client(target.base, auth) as http:
            yield Jira(target, http)


def answer(body: bytes, status: int = 200, **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **headers})


def standing(search: bytes, **more: web.Response) -> dict[str, web.Response]:
    """A site in order: who we are, a filter, and one page of a search."""
    return {
        "/rest/api/2/serverInfo": answer(INFO),
        "/rest/api/3/myself": answer(MYSELF),
        "/rest/api/3/filter/1": answer(b'{"jql": "project = TG"}'),
        SEARCH: answer(search),
        HISTORIES: answer(b'{"issueChangeLogs": []}'),
        **more,
    }


def standing_datacenter(search: bytes) -> dict[str, web.Response]:
    """A Data Center in order, with one page of a search."""
    return {
        "/rest/api/2/serverInfo": answer(DC_INFO),
        "/rest/api/2/myself": answer(DC_MYSELF),
        "/rest/api/2/filter/1": answer(b'{"jql": "project = TG"}'),
        DC_SEARCH: answer(search),
    }


def test_all_files_with_issues_are_used() -> None:
    """So that a new recording is not forgotten."""
    found = {
        path.name
        for path in (payloads() / "jira" / "fetch").glob("*.json")
        if any(b'"fields"' in raw and b'"summary"' in raw for raw in map(bytes, issues_in(path.read_bytes())))
    }
    # Issues that were cut down to no id, and transitions, which have fields but are no issues.
    assert found - {"cloud_search_small.json", "server_transitions.json"} <= set(ISSUES)


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
@pytest.mark.parametrize("name", ISSUES)
async def test_recorded_issues_are_read_without_a_loss(name: str, product: str) -> None:
    sent = issues_in(recorded(f"fetch/{name}"))
    answers = standing(msgspec.json.encode({"issues": sent, "isLast": True}))
    if product == "datacenter":
        page = {"startAt": 0, "maxResults": 100, "total": len(sent), "issues": sent}
        answers = standing_datacenter(msgspec.json.encode(page))
    async with site(answers) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    records = records_of(pages, "issues")
    assert [page.rejected for page in pages] == [[]]
    assert [record.body for record in records] == [bytes(raw) for raw in sent]
    for record, raw in zip(records, sent, strict=True):
        plain = msgspec.json.decode(raw, type=_Plain)
        updated = plain.fields.get("updated")
        moment = parse_time(updated) if isinstance(updated, str) else None
        if isinstance(updated, int):
            moment = from_millis(updated)
        assert (record.key, record.columns[0], record.updated_at) == (plain.id, plain.key, moment)
        assert record.version == (str(to_millis(moment)) if moment else None)
        assert record.columns[1] == plain.fields.get("summary")
    assert len(records) == ISSUES[name]


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
@pytest.mark.parametrize("name", ISSUES)
async def test_what_is_embedded_in_recorded_issues_is_read_without_a_loss(name: str, product: str) -> None:
    sent = issues_in(recorded(f"fetch/{name}"))
    answers = standing(msgspec.json.encode({"issues": sent, "isLast": True}))
    if product == "datacenter":
        page = {"startAt": 0, "maxResults": 100, "total": len(sent), "issues": sent}
        answers = standing_datacenter(msgspec.json.encode(page))
    async with site(answers) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    assert [page.rejected for page in pages] == [[]]
    for stream, lists in embedded_in(sent).items():
        records = records_of(pages, stream)
        assert {(one.parent, one.key): msgspec.json.decode(one.body) for one in records} == {
            (parent, str(entry["id"])): entry for parent, entries in lists for entry in entries
        }
        assert all(one.updated_at or stream == "changelogs" for one in records)


def embedded_in(issues: list[Raw]) -> dict[str, list[tuple[str, list[dict[str, object]]]]]:
    """The entries of all lists by stream, with the id of their issue; the documents show some lists bare."""
    found: dict[str, list[tuple[str, list[dict[str, object]]]]] = {}
    for raw in issues:
        issue = json.loads(bytes(raw))
        lists = {
            "changelogs": (issue.get("changelog"), "histories"),
            "comments": (issue["fields"].get("comment"), "comments"),
            "worklogs": (issue["fields"].get("worklog"), "worklogs"),
        }
        for stream, (listed, member) in lists.items():
            entries = listed.get(member, []) if isinstance(listed, dict) else listed or []
            found.setdefault(stream, []).append((issue["id"], entries))
    return found


def test_what_is_embedded_in_recorded_issues_is_something() -> None:
    """So that the test above cannot pass on nothing."""
    every = [embedded_in(issues_in(recorded(f"fetch/{name}"))) for name in ISSUES]
    counts = {
        stream: sum(len(entries) for lists in every for _, entries in lists[stream])
        for stream in ("changelogs", "comments", "worklogs")
    }
    assert counts["changelogs"] > 80
    assert counts["comments"] > 8


LISTS = {
    "openapi_comments_page.json": ("comments", "comment"),
    "server_v2_comments.json": ("comments", "comment"),
    "openapi_worklogs_page.json": ("worklogs", "worklog"),
    "server_v2_worklog.json": ("worklogs", "worklog"),
    "cloud_v2_worklogs.json": ("worklogs", "worklog"),
    "openapi_changelog_page.json": ("changelogs", "changelog"),
}


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
@pytest.mark.parametrize("name", LISTS)
async def test_recorded_lists_are_read_without_a_loss(name: str, product: str) -> None:
    """From their own endpoint, of an issue in which they are cut; a history as the issue expands it."""
    stream, field = LISTS[name]
    found = json.loads(recorded(f"fetch/{name}"))
    entries = found if isinstance(found, list) else found.get(stream, found.get("values"))
    page = {"startAt": 0, "maxResults": 5000, "total": len(entries)}
    cut = {**page, stream: []}
    answers = {f"/rest/api/{{}}/issue/7/{field}": answer(json.dumps({**page, stream: entries}).encode())}
    issue: dict[str, object] = {"id": "7", "key": "TG-7", "fields": {field: cut}}
    if stream == "changelogs":
        issue = {"id": "7", "key": "TG-7", "fields": {}, "changelog": {**page, "histories": entries}}
    version, standing_ = ("3", standing) if product == "cloud" else ("2", standing_datacenter)
    search = {"issues": [issue], "isLast": True, "startAt": 0, "maxResults": 100, "total": 1}
    served = {path.format(version): one for path, one in answers.items()}
    async with site(standing_(json.dumps(search).encode()) | served) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    records = records_of(pages, stream)
    assert [page.rejected for page in pages] == [[]]
    assert [json.loads(one.body) for one in records] == entries
    assert [one.key for one in records] == [str(entry["id"]) for entry in entries]
    assert all(one.columns[0] and one.parent == "7" for one in records)
    assert {one.updated_at for one in records} == {parse_time(entry.get("updated")) for entry in entries}
    families = [family.keys for page in pages for family in page.families if family.stream == stream]
    assert [list(keys) for keys in families] == [[one.key for one in records]]


async def test_a_recorded_page_of_a_classic_search_is_read_in_its_own_envelope() -> None:
    sent = recorded("fetch/server_v2_search_page.json")
    async with site(standing_datacenter(sent)) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    assert [record.body for record in records_of(pages, "issues")] == [bytes(raw) for raw in issues_in(sent)]
    assert [(page.expected, page.end) for page in pages] == [({"issues": 11}, True)]


async def test_a_recorded_page_behind_the_end_is_no_empty_result() -> None:
    answers = standing_datacenter(recorded("fetch/server_v2_search_empty.json"))
    async with site(answers) as jira:
        with pytest.raises(Unreadable, match="from 0 on"):
            await read_all(jira, "issues", Partition("all"))


async def test_a_recorded_page_that_counts_more_than_it_has_is_not_taken_for_all() -> None:
    answers = standing_datacenter(recorded("fetch/server_issues_in_sprint_classic_page.json"))
    async with site(answers) as jira:
        reading = jira.read("issues", Partition("all"), None)
        first = await anext(reading)
        with pytest.raises(AdapterError):
            await anext(reading)
    assert (len(first.records), first.expected, first.end) == (1, {"issues": 10}, False)


@pytest.mark.parametrize("name", ["dc_v2_issue.json", "server_v2_issue.json"])
async def test_people_of_data_center_have_a_stable_id(name: str) -> None:
    raw = issues_in(recorded(f"fetch/{name}"))
    page = msgspec.json.encode({"startAt": 0, "maxResults": 100, "total": 1, "issues": raw})
    async with site(standing_datacenter(page)) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    names = [column.name for column in Jira.feeds[0].streams[0].columns]
    (record,) = records_of(pages, "issues")
    values = dict(zip(names, record.columns, strict=True))
    reporter = msgspec.json.decode(raw[0], type=_Plain).fields["reporter"]
    assert isinstance(reporter, dict)
    assert values["reporter_id"] == reporter.get("key", reporter["name"])


async def test_a_recorded_account_of_data_center_is_who_we_are() -> None:
    answers = standing_datacenter(b'{"startAt": 0, "maxResults": 0, "total": 5, "issues": []}') | {
        "/rest/api/2/myself": answer(recorded("fetch/dc_v2_user.json")),
        "/rest/api/2/filter/1": answer(recorded("fetch/server_filter.json")),
    }
    async with site(answers) as jira:
        check = await jira.check()
    assert (check.account, check.system_version) == ("Matar Peles", "Jira Data Center 9.12.2")
    assert (check.streams["issues"].readable, check.streams["issues"].count) == (True, 5)


async def test_issues_without_an_id_are_put_aside_and_named() -> None:
    async with site(standing(recorded("fetch/cloud_search_small.json"))) as jira:
        pages, _ = await read_all(jira, "issues", Partition("all"))
    assert not records_of(pages)
    assert [one.reason.partition(":")[0] for one in pages[0].rejected] == ["TEST-1", "TEST-2", "TEST-3"]


@pytest.mark.parametrize(
    ("name", "account"), [("openapi_myself.json", "Mia Krystof"), ("myself.json", "Person A")]
)
@pytest.mark.parametrize("filter_name", ["openapi_filter.json", "server_filter.json"])
@pytest.mark.parametrize("info", ["serverinfo.json", "openapi_serverinfo.json"])
async def test_a_site_of_recorded_answers_is_checked(
    name: str, account: str, filter_name: str, info: str
) -> None:
    answers = standing(b"{}") | {
        "/rest/api/3/myself": answer(recorded(f"fetch/{name}")),
        "/rest/api/3/filter/1": answer(recorded(f"fetch/{filter_name}")),
        "/rest/api/2/serverInfo": answer(recorded(f"fetch/{info}")),
        "/rest/api/3/search/approximate-count": answer(recorded("fetch/openapi_approximate_count.json")),
    }
    async with site(answers) as jira:
        check = await jira.check()
    assert (check.account, check.system_version) == (account, "Jira Cloud 1001.0.0-SNAPSHOT")
    assert (check.streams["issues"].readable, check.streams["issues"].count) == (True, 153)


async def test_a_recorded_bulk_answer_tells_who_left_and_who_is_hidden() -> None:
    bulk = recorded("fetch/openapi_issue_bulkfetch.json")
    answers = standing(b'{"issues": [], "isLast": true}') | {"/rest/api/3/issue/bulkfetch": answer(bulk)}
    async with site(answers) as jira:
        fetched = await jira.fetch("issues", ["10002", "10005", "10009"])
    assert {one.key: one.reason for one in fetched.missing} == {
        "10002": "left",
        "10005": "left",
        "10009": "hidden",
    }


def http_answer(name: str) -> web.Response:
    """A file with a status line and headers."""
    first, _, rest = recorded(f"errors/{name}").decode().partition("\n")
    headers = {k: v for k, v in Parser().parsestr(rest, headersonly=True).items() if k != "Content-Type"}
    return answer(b"", int(first.split()[1]), **headers)


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
async def test_the_recorded_headers_of_an_expired_token_fail_the_sync(product: str) -> None:
    seen = json.loads(recorded("errors/cloud_200_expired_token.headers.json"))
    headers = {name: value for name, value in seen["headers"].items() if name != "content-type"}
    body = b'{"issues": [], "isLast": true, "startAt": 0, "total": 0}'
    answers = standing(b"") | {SEARCH: answer(body, seen["status"], **headers)}
    if product == "datacenter":
        answers = standing_datacenter(b"") | {DC_SEARCH: answer(body, seen["status"], **headers)}
    async with site(answers) as jira:
        with pytest.raises(AuthFailed):
            await read_all(jira, "issues", Partition("all"))


@pytest.mark.parametrize(
    ("name", "status", "error", "says"),
    [
        ("cloud_400_ran_as_anonymous.json", 400, AuthFailed, "stranger"),
        ("cloud_410_search_removed.json", 410, QueryRejected, "CHANGE-2046"),
        ("server_component_invalid_400.json", 400, QueryRejected, "Unrecognized field"),
        ("server_put_invalid_400.json", 400, QueryRejected, "invalid: Field 'invalid'"),
        ("server_role_not_found_404.json", 404, NotFound, "Role with given id not found"),
        ("server_permissionscheme_not_found_404.json", 404, NotFound, "does not exist"),
        ("cloud_429_html_body.html", 429, RateLimited, "limits"),
    ],
)
@pytest.mark.parametrize("product", ["cloud", "datacenter"])
async def test_a_recorded_refusal_names_its_consequence(
    name: str, status: int, error: type[AdapterError], says: str, product: str
) -> None:
    refusal = answer(recorded(f"errors/{name}"), status)
    if name.endswith(".html"):
        refusal.headers["Content-Type"] = "text/html"
    answers = standing(b"") | {SEARCH: refusal}
    if product == "datacenter":
        answers = standing_datacenter(b"") | {DC_SEARCH: refusal}
    async with site(answers) as jira:
        with pytest.raises(error, match=says) as raised:
            await read_all(jira, "issues", Partition("all"))
    assert raised.value.hint


@pytest.mark.parametrize("name", ["cloud_429_burst.http", "cloud_429_quota.http"])
async def test_a_recorded_limit_is_waited_for(name: str) -> None:
    limit = http_answer(name)
    async with site(standing(b"") | {SEARCH: limit}) as jira:
        with pytest.raises(RateLimited, match=limit.headers["RateLimit-Reason"]) as raised:
            await read_all(jira, "issues", Partition("all"))
    assert raised.value.retry_at is not None
