"""What a status means where the adapter knows no better."""

import pytest

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    Later,
    NotFound,
    QueryRejected,
    RateLimited,
    Unavailable,
    Unreadable,
)
from adapters.http import error_of
from tests.servers import answer, client, reply, serving

MEANING: dict[type[AdapterError], set[int]] = {
    AuthFailed: {401},
    Forbidden: {403},
    NotFound: {404},
    RateLimited: {429},
    Unavailable: {407, 408, 425, 500, 502, 503, 504, *range(505, 1000)},
    Unreadable: {*range(100, 200), *range(201, 400), 501},
}
NAMED = set().union(*MEANING.values())
MEANING[QueryRejected] = {status for status in range(400, 500) if status not in NAMED}


def test_every_status_has_one_meaning() -> None:
    assert {s for named in MEANING.values() for s in named} | {200} == set(range(100, 1000))
    assert {400, 402, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451} <= MEANING[QueryRejected]


@pytest.mark.parametrize("meaning", MEANING, ids=lambda m: m.__name__)
def test_each_status_is_the_error_that_names_its_consequence(meaning: type[AdapterError]) -> None:
    for status in MEANING[meaning]:
        error = error_of(reply(status))
        assert type(error) is meaning
        assert error.message == f"/search answered {status}."


def test_only_200_is_an_answer() -> None:
    assert [status for status in range(100, 1000) if error_of(reply(status)) is None] == [200]


@pytest.mark.parametrize("status", [407, 408, 425, 429, 500, 502, 503, 504, 520])
def test_what_passes_says_when_the_remote_wants_to_be_asked_again(status: int) -> None:
    error = error_of(reply(status, Retry_After="30"))
    assert isinstance(error, Later)
    assert (error.retry_at is None) == (status == 407)


async def test_a_status_that_is_no_answer_is_raised_with_its_path() -> None:
    async with serving(answer(403, b"no")) as ours, client(f"{ours.url}/jira") as http:
        with pytest.raises(Forbidden, match=r"^/jira/x answered 403"):
            await http.get("/x", {"jql": "a"})
