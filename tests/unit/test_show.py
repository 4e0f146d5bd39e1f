"""How commands say how long something takes."""

import pytest

from tidegate.commands.show import pace, span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.99, "10.0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_span_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_the_time_left_follows_from_the_rate() -> None:
    assert pace(3000, 9000, 2000, 10) == "200 records/s, 30 s left"


def test_no_time_is_left_where_nothing_is_known_or_all_is_done() -> None:
    assert pace(3000, None, 2000, 10) == "200 records/s"
    assert pace(9000, 9000, 2000, 10) == "200 records/s"
    assert pace(0, 9000, 0, 10) == "0 records/s"
