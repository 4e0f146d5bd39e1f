"""Webhooks of Jira: whom they are believed from, and which issues they are about."""

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any

import pytest

from adapters.base import BadHook, Hint, Hook
from adapters.jira import Jira
from adapters.jira.hooks import signature
from tests.support import payload, payloads

SECRET = "It's a Secret to Everybody"
BODY = b'{"webhookEvent": "jira:issue_updated", "issue": {"id": "10040", "key": "TES-41"}}'

RECORDED = {
    "cloud_comment_created.json": ["10040"],
    "cloud_comment_deleted.json": ["10357"],
    "cloud_comment_updated.json": ["10040"],
    "cloud_issue_created_many_fields.json": ["10509"],
    "issue_created.json": ["10040"],
    "issue_created_with_security_level.json": ["10040"],
    "issue_deleted.json": ["10303"],
    "issue_updated_assigned_nobody.json": ["10040"],
    "issue_updated_attachments.json": ["10040"],
    "issue_updated_labels.json": ["10040"],
    "issue_updated_rank.json": ["10040"],
    "issue_updated_resolved.json": ["10040"],
    "issue_updated_sprint.json": ["10040"],
    "server_comment_created.json": ["10013"],
    "server_comment_deleted.json": ["10013"],
    "server_issue_updated_closed.json": ["10300"],
    "server_issue_updated_commented_2.json": ["10231"],
    "server_old_issue_updated_no_event_type_edited.json": ["10040"],
    "server_updated_custom_field.json": ["10106"],
}


def hint(body: object, **headers: str) -> Hint:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Jira.hint(Hook({name.replace("_", "-"): value for name, value in headers.items()}, sent))


def signed(body: bytes, secret: str = SECRET, method: str = "sha256") -> Hook:
    return Hook({"x-hub-signature": signature(body, secret, method)}, body)


# --- what they are about


def test_every_recorded_webhook_is_in_the_list() -> None:
    found = {path.name for path in (payloads() / "jira" / "webhooks").glob("*.json")}
    assert found == {*RECORDED, "doc_hmac_test_vector.json"}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_webhook_names_its_issue(name: str) -> None:
    body = (payloads() / "jira" / "webhooks" / name).read_bytes()
    found = Jira.hint(Hook({"x-atlassian-webhook-identifier": "d-1"}, body))
    assert found == Hint({"issues": RECORDED[name]}, "d-1")


def test_a_worklog_names_its_issue() -> None:
    event = {"webhookEvent": "worklog_updated", "worklog": {"id": "7", "issueId": "10005"}}
    assert hint(event).keys == {"issues": ["10005"]}


def test_a_link_names_the_issues_at_both_ends() -> None:
    link = {"id": 1, "sourceIssueId": 10001, "destinationIssueId": 10002}
    assert hint({"webhookEvent": "issuelink_created", "issueLink": link}).keys == {
        "issues": ["10001", "10002"]
    }


def test_an_issue_that_is_named_twice_is_fetched_once() -> None:
    comment = {"id": "3", "self": "https://jira.example.com/rest/api/2/issue/10001/comment/3"}
    event = {"webhookEvent": "comment_created", "issue": {"id": 10001}, "comment": comment}
    assert hint(event).keys == {"issues": ["10001"]}


def test_an_issue_without_an_id_is_known_by_its_key() -> None:
    assert hint({"webhookEvent": "jira:issue_updated", "issue": {"key": "TG-7"}}).keys == {"issues": ["TG-7"]}


@pytest.mark.parametrize(
    "event",
    [
        "sprint_started",
        "jira:version_released",
        "user_updated",
        "project_created",
        "board_created",
        "attachment_created",
    ],
)
def test_an_event_about_no_issue_is_ignored_with_a_reason(event: str) -> None:
    found = hint({"webhookEvent": event, "sprint": {"id": 5}, "user": {"self": "x"}}, x_tidegate="1")
    assert not found.keys
    assert found.ignored is not None
    assert event in found.ignored


@pytest.mark.parametrize(
    "value", [True, 1.5, -1, 0, "", "10001 or 1=1", "../10001", "1" * 30, [10001], {"id": 1}, None]
)
def test_what_is_no_id_is_never_asked_for(value: object) -> None:
    assert not hint({"webhookEvent": "jira:issue_updated", "issue": {"id": value, "key": value}}).keys


def test_a_delivery_sent_again_has_the_same_name() -> None:
    first = hint(BODY, x_atlassian_webhook_identifier="f00d")
    again = hint(BODY, x_atlassian_webhook_identifier="f00d", x_atlassian_webhook_retry="1")
    assert first.delivery == again.delivery == "f00d"
    assert hint(BODY).delivery is None


# --- what is no webhook of Jira


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{}",
        b"<html></html>",
        BODY[:-1],
        BODY[1:],
        b'{"webhookEvent": 5}',
        b'{"webhookEvent": "a b\\n<script>"}',
        b'{"webhookEvent": "x", "issue": "10040"}',
        b'{"webhookEvent": "x", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"eventType": "workitem.updated"}',
    ],
)
def test_what_is_no_webhook_of_jira_is_refused(body: bytes) -> None:
    with pytest.raises(BadHook, match="webhookEvent"):
        hint(body)


def test_a_webhook_that_leaves_its_body_out_says_what_to_change() -> None:
    with pytest.raises(BadHook, match="exclude the body"):
        hint(b"")


def test_a_huge_webhook_is_understood_without_reading_all_of_it_into_objects() -> None:
    event: dict[str, Any] = {"webhookEvent": "jira:issue_updated", "issue": {"id": "1", "fields": {}}}
    event["issue"]["fields"] = {f"customfield_{n}": "x" * 1000 for n in range(3000)}
    assert hint(event).keys == {"issues": ["1"]}


# --- who is believed


def test_the_vendors_own_example_is_believed() -> None:
    known = payload("jira/webhooks/doc_hmac_test_vector.json")
    headers = {name.lower(): value for name, value in known["header"].items()}
    assert Jira.verify(Hook(headers, known["payload"].encode()), known["secret"])


@pytest.mark.parametrize("method", ["sha256", "sha384", "sha512"])
def test_a_signed_webhook_is_believed(method: str) -> None:
    assert Jira.verify(signed(BODY, method=method), SECRET)


def test_a_signature_in_capitals_is_the_same() -> None:
    name, _, digits = signature(BODY, SECRET).partition("=")
    assert Jira.verify(Hook({"x-hub-signature": f"{name}={digits.upper()}"}, BODY), SECRET)


def test_another_secret_is_not_believed() -> None:
    assert not Jira.verify(signed(BODY, "guessed"), SECRET)


def test_the_same_json_in_other_bytes_is_not_believed() -> None:
    sent = signed(BODY)
    again = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    assert json.loads(again) == json.loads(BODY)
    assert Jira.verify(sent, SECRET)
    assert not Jira.verify(Hook(sent.headers, again), SECRET)


def test_a_truncated_body_is_not_believed() -> None:
    assert not Jira.verify(Hook(signed(BODY).headers, BODY[:-1]), SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256=",
        "=",
        hmac.new(SECRET.encode(), BODY, "sha256").hexdigest(),
        "sha256=" + hmac.new(SECRET.encode(), BODY, "sha256").hexdigest()[:-1],
        "sha256=" + hmac.new(SECRET.encode(), BODY, "sha256").hexdigest() + "0",
        "sha512=" + hmac.new(SECRET.encode(), BODY, "sha256").hexdigest(),
        "md5=" + hmac.new(SECRET.encode(), BODY, "md5").hexdigest(),
        "sha1=" + hmac.new(SECRET.encode(), BODY, "sha1").hexdigest(),
        "sha256=" + hashlib.sha256(SECRET.encode() + BODY).hexdigest(),
        "sha256=\udcff",
        "sha256=ü",
    ],
)
def test_a_signature_that_is_none_is_not_believed(text: str) -> None:
    assert not Jira.verify(Hook({"x-hub-signature": text}, BODY), SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tidegate-token": SECRET},
        {"authorization": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer {SECRET}"},
        {"authorization": "Basic " + b64encode(f"jira:{SECRET}".encode()).decode()},
    ],
)
def test_who_cannot_sign_may_send_the_secret_itself(headers: dict[str, str]) -> None:
    assert Jira.verify(Hook(headers, BODY), SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-tidegate-token": ""},
        {"x-tidegate-token": SECRET + " "},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": "Basic " + b64encode(f"{SECRET}:guessed".encode()).decode()},
        {"authorization": "Basic " + b64encode(b"\xff\xfe").decode()},
        {"x-tidegate-token": "\udcff"},
    ],
)
def test_another_token_is_not_believed(headers: dict[str, str]) -> None:
    assert not Jira.verify(Hook(headers, BODY), SECRET)


def test_a_wrong_signature_is_not_made_good_by_a_token() -> None:
    headers = {**signed(BODY, "guessed").headers, "x-tidegate-token": SECRET}
    assert not Jira.verify(Hook(headers, BODY), SECRET)


def test_an_empty_secret_believes_nobody() -> None:
    assert not Jira.verify(signed(BODY, ""), "")
    assert not Jira.verify(Hook({"x-tidegate-token": ""}, BODY), "")
