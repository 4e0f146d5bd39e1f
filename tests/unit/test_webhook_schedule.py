"""When an event is sent again, and what is made of an endpoint's wishes."""

from datetime import timedelta
from random import Random

import pytest

from events.schedule import DELAYS, LONGEST, again, retry_after
from tests.servers import NOON, reply

HOUR = 3600.0


def test_the_delays_are_those_that_are_promised() -> None:
    assert DELAYS == (5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)


def test_each_delay_is_within_a_fifth_and_they_differ() -> None:
    random = Random(1)
    for step, delay in enumerate(DELAYS):
        found = [again(step, NOON, NOON, None, random) for _ in range(200)]
        waits = {(one.at - NOON).total_seconds() for one in found if one is not None}
        assert len(waits) == 200
        assert 0.8 * delay <= min(waits) < 0.85 * delay
        assert 1.15 * delay < max(waits) <= 1.2 * delay
        assert {one.step for one in found if one is not None} == {step + 1}


def test_after_the_last_step_it_is_over() -> None:
    assert again(len(DELAYS), NOON, NOON, None, Random(1)) is None
    assert again(0, NOON, NOON + LONGEST, timedelta(seconds=5), Random(1)) is None


@pytest.mark.parametrize(
    ("asked", "waited", "step"),
    [(60, 60, 3), (4 * HOUR, 4 * HOUR, 4), (0, 5, 3), (1000 * HOUR, 24 * HOUR, 4)],
)
def test_what_the_endpoint_asks_for_wins_and_asking_for_less_costs_no_step(
    asked: float, waited: float, step: int
) -> None:
    found = again(3, NOON, NOON, timedelta(seconds=asked), Random(1))
    assert found is not None
    assert (found.at - NOON, found.step) == (timedelta(seconds=waited), step)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("120", 120), ("1.5", 1.5), ("0", 0), ("-5", 0), ("999999999", 24 * HOUR)),
        *(("nan", None), ("inf", None), ("soon", None), ("", None)),
        ("Fri, 20 Nov 2026 12:05:00 GMT", 300),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
    ],
)
def test_retry_after_is_understood(text: str, seconds: float | None) -> None:
    found = retry_after(reply(503, Retry_After=text), NOON)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


def test_a_date_is_by_the_clock_of_the_endpoint() -> None:
    told = reply(503, Retry_After="Fri, 20 Nov 2026 09:01:00 GMT", Date="Fri, 20 Nov 2026 09:00:00 GMT")
    assert retry_after(told, NOON) == timedelta(seconds=60)
