"""Tidegate's own service hook subscriptions, against a simulated organisation that sends its events."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters.azure import Azure
from adapters.azure.subscriptions import EVENTS
from adapters.base import (
    AuthFailed,
    Forbidden,
    NotFound,
    Registers,
    Target,
    Unavailable,
    Unreadable,
)
from tests.support import http_client, payload
from tests.unit.azure_mailbox import Mailbox, mailbox
from tests.unit.azure_reading import TOKEN, adapter_of
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Fault

SECRET = "known to both"
HOST = "https://tidegate.example.com/webhooks/abc"


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        running.model.create_project("Größe & Maß")
        yield running


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as made:
        yield made


def made(remote: AzureDevOps) -> list[tuple[str, str]]:
    return sorted((one.kind, one.project) for one in remote.hooks.subscriptions.values())


async def register(remote: AzureDevOps, url: str, secret: str | None = SECRET, project: str = "") -> str:
    async with adapter_of(remote, project) as adapter:
        return (await adapter.register(url, secret)).id


# --- made


async def test_an_organisation_is_subscribed_to_once_for_each_kind_of_event(remote: AzureDevOps) -> None:
    await register(remote, HOST)
    assert made(remote) == sorted((kind, "") for kind in EVENTS)
    assert {one.status for one in remote.hooks.subscriptions.values()} == {"enabled"}


async def test_a_project_is_subscribed_to_by_its_id(remote: AzureDevOps) -> None:
    await register(remote, HOST, project="newtwitterclone")
    mine = remote.model.project("newtwitterclone").id
    assert made(remote) == sorted((kind, mine) for kind in EVENTS)


async def test_who_may_not_subscribe_to_all_subscribes_to_each_project(remote: AzureDevOps) -> None:
    remote.hooks.organisation_wide = False
    await register(remote, HOST)
    assert made(remote) == sorted((kind, project) for kind in EVENTS for project in remote.model.projects)


async def test_the_secret_goes_as_a_password_over_https_and_else_as_a_header(remote: AzureDevOps) -> None:
    await register(remote, HOST)
    await register(remote, "http://tidegate.example.com/x")
    await register(remote, "https://tidegate.example.com/open", None)
    shown = {one.inputs["url"]: one.inputs for one in remote.hooks.subscriptions.values()}
    assert shown[HOST]["basicAuthPassword"] == SECRET
    assert shown["http://tidegate.example.com/x"]["httpHeaders"] == f"X-Tidegate-Token: {SECRET}"
    assert not {"basicAuthPassword", "httpHeaders"} & {*shown["https://tidegate.example.com/open"]}


async def test_registering_again_changes_what_is_there_and_doubles_nothing(remote: AzureDevOps) -> None:
    first = await register(remote, HOST)
    before = set(remote.hooks.subscriptions)
    assert await register(remote, HOST, "another secret") == first
    assert set(remote.hooks.subscriptions) == before
    assert {one.inputs["basicAuthPassword"] for one in remote.hooks.subscriptions.values()} == {
        "another secret"
    }


async def test_what_calls_the_url_twice_is_dropped_and_what_is_of_others_stays(remote: AzureDevOps) -> None:
    remote.hooks.organisation_wide = False
    await register(remote, HOST)
    await register(remote, "https://other.example.com/x")
    remote.hooks.organisation_wide = True
    await register(remote, HOST)
    by_url: dict[object, list[str]] = {}
    for one in remote.hooks.subscriptions.values():
        by_url.setdefault(one.inputs["url"], []).append(one.project)
    assert by_url[HOST] == [""] * len(EVENTS)
    assert len(by_url["https://other.example.com/x"]) == 2 * len(EVENTS)


async def test_the_id_of_a_webhook_does_not_reveal_its_address(remote: AzureDevOps) -> None:
    found = await register(remote, HOST)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found != await register(remote, f"{HOST}d")


def test_the_adapter_registers() -> None:
    assert issubclass(Azure, Registers)


# --- refused


async def test_a_missing_permission_is_named(remote: AzureDevOps) -> None:
    remote.hooks.editable = False
    with pytest.raises(Forbidden) as caught:
        await register(remote, HOST)
    assert "Edit Subscription" in caught.value.message
    assert "Edit subscriptions" in caught.value.hint
    assert "abc" not in f"{caught.value.message} {caught.value.hint}"


async def test_a_credential_that_is_nobodys_registers_nothing(remote: AzureDevOps) -> None:
    remote.access.tokens.clear()
    with pytest.raises(AuthFailed):
        await register(remote, HOST)


async def test_on_a_refusal_in_between_nothing_new_stays(remote: AzureDevOps) -> None:
    kept = await register(remote, "https://other.example.com/x")
    before = set(remote.hooks.subscriptions)
    # The list, and then four of the six.
    remote.faults.append(Fault("hooks/subscriptions", 503, b"{}", after=5))
    with pytest.raises(Unavailable):
        await register(remote, HOST)
    assert set(remote.hooks.subscriptions) == before
    async with adapter_of(remote) as adapter:
        assert (await adapter.renew(kept)).id == kept


async def test_an_answer_without_a_list_is_not_taken_for_none(remote: AzureDevOps) -> None:
    remote.faults.append(Fault("hooks", 200, b'{"count":0}', {"Content-Type": "application/json"}))
    with pytest.raises(Unreadable):
        await register(remote, HOST)
    assert made(remote) == []


# --- kept and removed


async def test_a_webhook_never_expires_and_is_kept_by_looking(remote: AzureDevOps) -> None:
    found = await register(remote, HOST)
    async with adapter_of(remote) as adapter:
        kept = await adapter.renew(found)
    assert (kept.id, kept.expires_at) == (found, None)


@pytest.mark.parametrize("organisation_wide", [True, False])
async def test_one_that_is_missing_or_switched_off_is_gone_and_comes_back_by_registering(
    remote: AzureDevOps, organisation_wide: bool
) -> None:
    remote.hooks.organisation_wide = organisation_wide
    found = await register(remote, HOST)
    async with adapter_of(remote) as adapter:
        one = next(iter(remote.hooks.subscriptions.values()))
        one.status = "disabledBySystem"
        with pytest.raises(NotFound, match="disabled"):
            await adapter.renew(found)
        del remote.hooks.subscriptions[one.id]
        with pytest.raises(NotFound):
            await adapter.renew(found)
        await adapter.register(HOST, SECRET)
        assert (await adapter.renew(found)).id == found


async def test_a_project_that_was_made_since_is_missing(remote: AzureDevOps) -> None:
    remote.hooks.organisation_wide = False
    found = await register(remote, HOST)
    remote.model.create_project("new")
    async with adapter_of(remote) as adapter:
        with pytest.raises(NotFound):
            await adapter.renew(found)


async def test_removing_removes_all_of_it_and_nothing_else_and_twice_is_no_error(remote: AzureDevOps) -> None:
    found = await register(remote, HOST)
    other = await register(remote, "https://other.example.com/x")
    async with adapter_of(remote) as adapter:
        await adapter.unregister(found)
        await adapter.unregister(found)
        assert (await adapter.renew(other)).id == other
    assert len(remote.hooks.subscriptions) == len(EVENTS)


# --- events arrive


async def test_each_change_arrives_verified_and_with_its_key(remote: AzureDevOps, box: Mailbox) -> None:
    await register(remote, box.url)
    model = remote.model
    item = model.create("newtwitterclone", "first")
    model.update(item.id, {"System.Title": "second"})
    model.comment(item.id, "seen")
    model.delete(item.id)
    model.restore(item.id)
    build = model.ci.queue(model.ci.define(model.project("newtwitterclone").id, "web-ci").id)
    model.ci.finish(build.id)
    await remote.hooks.drained()
    assert all(Azure.verify(hook, SECRET) for hook in box.came)
    assert not any(Azure.verify(hook, "another") for hook in box.came)
    hints = [(json.loads(hook.body)["eventType"], Azure.hint(hook).keys) for hook in box.came]
    mine = {"work_items": [str(item.id)]}
    assert hints == [
        ("workitem.created", mine),
        ("workitem.updated", mine),
        ("workitem.updated", mine),
        ("workitem.commented", mine),
        ("workitem.deleted", mine),
        ("workitem.restored", mine),
        ("build.complete", {"builds": [str(build.id)]}),
    ]
    assert len({Azure.hint(hook).delivery for hook in box.came}) == len(box.came)


async def test_an_update_tells_the_work_item_beside_its_own_number(remote: AzureDevOps, box: Mailbox) -> None:
    remote.model.create("newtwitterclone", "zero")
    item = remote.model.create("newtwitterclone", "first")
    await register(remote, box.url)
    remote.model.move(item.id, "Größe & Maß")
    await remote.hooks.drained()
    [hook] = box.came
    assert json.loads(hook.body)["resource"]["id"] == 2 == item.rev
    assert Azure.hint(hook).keys == {"work_items": [str(item.id)]}


async def test_only_events_of_the_project_arrive(remote: AzureDevOps, box: Mailbox) -> None:
    await register(remote, box.url, project="newtwitterclone")
    remote.model.create("Größe & Maß", "elsewhere")
    mine = remote.model.create("newtwitterclone", "here")
    await remote.hooks.drained()
    assert [Azure.hint(hook).keys for hook in box.came] == [{"work_items": [str(mine.id)]}]


async def test_what_could_not_be_delivered_for_a_moment_is_sent_again_with_the_same_id(
    remote: AzureDevOps, box: Mailbox
) -> None:
    await register(remote, box.url)
    box.answers = [503, 503]
    remote.model.create("newtwitterclone", "first")
    await remote.hooks.drained()
    assert len(box.came) == 3
    assert len({Azure.hint(hook).delivery for hook in box.came}) == 1


async def test_a_receiver_that_says_gone_gets_nothing_more(remote: AzureDevOps, box: Mailbox) -> None:
    found = await register(remote, box.url)
    box.answers = [410]
    remote.model.create("newtwitterclone", "first")
    await remote.hooks.drained()
    remote.model.create("newtwitterclone", "second")
    await remote.hooks.drained()
    assert len(box.came) == 1
    async with adapter_of(remote) as adapter:
        with pytest.raises(NotFound):
            await adapter.renew(found)


# --- documented answers


@asynccontextmanager
async def documented() -> AsyncIterator[tuple[Azure, list[tuple[str, str]]]]:
    """An adapter towards the documented examples, and the requests that they got."""
    asked: list[tuple[str, str]] = []
    names: Mapping[str, str] = {
        "GET": "docs_hooks_get_hooks_subscriptions",
        "POST": "docs_hooks_put_hooks_subscriptions_newsubscriptionid",
        "PUT": "docs_hooks_put_hooks_subscriptions_newsubscriptionid",
        "DELETE": "docs_hooks_delete_hooks_subscriptions_newsubscriptionid",
    }

    told_by = {
        method: payload(f"azure_devops/webhooks/{name}.json")["responses"] for method, name in names.items()
    }

    async def serve(request: web.Request) -> web.Response:
        asked.append((request.method, request.path.rpartition("/")[2]))
        told = told_by[request.method]
        [(status, answer)] = told.items()
        body = json.dumps(answer["body"]).encode() if "body" in answer else b""
        named = {"X-VSS-UserData": "someone:x", "Content-Type": "application/json"}
        return web.Response(status=int(status), body=body, headers=named)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/fabrikam"
    async with http_client(base, TOKEN, limits=Azure.limits) as http:
        yield Azure(Target(base, base), http), asked
    await runner.cleanup()


async def test_documented_subscriptions_are_told_apart_by_where_they_send_to() -> None:
    async with documented() as (azure, asked):
        made = await azure.register("http://requestb.in/stkb4jst", SECRET)
        calls = [method for method, _ in asked]
        # Those that call this URL for events of one project, or for others than ours, are replaced.
        mine = [
            one
            for one in payload("azure_devops/webhooks/docs_hooks_get_hooks_subscriptions.json")["responses"][
                "200"
            ]["body"]["value"]
            if one["consumerInputs"].get("url") == "http://requestb.in/stkb4jst"
        ]
        assert len(mine) >= 2
        assert calls.count("POST") == len(EVENTS)
        assert {name for method, name in asked if method == "DELETE"} == {one["id"] for one in mine}
        asked.clear()
        await azure.unregister(made.id)
        assert {name for method, name in asked if method == "DELETE"} == {one["id"] for one in mine}


async def test_documented_subscriptions_of_another_service_are_left_alone() -> None:
    async with documented() as (azure, asked):
        await azure.register(HOST, SECRET)
        assert {method for method, _ in asked} == {"GET", "POST"}
