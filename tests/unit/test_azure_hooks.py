"""Service hooks of Azure DevOps: what they are about, who may send them, and what is refused."""

import json
from base64 import b64encode
from typing import Any

import pytest

from adapters.azure import Azure
from adapters.base import BadHook, Hint, Hook
from tests.support import payloads

SECRET = "known to both"
PROJECT = "be9b3917-87e6-42a4-a549-2bc06a7a878f"
NOBODYS = "00000000-0000-0000-0000-000000000000"
#: Per recorded event the keys that it is about, or a part of why there is nothing to do; and its delivery.
RECORDED: dict[str, tuple[dict[str, list[str]] | str, str]] = {
    "goscm_issue_comment": ("git-pullrequest-comment", f"{NOBODYS}/2"),
    "goscm_issue_comment_delete": ("git-pullrequest-comment", f"{NOBODYS}/2"),
    "goscm_issue_comment_edit": ("git-pullrequest-comment", f"{NOBODYS}/2"),
    "goscm_pr_created": ("git.pullrequest.created", "2ab4e3d3-b7a6-425e-92b1-5a9982c1269e"),
    "goscm_pr_merged": ("git.pullrequest.merged", "6872ee8c-b333-4eff-bfb9-0d5274943566"),
    "goscm_pr_updated": ("git.pullrequest.updated", "af07be1b-f3ad-44c8-a7f1-c4835f2df06b"),
    "tfs_git_pullrequest_merged": ("git.pullrequest.merged", "6872ee8c-b333-4eff-bfb9-0d5274943566"),
    "tfs_git_push": ("git.push", "03c164c2-8912-4d5e-8009-3707d5f83734"),
    "vsts_build_complete": ({"builds": ["2"]}, f"{NOBODYS}/1"),
    "vsts_git_pullrequest_created": ("git.pullrequest.created", f"{NOBODYS}/2"),
    "vsts_git_pullrequest_merged": ("git.pullrequest.merged", f"{NOBODYS}/9"),
    "vsts_git_pullrequest_updated": ("git.pullrequest.updated", f"{NOBODYS}/2"),
    "vsts_git_push": ("git.push", f"{NOBODYS}/9"),
    "vsts_workitem_commented": ({"work_items": ["5"]}, f"{NOBODYS}/4"),
    "vsts_workitem_created": ({"work_items": ["5"]}, f"{NOBODYS}/5"),
    "vsts_workitem_deleted": ({"work_items": ["5"]}, f"{NOBODYS}/6"),
    "vsts_workitem_restored": ({"work_items": ["5"]}, f"{NOBODYS}/7"),
    # The Test button's: update 2 of work item 0, whose revision is of work item 5.
    "vsts_workitem_updated": ({"work_items": ["5"]}, f"{NOBODYS}/8"),
}


def hint(body: object, **headers: str) -> Hint:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Azure.hint(Hook(headers, sent))


def event(kind: str, resource: object, **members: object) -> dict[str, Any]:
    return {
        "subscriptionId": "8dea9aba-3a9a-4ad0-860f-2a5c7379e3eb",
        "notificationId": 12,
        "id": "a-1",
        "eventType": kind,
        "publisherId": "tfs",
        "resource": resource,
        **members,
    }


# --- what was recorded


def test_every_recorded_event_is_known_here() -> None:
    names = {path.stem for path in (payloads() / "azure_devops/webhooks").iterdir()}
    # The documented answers of the subscriptions' own endpoints are no events.
    assert {name for name in names if not name.startswith("docs_hooks_")} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_event_gives_its_keys_or_says_why_it_is_ignored(name: str) -> None:
    found = hint((payloads() / f"azure_devops/webhooks/{name}.json").read_bytes())
    expected, delivery = RECORDED[name]
    assert found.delivery == delivery
    if isinstance(expected, str):
        assert found.keys == {}
        assert expected in str(found.ignored)
    else:
        assert (found.keys, found.ignored) == (expected, None)


def test_a_recorded_body_without_an_event_type_is_refused() -> None:
    with pytest.raises(BadHook, match="eventType"):
        hint((payloads() / "azure_devops/errors/hook_no_event_type.json").read_bytes())


# --- what an event is about


@pytest.mark.parametrize("kind", ["created", "deleted", "restored", "commented"])
def test_the_resource_of_a_work_items_event_is_the_work_item(kind: str) -> None:
    assert hint(event(f"workitem.{kind}", {"id": 7, "rev": 3})).keys == {"work_items": ["7"]}


@pytest.mark.parametrize(
    "resource",
    [
        {"id": 3, "workItemId": 41, "rev": 3},
        {"id": 3, "workItemId": 41, "revision": {"id": 41}},
        {"id": 3, "workItemId": 0, "revision": {"id": 41}},
        {"id": 3, "url": "https://dev.azure.com/company/_apis/wit/workItems/41/updates/3"},
    ],
)
def test_the_id_of_an_update_is_never_taken_for_that_of_the_work_item(resource: object) -> None:
    assert hint(event("workitem.updated", resource)).keys == {"work_items": ["41"]}


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("workitem.updated", {"id": 3}),
        ("workitem.updated", {"id": 3, "workItemId": 0}),
        ("workitem.created", None),
        ("workitem.created", {}),
        ("workitem.created", "text"),
        ("workitem.created", {"id": "7"}),
        ("workitem.created", {"id": True}),
        ("workitem.created", {"id": 1 << 40}),
        ("workitem.created", {"id": -7}),
        ("build.complete", {"id": 0}),
    ],
)
def test_an_event_that_hides_its_id_is_ignored_with_what_to_change(kind: str, resource: object) -> None:
    found = hint(event(kind, resource))
    assert found.keys == {}
    assert "Resource details to send" in str(found.ignored)


def test_a_completed_build_is_fetched_whatever_its_status_says() -> None:
    assert hint(event("build.complete", {"id": 9, "status": "succeeded"})).keys == {"builds": ["9"]}


def test_a_run_of_a_pipeline_is_its_build() -> None:
    found = hint(event("ms.vss-pipelines.run-state-changed-event", {"run": {"id": 9}, "pipeline": {"id": 1}}))
    assert found.keys == {"builds": ["9"]}


@pytest.mark.parametrize(
    "members",
    [
        {"resource": {"id": PROJECT.upper()}},
        {"resource": {"project": {"id": PROJECT}}},
        {"resource": None, "resourceContainers": {"project": {"id": PROJECT}}},
    ],
)
def test_an_event_of_a_project_is_about_the_project(members: dict[str, object]) -> None:
    assert hint({**event("ms.vss-core.project-renamed", None), **members}).keys == {"projects": [PROJECT]}


@pytest.mark.parametrize("kind", ["git.push", "tfvc.checkin", "ms.vss-release.release-created-event", "\x00"])
def test_what_is_not_read_is_ignored_and_said(kind: str) -> None:
    found = hint(event(kind, {"id": 1}))
    assert found.keys == {}
    assert "nothing that is read" in str(found.ignored)


# --- deliveries


def test_a_delivery_is_known_by_subscription_and_number_and_else_by_the_events_id() -> None:
    whole = event("git.push", {})
    assert hint(whole).delivery == "8dea9aba-3a9a-4ad0-860f-2a5c7379e3eb/12"
    assert hint({**whole, "notificationId": None}).delivery == "a-1"
    assert hint({**whole, "subscriptionId": None}).delivery == "a-1"
    assert hint({**whole, "subscriptionId": 7, "id": 7}).delivery is None
    assert hint({**whole, "subscriptionId": "x" * 500, "id": "\n"}).delivery is None


# --- what is no event


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"eventType":null}',
        b'{"eventType":["workitem.created"]}',
        b'{"eventType":"\xff"}',
        b"\xff\xfe{\x00",
        b"<html></html>",
        b'{"eventType":"workitem.created","resource":{"id":7}',
        b'{"eventType":"workitem.created","resource":' + b"[" * 100_000,
        b'{"eventType":"workitem.created","resource":' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(BadHook, match="eventType"):
        hint(body)


def test_a_nested_resource_is_no_harm() -> None:
    deep = b"[" * 900 + b"]" * 900
    body = b'{"eventType":"workitem.created","resource":{"id":7,"fields":%b}}' % deep
    assert hint(body).keys == {"work_items": ["7"]}


def test_a_huge_event_is_read_for_its_id() -> None:
    fields = {f"Custom.Field{number}": "x" * 1000 for number in range(3000)}
    assert hint(event("workitem.created", {"fields": fields, "id": 7})).keys == {"work_items": ["7"]}


def test_a_truncated_event_is_refused_wherever_it_was_cut() -> None:
    whole = json.dumps(event("workitem.created", {"id": 7})).encode()
    for cut in range(len(whole)):
        with pytest.raises(BadHook):
            hint(whole[:cut])


# --- who may send one


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize(
    "headers",
    [
        basic("", SECRET),
        basic("tidegate", SECRET),
        {"authorization": basic("x", SECRET)["authorization"].replace("Basic", "bAsIc ")},
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": SECRET},
        {"x-tidegate-token": SECRET},
        {"x-tidegate-token": SECRET, **basic("", "another")},
    ],
)
def test_whoever_knows_the_secret_is_believed(headers: dict[str, str]) -> None:
    assert Azure.verify(Hook(headers, b"{}"), SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic \udcff"},
        basic(SECRET, ""),
        basic("", SECRET[:-1]),
        basic("", SECRET + "x"),
        {"authorization": f"Basic {b64encode(SECRET.encode()).decode()}"},
        {"x-tidegate-token": ""},
        {"x-tidegate-token": SECRET.upper()},
        {"x-tidegate-token": f" {SECRET}"},
    ],
)
def test_whoever_does_not_know_the_secret_is_not_believed(headers: dict[str, str]) -> None:
    assert not Azure.verify(Hook(headers, b"{}"), SECRET)


def test_an_empty_secret_proves_nothing() -> None:
    for headers in ({}, {"x-tidegate-token": ""}, basic("", "")):
        assert not Azure.verify(Hook(headers, b"{}"), "")


def test_a_secret_in_any_script_can_be_a_password() -> None:
    assert Azure.verify(Hook(basic("", "schlüssel:日本"), b"{}"), "schlüssel:日本")
