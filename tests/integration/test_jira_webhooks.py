"""Webhooks of Jira from the change there to the record here, and how they are set up."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from adapters.base import Forbidden, NotFound, QueryRejected, Registers
from adapters.jira import Jira
from store.database import Database
from store.syncs import Sync
from tests.api_server import Api, serving_api
from tests.support import http_client
from tidegate.demo.remotes.jira import CLOUD_ID, MANAGE_WEBHOOKS, READ_USER, READ_WORK, JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter
from tidegate.demo.remotes.jira_webhooks import Registration

pytestmark = pytest.mark.sqlite_does

Remote = JiraCloud | JiraDataCenter
SECRET = "known to both"
HOOK = "https://tidegate.example.com/webhooks/abc"
APP = (READ_USER, READ_WORK, MANAGE_WEBHOOKS)


def cloud() -> JiraCloud:
    remote = JiraCloud()
    ana = remote.add_account("ana@example.com", "token-1")
    remote.administrators.add(ana.account_id)
    return remote


def datacenter(version: str = "10.3.0") -> JiraDataCenter:
    remote = JiraDataCenter(context="/jira", version=version)
    ana = remote.add_user("ana", "password")
    remote.add_pat("ana", "token-1")
    remote.administrators.add(ana.account_id)
    return remote


@pytest.fixture(params=[cloud, datacenter], ids=["cloud", "datacenter"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Remote]:
    make: Callable[[], Remote] = request.param
    async with make() as remote:
        for key in ("TG", "OPS"):
            remote.add_project(key)
        yield remote


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, {"jira": Jira}) as client:
        yield client


def base_of(site: Remote) -> str:
    return site.url if isinstance(site, JiraCloud) else site.base


def credential_of(site: Remote) -> tuple[str, str | None]:
    return ("basic", "ana@example.com") if isinstance(site, JiraCloud) else ("pat", None)


@asynccontextmanager
async def connected(
    base: str, kind: str, username: str | None, secret: str = "token-1", jql: str = "project = TG"
) -> AsyncIterator[Jira]:
    target = Jira.parse(base, {"jql": jql})
    async with http_client(target.base, Jira.auth(kind, username, lambda: secret)) as http:
        yield Jira(target, http)


async def subscribed(api: Api, site: Remote, secret: str | None = SECRET) -> Any:
    """A connection that was synced once, and whose webhook is registered at the site."""
    kind, username = credential_of(site)
    credential = await api.credential("token-1", system="jira", kind=kind, username=username)
    made = await api.post(
        "/v1/connections",
        {
            "name": "jira",
            "system": "jira",
            "url": base_of(site),
            "params": {"jql": "project = TG"},
            "credential_id": credential["id"],
            "frequency": "manually",
            "webhook_secret": secret,
        },
    )
    await api.synced(made["id"])
    api.rope.rung.clear()
    async with connected(base_of(site), kind, username) as jira:
        await jira.register(f"{api.url}/webhooks/{made['callback_token']}", secret)
    return made


async def worked(api: Api, site: Remote) -> list[Sync]:
    """Everything that was sent has arrived, and what it opened is done."""
    await site.webhooks.drained()
    ids = list(dict.fromkeys(ring.sync_id for ring in api.rope.rung))
    api.rope.rung.clear()
    return [await api.house.work(number) for number in ids]


async def tombstones(api: Api) -> dict[str, str]:
    c = api.house.deps.tables.get("jira", "issues").table.c
    async with api.house.database.read() as connection:
        rows = await connection.execute(select(c.key, c.gone_reason).where(c.gone_at.is_not(None)))
        return {row.key: row.gone_reason for row in rows}


# --- from there to here


async def test_an_issue_created_there_is_here_by_its_webhook(api: Api, site: Remote) -> None:
    await subscribed(api, site)
    issue = site.create_issue("TG", "New")
    [sync] = await worked(api, site)
    assert (sync.trigger, sync.state) == ("webhook", "succeeded")
    assert await api.house.keys("jira", "issues") == {str(issue.id)}


async def test_an_issue_updated_there_is_updated_here_and_no_other_is_read(api: Api, site: Remote) -> None:
    issue, _ = site.create_issue("TG", "a"), site.create_issue("TG", "b")
    await subscribed(api, site)
    site.update_issue(issue.id, summary="Changed")
    [sync] = await worked(api, site)
    assert sync.counters["issues"].read == 1
    rows = {row["key"]: row["summary"] for row in await api.house.rows("jira", "issues")}
    assert rows[str(issue.id)] == "Changed"


async def test_an_issue_deleted_there_gets_a_tombstone_by_its_webhook(api: Api, site: Remote) -> None:
    issue, stays = site.create_issue("TG", "a"), site.create_issue("TG", "b")
    await subscribed(api, site)
    site.delete_issue(issue.id)
    [sync] = await worked(api, site)
    assert sync.state == "succeeded"
    assert await tombstones(api) == {str(issue.id): "hidden"}
    assert await api.house.keys("jira", "issues") == {str(stays.id)}


async def test_a_comment_made_there_is_here_by_its_webhook(api: Api, site: Remote) -> None:
    issue = site.create_issue("TG", "a")
    await subscribed(api, site)
    comment = site.add_comment(issue.id, "Looks right")
    await worked(api, site)
    assert await api.house.keys("jira", "comments") == {str(comment.id)}
    assert "comment_created" in {sent.event for sent in site.webhooks.sent}
    site.delete_comment(issue.id, comment.id)
    await worked(api, site)
    assert await api.house.keys("jira", "comments") == set()


async def test_a_change_in_another_project_is_not_told(api: Api, site: Remote) -> None:
    await subscribed(api, site)
    site.create_issue("OPS", "Not ours")
    await worked(api, site)
    assert site.webhooks.sent == []


async def test_a_webhook_signed_with_another_secret_is_refused(api: Api, site: Remote) -> None:
    await subscribed(api, site)
    [known] = site.webhooks.registered.values()
    known.secret = "guessed"
    site.create_issue("TG", "New")
    assert await worked(api, site) == []
    assert {sent.status for sent in site.webhooks.sent} == {401}


async def test_cloud_sends_again_what_was_not_taken_under_the_same_name(api: Api, site: Remote) -> None:
    await subscribed(api, site)
    [known] = site.webhooks.registered.values()
    taken, known.url = known.url, "http://127.0.0.1:1/nobody"
    site.create_issue("TG", "New")
    await site.webhooks.drained()
    tries = [sent.retry for sent in site.webhooks.sent]
    assert tries == ([0, 1, 2, 3, 4, 5] if isinstance(site, JiraCloud) else [0])
    assert len({sent.delivery for sent in site.webhooks.sent}) == 1
    known.url = taken


# --- setting them up


def only(site: Remote) -> Registration:
    [one] = site.webhooks.registered.values()
    return one


async def test_an_administrators_webhook_is_made_signed_for_the_projects_of_the_query(site: Remote) -> None:
    jql = "project in (TG, OPS) AND status != Done"
    async with connected(base_of(site), *credential_of(site), jql=jql) as jira:
        assert isinstance(jira, Registers)
        made = await jira.register(HOOK, SECRET)
    assert (only(site).url, only(site).secret) == (HOOK, SECRET)
    # An issue that leaves the query of a webhook is told of no more, so only the projects are in it.
    assert only(site).jql == "project in (TG, OPS)"
    assert {"jira:issue_deleted", "comment_created", "worklog_deleted"} <= set(only(site).events)
    assert (made.expires_at, made.signed) == (None, True)


async def test_an_older_data_center_is_known_not_to_sign(api: Api) -> None:
    async with datacenter("9.12.2") as remote:
        remote.add_project("TG")
        async with connected(remote.base, *credential_of(remote)) as jira:
            made = await jira.register(HOOK, SECRET)
            assert await jira.register(HOOK, SECRET) == made
            await jira.unregister(made.id)
        assert not made.signed
        assert not remote.webhooks.registered


async def test_an_older_data_center_is_heard_where_there_is_no_secret(api: Api) -> None:
    async with datacenter("9.12.2") as remote:
        remote.add_project("TG")
        await subscribed(api, remote, None)
        issue = remote.create_issue("TG", "New")
        await worked(api, remote)
    assert await api.house.keys("jira", "issues") == {str(issue.id)}


async def test_registering_again_changes_what_is_there_and_makes_no_second(site: Remote) -> None:
    async with connected(base_of(site), *credential_of(site)) as jira:
        first = await jira.register(HOOK, SECRET)
        again = await jira.register(HOOK, "another secret")
    assert first == again
    assert only(site).secret == "another secret"


async def test_a_webhook_of_somebody_else_is_left_alone(site: Remote) -> None:
    theirs = site.webhooks.add("theirs", "https://elsewhere.example.com", ("jira:issue_created",))
    async with connected(base_of(site), *credential_of(site)) as jira:
        made = await jira.register(HOOK, SECRET)
        await jira.unregister(made.id)
        await jira.unregister(made.id)
    assert only(site) is theirs


async def test_a_webhook_that_stays_needs_no_renewal_but_must_be_there(site: Remote) -> None:
    async with connected(base_of(site), *credential_of(site)) as jira:
        made = await jira.register(HOOK, None)
        assert (await jira.renew(made.id)).id == made.id
        site.webhooks.registered.clear()
        with pytest.raises(NotFound):
            await jira.renew(made.id)


async def test_who_may_not_administer_jira_is_told_what_is_needed(site: Remote) -> None:
    site.administrators.clear()
    async with connected(base_of(site), *credential_of(site)) as jira:
        with pytest.raises(Forbidden) as refused:
            await jira.register(HOOK, SECRET)
    assert "Administer Jira" in refused.value.hint
    assert not site.webhooks.registered


async def test_a_stranger_is_told_what_is_needed(site: Remote) -> None:
    site.public = True
    async with connected(base_of(site), "anonymous", None) as jira:
        with pytest.raises(Forbidden, match="Strangers"):
            await jira.register(HOOK, SECRET)


@pytest.fixture
async def apps() -> AsyncIterator[JiraCloud]:
    async with cloud() as remote:
        remote.add_project("TG")
        remote.grant("ana@example.com", "app-token", APP)
        yield remote


def as_app(remote: JiraCloud, jql: str = "project = TG", secret: str = "app-token") -> Any:
    return connected(f"{remote.gateway}", "bearer", None, secret, jql)


async def test_an_apps_webhook_lasts_thirty_days_and_is_renewed(apps: JiraCloud) -> None:
    assert CLOUD_ID in apps.gateway
    async with as_app(apps, "project = TG AND created > 2000-01-01") as jira:
        made = await jira.register(HOOK, None)
        assert made.expires_at is not None
        assert timedelta(days=29) < made.expires_at - apps.clock.now() <= timedelta(days=30)
        apps.clock.advance(timedelta(days=20))
        renewed = await jira.renew(made.id)
    assert renewed.id == made.id
    assert renewed.expires_at is not None
    assert renewed.expires_at - made.expires_at >= timedelta(days=19)
    assert only(apps).jql == "project = TG"


async def test_an_apps_webhook_that_ended_is_sent_no_more(apps: JiraCloud) -> None:
    async with as_app(apps) as jira:
        await jira.register(HOOK, None)
    apps.clock.advance(timedelta(days=31))
    apps.create_issue("TG", "New")
    await apps.webhooks.drained()
    assert apps.webhooks.sent == []


async def test_an_apps_webhook_that_is_gone_is_not_renewed_in_silence(apps: JiraCloud) -> None:
    async with as_app(apps) as jira:
        made = await jira.register(HOOK, None)
        again = await jira.register(HOOK, None)
        assert again.id == made.id
        await jira.unregister(made.id)
        assert not apps.webhooks.registered
        with pytest.raises(NotFound):
            await jira.renew(made.id)


async def test_the_webhooks_of_an_app_are_known_not_to_be_signed(apps: JiraCloud) -> None:
    async with as_app(apps) as jira:
        made = await jira.register(HOOK, SECRET)
    assert not made.signed
    assert only(apps).secret is None


async def test_a_query_that_apps_may_not_register_is_told_with_jiras_words(apps: JiraCloud) -> None:
    async with as_app(apps, "created > 2000-01-01") as jira:
        with pytest.raises(QueryRejected, match="created is unsupported"):
            await jira.register(HOOK, None)


async def test_an_app_without_the_scope_is_told_which(apps: JiraCloud) -> None:
    apps.grant("ana@example.com", "narrow-token")
    async with as_app(apps, secret="narrow-token") as jira:
        with pytest.raises(Forbidden) as refused:
            await jira.register(HOOK, None)
    assert "manage:jira-webhook" in refused.value.hint


async def test_an_api_token_behind_the_gateway_is_told_to_register_by_hand(apps: JiraCloud) -> None:
    async with connected(apps.gateway, "basic", "ana@example.com", "app-token") as jira:
        with pytest.raises(Forbidden, match="OAuth apps"):
            await jira.register(HOOK, None)


async def test_a_webhook_of_an_administrator_is_not_taken_for_one_of_an_app(apps: JiraCloud) -> None:
    async with connected(apps.url, "basic", "ana@example.com") as jira:
        made = await jira.register(HOOK, None)
    async with as_app(apps) as jira:
        with pytest.raises(NotFound, match="another kind of credential"):
            await jira.renew(made.id)
