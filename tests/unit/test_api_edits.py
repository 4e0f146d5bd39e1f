"""What an edit of a connection entails, as a pure function."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from adapters.base import Target
from api.edits import consequences
from api.wanted import Checked, Wanted, as_stored
from config.frequency import parse_frequency
from store.connections import Connection

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
STORED = Connection(
    id=7,
    name="n",
    project_id=None,
    credential_id=1,
    system="shelf",
    url="shelf.example/3",
    canonical="https://shelf.example/3",
    frequency="daily",
    timezone="UTC",
    streams=None,
    params={},
    enabled=True,
    debug=False,
    attributes={},
    callback_token="t",
    health="healthy",
    cause=None,
    since=NOW,
    failure=None,
    partial=None,
    has_webhook_secret=False,
    census_at=None,
    last_webhook_at=None,
    webhook_missed_at=None,
    next_due_at=LATER,
    last_sync_at=None,
    last_success_at=None,
    last_error_at=None,
    created_at=NOW,
    updated_at=NOW,
    deleted_at=None,
)


def checked(wanted: Wanted, canonical: str | None = "https://shelf.example/3") -> Checked:
    target = None if canonical is None else Target("https://shelf.example", canonical)
    return Checked(target, parse_frequency(wanted.frequency, wanted.timezone), wanted.streams)


def test_an_edit_that_changes_nothing_entails_nothing() -> None:
    wanted = as_stored(STORED)
    follows = consequences(STORED, wanted, checked(wanted), NOW)
    assert (follows.values, follows.cancel, follows.drop_cursors) == ({"next_due_at": LATER}, False, False)


def test_another_credential_cancels_and_is_tried_at_once_but_reads_on() -> None:
    wanted = replace(as_stored(STORED), credential_id=2)
    follows = consequences(STORED, wanted, checked(wanted), NOW)
    assert (follows.values["next_due_at"], follows.cancel, follows.drop_cursors) == (NOW, True, False)


def test_another_target_forgets_how_far_it_was_read_and_what_was_wrong() -> None:
    wanted = as_stored(STORED)
    follows = consequences(STORED, wanted, checked(wanted, "https://shelf.example/4"), NOW)
    assert (follows.values["next_due_at"], follows.cancel, follows.drop_cursors) == (NOW, True, True)
    assert (follows.values["failure"], follows.values["partial"]) == (None, None)


@pytest.mark.parametrize("change", [{"enabled": False}, {"frequency": "manually"}])
def test_what_no_longer_runs_by_itself_is_never_due(change: dict[str, object]) -> None:
    wanted = replace(as_stored(STORED), **change)
    follows = consequences(STORED, wanted, checked(wanted), NOW)
    assert (follows.values["next_due_at"], follows.drop_cursors) == (None, False)
    assert follows.cancel == (not wanted.enabled)


def test_a_disabled_connection_stays_off_whatever_else_is_edited() -> None:
    off = replace(STORED, enabled=False, next_due_at=None)
    wanted = replace(as_stored(off), credential_id=2, frequency="hourly")
    assert consequences(off, wanted, checked(wanted), NOW).values["next_due_at"] is None


def test_another_frequency_counts_from_now() -> None:
    wanted = replace(as_stored(STORED), frequency="every 15m")
    due = consequences(STORED, wanted, checked(wanted), NOW).values["next_due_at"]
    assert isinstance(due, datetime)
    assert NOW < due <= NOW + timedelta(minutes=15)


def test_what_is_overdue_stays_due_at_another_frequency() -> None:
    overdue = replace(STORED, next_due_at=NOW - timedelta(minutes=1))
    wanted = replace(as_stored(overdue), frequency="monthly")
    assert consequences(overdue, wanted, checked(wanted), NOW).values["next_due_at"] == overdue.next_due_at
