"""The simulated organisation refuses what Azure DevOps refuses."""

from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import msgspec
import pytest

from adapters.auth import Anonymous
from adapters.base import AdapterError
from adapters.http import Http
from adapters.reply import Reply
from tests.support import http_client
from tests.unit.azure_reading import TOKEN
from tidegate.demo.remotes.azure import AzureDevOps

ALL = "SELECT [System.Id] FROM WorkItems"


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.seed(10, Random(9))
        yield running


@pytest.fixture
async def http(remote: AzureDevOps) -> AsyncIterator[Http]:
    async with http_client(remote.base, TOKEN) as client:
        yield client


class Refused(AdapterError):
    """An answer that is not 200, as it came."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply.status))
        self.reply = reply


def judge(reply: Reply) -> Refused | None:
    return None if reply.status == 200 else Refused(reply)


async def refused(http: Http, path: str, body: object, **params: str) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await http.post(path, body, params, judge=judge)
    reply = caught.value.reply
    return reply.status, str(msgspec.json.decode(reply.body)["message"])


async def ids(http: Http, query: str, **params: str) -> list[int]:
    reply = await http.post("/_apis/wit/wiql", {"query": query}, {"timePrecision": "true", **params})
    return [item["id"] for item in msgspec.json.decode(reply.body)["workItems"]]


async def test_a_query_that_matches_too_much_is_refused_as_a_whole(remote: AzureDevOps, http: Http) -> None:
    remote.query_limit = 9
    status, message = await refused(http, "/_apis/wit/wiql", {"query": ALL})
    assert (status, message[:8]) == (400, "VS402337")
    assert await ids(http, ALL, **{"$top": "9"}) == list(range(1, 10))


async def test_a_time_without_time_precision_is_refused(http: Http) -> None:
    query = f"{ALL} WHERE [System.ChangedDate] >= '2026-01-01T10:00:00Z'"
    status, message = await refused(http, "/_apis/wit/wiql", {"query": query})
    assert status == 400
    assert "date precision" in message
    assert await ids(http, query) == list(range(1, 11))


async def test_queries_combine_conditions_and_orders(remote: AzureDevOps, http: Http) -> None:
    remote.clock.advance(timedelta(hours=1))
    remote.model.create_project("O'Brien")
    mine = remote.model.create("O'Brien", "one")
    remote.model.update(3, {"System.Title": "changed"})
    newest = f"{ALL} WHERE [System.Id] IN (3, 4, 5) ORDER BY [System.ChangedDate] DESC"
    assert (await ids(http, newest))[0] == 3
    assert await ids(http, f"{ALL} WHERE [System.TeamProject] = 'o''brien'") == [mine.id]
    assert await ids(http, f"{ALL} WHERE [System.Id] > 2 AND [System.Id] < 5 ORDER BY [System.Id] DESC") == [
        4,
        3,
    ]


async def test_a_query_it_does_not_understand_is_refused_and_not_answered(http: Http) -> None:
    query = f"{ALL} WHERE [System.Id] = 1 OR [System.Id] = 2"
    status, message = await refused(http, "/_apis/wit/wiql", {"query": query})
    assert (status, message[:7]) == (400, "TF51006")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"ids": list(range(1, 202)), "errorPolicy": "omit"}, 400, "VS403474"),
        ({"ids": [1, 99]}, 404, "TF401232"),
        ({"ids": [1], "fields": ["System.Id"], "$expand": "relations"}, 400, "The expand"),
    ],
)
async def test_batches_have_their_limits(http: Http, body: object, status: int, code: str) -> None:
    found = await refused(http, "/_apis/wit/workitemsbatch", body)
    assert found[0] == status
    assert found[1].startswith(code)


async def test_an_omitted_item_is_null(http: Http) -> None:
    asking = {"ids": [1, 99], "errorPolicy": "omit", "fields": ["System.Id", "System.Title"]}
    reply = await http.post("/_apis/wit/workitemsbatch", asking)
    first, second = msgspec.json.decode(reply.body)["value"]
    assert list(first["fields"]) == ["System.Title"]
    assert second is None


async def test_a_bad_token_is_sent_to_the_sign_in_page(remote: AzureDevOps) -> None:
    async with http_client(remote.base, Anonymous()) as nobody:
        with pytest.raises(Refused) as caught:
            await nobody.get("/_apis/projects", judge=judge)
        assert caught.value.reply.status == 302
        assert "/_signin" in caught.value.reply.headers["Location"]
        with pytest.raises(Refused) as caught:
            await nobody.get("/_apis/projects", headers={"X-TFS-FedAuthRedirect": "Suppress"}, judge=judge)
        assert (caught.value.reply.status, caught.value.reply.body) == (401, b"")


async def test_what_is_not_there_is_a_routing_error_in_plain_text(http: Http) -> None:
    with pytest.raises(Refused) as caught:
        await http.get("/newtwitterclone/_apis/projects", judge=judge)
    reply = caught.value.reply
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.headers["X-TFS-ServiceError"].startswith("The%20controller")


async def test_trailing_zeros_of_times_are_dropped(remote: AzureDevOps) -> None:
    moment = remote.clock.now().replace(microsecond=760000)
    async with AzureDevOps(clock=type(remote.clock)(lambda: moment)) as frozen:
        frozen.model.create_project("p")
        item = frozen.model.create("p", "t")
        assert str(item.fields["System.ChangedDate"]).endswith(".76Z")


async def test_the_lag_hides_what_has_just_changed_from_queries(remote: AzureDevOps, http: Http) -> None:
    remote.clock.advance(timedelta(minutes=10))
    remote.lag = timedelta(minutes=5)
    remote.model.create("newtwitterclone", "just now")
    remote.model.delete(1)
    assert await ids(http, ALL) == list(range(1, 11))
    remote.clock.advance(timedelta(minutes=6))
    assert await ids(http, ALL) == list(range(2, 12))


async def test_the_bin_of_a_project_lists_what_was_deleted(remote: AzureDevOps, http: Http) -> None:
    remote.model.delete(4)
    reply = await http.get("/newtwitterclone/_apis/wit/recyclebin")
    assert [entry["id"] for entry in msgspec.json.decode(reply.body)["value"]] == [4]
    entry = msgspec.json.decode((await http.get("/_apis/wit/recyclebin/4")).body)
    assert entry["project"] == "newtwitterclone"


async def built(http: Http, **params: str) -> tuple[list[int], str | None]:
    reply = await http.get("/newtwitterclone/_apis/build/builds", params)
    ids = [build["id"] for build in msgspec.json.decode(reply.body)["value"]]
    return ids, reply.headers.get("x-ms-continuationtoken")


async def test_builds_come_by_finish_unless_asked_otherwise_so_that_running_ones_are_missing(
    remote: AzureDevOps, http: Http
) -> None:
    ci = remote.model.ci
    pipeline = ci.define(remote.model.project("newtwitterclone").id, "web-ci")
    for _ in range(3):
        ci.queue(pipeline.id)
    remote.clock.advance(timedelta(minutes=1))
    ci.finish(3)
    remote.clock.advance(timedelta(minutes=1))
    ci.finish(1)
    assert await built(http) == ([1, 3], None)
    assert (await built(http, queryOrder="queueTimeAscending"))[0] == [1, 2, 3]
    # The bound means the time that the order names.
    since = f"{remote.clock.now() - timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"
    assert (await built(http, queryOrder="finishTimeAscending", minTime=since))[0] == [1]
    assert (await built(http, queryOrder="queueTimeAscending", minTime=since))[0] == []


async def test_pages_of_builds_go_on_with_the_token_of_the_header(remote: AzureDevOps, http: Http) -> None:
    remote.model.seed_builds(5, Random(1))
    asking = {"queryOrder": "queueTimeAscending", "$top": "2"}
    first, token = await built(http, **asking)
    second, token = await built(http, **asking, continuationToken=token or "")
    last, end = await built(http, **asking, continuationToken=token or "")
    assert [*first, *second, *last] == [1, 2, 3, 4, 5]
    assert end is None


async def test_deleted_builds_are_shown_only_where_they_are_asked_for(
    remote: AzureDevOps, http: Http
) -> None:
    remote.model.seed_builds(3, Random(1))
    remote.model.ci.delete(2)
    assert sorted((await built(http))[0]) == [1, 3]
    assert sorted((await built(http, deletedFilter="includeDeleted"))[0]) == [1, 2, 3]
    assert (await built(http, deletedFilter="onlyDeleted"))[0] == [2]


async def test_a_token_without_the_scope_is_refused_like_a_wrong_one(remote: AzureDevOps, http: Http) -> None:
    remote.access.scopes["azure-token"] = frozenset({"work"})
    with pytest.raises(Refused) as caught:
        await http.get("/_apis/projects", judge=judge)
    assert (caught.value.reply.status, caught.value.reply.body) == (401, b"")
    assert "visualstudio.com" in caught.value.reply.headers["WWW-Authenticate"]
    assert await ids(http, ALL) == list(range(1, 11))


async def test_an_older_server_names_the_newest_version_it_knows() -> None:
    async with AzureDevOps("C", above="tfs", newest="6.0", hosted=False) as server:
        async with http_client(server.base, TOKEN) as http:
            with pytest.raises(Refused) as caught:
                await http.get("/_apis/projects", {"api-version": "7.1"}, judge=judge)
            assert (await http.get("/_apis/projects", {"api-version": "6.0"})).status == 200
        assert "supports is 6.0" in msgspec.json.decode(caught.value.reply.body)["message"]
        assert server.base.endswith("/tfs/C")
