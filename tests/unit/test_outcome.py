"""What an error means for a sync, and what a sync came to."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from adapters.base import (
    AdapterError,
    AuthFailed,
    Blocked,
    Forbidden,
    Later,
    NotFound,
    QueryRejected,
    RateLimited,
    TlsFailed,
    Unavailable,
    Unreadable,
)
from store.health import Problem
from store.parts import LOOK_AGAIN, NAMED, Part
from store.syncs import Counts, Receipt, Sync
from worker.outcome import (
    STRAGGLER_AT_MOST,
    WAIT_AT_MOST,
    End,
    Wait,
    back_off,
    conclude,
    gives_up_on,
    problem_of,
    wait,
    whole_connection,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STREAMS = {"things": ["things"]}
NO = Problem("forbidden", "No.", "Ask.")


def sync(**values: object) -> Sync:
    made: dict[str, Any] = dict.fromkeys(Sync.__struct_fields__)
    made |= {"id": 1, "lane": "bulk", "scope": "incremental", "tries": 0, "pages": 0, **values}
    return Sync(**made)


def part(name: str = "all", feed: str = "things", **values: object) -> Part:
    made = Part(feed, name, "", 1, "c", True, True, None, None, {})
    return msgspec.structs.replace(made, **values)


def concluded(*parts: Part, counters: Mapping[str, Counts] | None = None) -> End:
    return conclude(parts, counters or {}, STREAMS)


# --- errors


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (AuthFailed, "auth"),
        (Forbidden, "forbidden"),
        (NotFound, "not_found"),
        (QueryRejected, "rejected"),
        (Unreadable, "unreadable"),
        (TlsFailed, "tls"),
        (Blocked, "blocked"),
        (Unavailable, "unreachable"),
        (RateLimited, "rate_limited"),
    ],
)
def test_an_error_is_told_by_its_cause_with_a_hint(kind: type[AdapterError], name: str) -> None:
    told = problem_of(kind("What happened."))
    assert (told.kind, told.message) == (name, "What happened.")
    assert told.hint


def test_an_error_of_one_partition_speaks_for_all_only_if_nobody_would_be_let_in() -> None:
    errors: list[AdapterError] = [e("x") for e in (AuthFailed, RateLimited, Forbidden, NotFound, Unavailable)]
    assert [whole_connection(e) for e in errors] == [True, True, False, False, False]


# --- waiting


def test_the_back_off_doubles_from_a_second_to_five_minutes_and_is_spread_over_all_of_it() -> None:
    for tries, most in ((0, 1), (1, 2), (5, 32), (9, 300), (1000, 300)):
        drawn = [back_off(tries, Random(seed)).total_seconds() for seed in range(300)]
        assert max(drawn) <= most
        assert max(drawn) > 0.9 * most
        assert min(drawn) < 0.2 * most


def test_the_remotes_own_time_is_kept_even_where_it_is_long() -> None:
    said = NOW + timedelta(hours=2)
    outcome = wait(sync(), RateLimited("x", said), NOW, Random(1), pages=0)
    assert isinstance(outcome, Wait)
    assert (outcome.until, outcome.limited) == (said, True)


def test_a_time_that_is_past_already_is_not_taken_for_an_invitation() -> None:
    outcome = wait(sync(), Unavailable("x", NOW - timedelta(hours=1)), NOW, Random(1), pages=0)
    assert isinstance(outcome, Wait)
    assert outcome.until > NOW
    assert not outcome.limited


def tries_in_two_hours(random: Random) -> int:
    passed, tries = timedelta(0), 0
    while passed < timedelta(hours=2):
        passed += back_off(tries, random)
        tries += 1
    return tries


def test_an_outage_of_two_hours_costs_few_tries() -> None:
    counts = sorted(tries_in_two_hours(Random(seed)) for seed in range(300))
    assert counts[150] <= 60
    assert counts[-1] <= 75


def test_a_slice_with_pages_begins_the_back_off_anew() -> None:
    tired = sync(tries=12, waiting_since=NOW - WAIT_AT_MOST)
    outcome = wait(tired, Unavailable("x"), NOW, Random(1), pages=1)
    assert isinstance(outcome, Wait)
    assert outcome.until <= NOW + timedelta(seconds=1)


@pytest.mark.parametrize(("pages", "state"), [(0, "failed"), (7, "partial")])
@pytest.mark.parametrize("error", [Unavailable("x"), RateLimited("x")])
def test_after_a_day_of_waiting_a_sync_ends(error: Later, pages: int, state: str) -> None:
    waiting = sync(waiting_since=NOW - WAIT_AT_MOST, pages=pages)
    outcome = wait(waiting, error, NOW, Random(1), pages=0)
    assert isinstance(outcome, End)
    assert (outcome.state, outcome.failure) == (state, state == "failed")
    assert outcome.error == problem_of(error)
    almost = sync(waiting_since=NOW - WAIT_AT_MOST + timedelta(seconds=1), pages=pages)
    assert isinstance(wait(almost, error, NOW, Random(1), pages=0), Wait)


def test_a_straggler_is_given_up_on_after_a_quarter_of_an_hour() -> None:
    assert not gives_up_on(sync(), NOW)
    assert not gives_up_on(sync(waiting_since=NOW - STRAGGLER_AT_MOST + timedelta(seconds=1)), NOW)
    assert gives_up_on(sync(waiting_since=NOW - STRAGGLER_AT_MOST), NOW)


# --- what it came to


def test_all_parts_read_to_their_end_is_a_success() -> None:
    assert concluded(part("a"), part("b")) == End("succeeded", {"things": Receipt(None, 0, True)})


def test_nothing_to_read_is_a_success() -> None:
    assert concluded().state == "succeeded"


def test_one_failing_partition_makes_partial_and_names_it() -> None:
    outcome = concluded(part("a"), part("b", error=NO))
    assert (outcome.state, outcome.failure) == ("partial", False)
    assert outcome.error is not None
    assert outcome.error.kind == "forbidden"
    assert "things of b" in outcome.error.message
    assert not outcome.receipt["things"].complete


def test_all_partitions_failing_is_a_failure_of_the_connection() -> None:
    other = Problem("unreadable", "Not JSON.")
    outcome = concluded(part("a", error=NO), part("b", error=other))
    assert (outcome.state, outcome.failure, outcome.error) == ("failed", True, NO)


def test_that_unfinished_records_could_be_read_does_not_outweigh_that_nothing_else_could() -> None:
    outcome = concluded(part("a", error=NO), part("things", LOOK_AGAIN))
    assert (outcome.state, outcome.failure) == ("failed", True)


def test_unfinished_records_that_could_not_be_read_make_partial() -> None:
    assert concluded(part("a"), part("things", LOOK_AGAIN, error=NO)).state == "partial"


def test_named_records_that_could_not_be_asked_for_are_no_failure_of_the_connection() -> None:
    outcome = conclude([part("things", NAMED, error=NO)], {}, {})
    assert (outcome.state, outcome.failure) == ("failed", False)


def test_a_partition_without_the_remotes_end_mark_is_partial() -> None:
    outcome = concluded(part("a"), part("b", ended=False))
    assert outcome.state == "partial"
    assert outcome.error is not None
    assert not outcome.receipt["things"].complete


def test_rejected_records_make_partial_and_say_where_they_are() -> None:
    outcome = concluded(part(stored={"things": 9}), counters={"things": Counts(read=10, new=9, rejected=1)})
    assert outcome.state == "partial"
    assert outcome.error is not None
    assert "quarantine" in outcome.error.message
    assert not outcome.receipt["things"].complete


@pytest.mark.parametrize(
    ("stored", "state"), [((3, 4), "succeeded"), ((3, 5), "succeeded"), ((3, 3), "partial")]
)
def test_what_was_counted_exactly_must_be_stored(stored: tuple[int, int], state: str) -> None:
    parts = [
        part(name, expected={"things": expected}, stored={"things": number})
        for name, expected, number in zip("ab", (3, 4), stored, strict=True)
    ]
    outcome = concluded(*parts)
    assert outcome.state == state
    assert outcome.receipt["things"] == Receipt(7, sum(stored), state == "succeeded")


def test_what_one_partition_did_not_count_is_unknown_for_the_stream() -> None:
    outcome = concluded(part("a", expected={"things": 3}, stored={"things": 3}), part("b"))
    assert outcome.receipt["things"] == Receipt(None, 3, True)


def test_named_keys_that_are_not_found_are_told_with_their_number() -> None:
    named = part("things", NAMED, expected={"things": 3}, stored={"things": 2})
    outcome = conclude([named], {}, {})
    assert outcome.receipt == {"things": Receipt(3, 2, False)}
    assert outcome.state == "partial"
    assert outcome.error is not None
    assert "1 of 3 things" in outcome.error.message


def test_every_selected_stream_has_a_receipt_and_no_other() -> None:
    streams = {"things": ["things", "notes"], "extras": ["extras"]}
    outcome = conclude([part(), part(feed="extras")], {}, streams)
    assert set(outcome.receipt) == {"things", "notes", "extras"}
