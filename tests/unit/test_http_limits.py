"""What remotes say of their limits, in the headers of each vendor, and what it comes to for everyone."""

from datetime import datetime, timedelta

import pytest

from adapters.base import RateLimited
from adapters.budget import AT_ONCE
from adapters.http import LocalBudget, retry_after
from adapters.reply import error_of, limit_reason, strained
from tests.servers import NOON, Hands, answer, client, reply, serving

ISO = "2026-11-20T12:01:30Z"
EPOCH = str(NOON.timestamp() + 90)
QUOTA = "jira-quota-tenant-based"

#: On a 429: the headers, and the seconds that the host is left alone; 1 where it names no time at all.
REFUSED: list[tuple[dict[str, str], float]] = [
    ({}, 1),
    ({"Retry-After": "7"}, 7),
    ({"Retry-After": "0"}, 1),
    ({"Retry-After": "-7"}, 1),
    ({"Retry-After": "soon"}, 1),
    ({"Retry-After": "nan"}, 1),
    ({"Retry-After": "99999999999"}, 3600),
    ({"Retry-After": "Fri, 20 Nov 2026 12:01:30 GMT"}, 90),
    ({"Retry-After": "Fri, 20 Nov 2020 12:01:30 GMT"}, 1),
    ({"Retry-After": "Fri, 20 Nov 2099 12:01:30 GMT"}, 3600),
    ({"X-RateLimit-Reset": ISO}, 90),
    ({"X-RateLimit-Reset": EPOCH}, 90),
    ({"X-RateLimit-Reset": "2026-11-20T12:05Z"}, 300),
    ({"X-RateLimit-Reset": "2020-01-01T00:00Z"}, 1),
    ({"Retry-After": "0", "X-RateLimit-Reset": ISO}, 90),
    ({"Retry-After": "5", "X-RateLimit-Reset": ISO}, 5),
    ({"RateLimit": '"global-app-quota";r=0;t=600'}, 600),
    ({"RateLimit": '"burst";r=5;t=1, "tenant-quota"; r=0; t=300,"global-app-quota";r=0;t=200'}, 300),
    ({"RateLimit": '"global-app-quota";r=11000;t=600'}, 1),
    ({"Beta-RateLimit": '"global-app-quota";r=0;t=600'}, 1),
    ({"RateLimit-Reason": "jira-burst-based"}, 1),
    ({"RateLimit-Reason": QUOTA}, 3600),
    ({"RateLimit-Reason": QUOTA, "Date": "Fri, 20 Nov 2026 11:48:30 GMT"}, 690),
    ({"RateLimit-Reason": QUOTA, "Retry-After": "1847"}, 1847),
    ({"X-RateLimit-Remaining": "0", "retry-after": "6", "X-RateLimit-FillRate": "10"}, 6),
]


class Heard(LocalBudget):
    """A budget that keeps what it was told."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands.now, patience=0)
        self.pauses: list[tuple[datetime, str]] = []

    async def pause(self, host: str, until: datetime, reason: str, asked: timedelta = AT_ONCE) -> None:
        assert asked >= AT_ONCE
        self.pauses.append((until, reason))
        await super().pause(host, until, reason, asked)


@pytest.mark.parametrize(("headers", "seconds"), REFUSED, ids=[str(row[0])[:70] for row in REFUSED])
async def test_a_refusal_for_asking_too_much_stops_everyone_for_the_time_it_says(
    headers: dict[str, str], seconds: float
) -> None:
    hands = Hands()
    budget = Heard(hands)
    dated = {"Date": "Fri, 20 Nov 2026 12:00:00 GMT", **headers}
    async with serving(answer(429, b"<html>", **{k.replace("-", "_"): v for k, v in dated.items()})) as ours:
        async with client(ours.url, budget=budget, clock=hands.now) as http:
            with pytest.raises(RateLimited):
                await http.get("/a")
        assert [until for until, _ in budget.pauses] == [NOON + timedelta(seconds=seconds)]
        async with client(ours.url, budget=budget, clock=hands.now) as another:
            hands.time += timedelta(seconds=seconds - 0.5)
            with pytest.raises(RateLimited):
                await another.get("/b")
            assert ours.paths == ["/a"]
            hands.time += timedelta(seconds=0.5)
            with pytest.raises(RateLimited):
                await another.get("/c")
            assert ours.paths == ["/a", "/c"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X_RateLimit_Reset": ISO},
        {"RateLimit": '"global-app-quota";r=0;t=600'},
        {"RateLimit_Reason": QUOTA},
        {"Retry_After": "0", "X_RateLimit_Remaining": "49"},
    ],
)
def test_an_answer_that_is_no_refusal_demands_a_pause_only_by_retry_after(headers: dict[str, str]) -> None:
    assert retry_after(reply(200, b"{}", **headers), NOON) is None


STRAINS: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    ({"X_RateLimit_NearLimit": "true"}, True),
    ({"X_RateLimit_NearLimit": "TRUE "}, True),
    ({"X_RateLimit_NearLimit": "false"}, False),
    ({"X_RateLimit_Delay": "0.25"}, True),
    ({"X_RateLimit_Delay": "0"}, False),
    ({"X_RateLimit_Remaining": "0"}, True),
    ({"X_RateLimit_Remaining": "-3"}, True),
    ({"X_RateLimit_Remaining": "1"}, False),
    ({"X_RateLimit_Remaining": "none"}, False),
    ({"X_RateLimit_Remaining": "nan"}, False),
]


@pytest.mark.parametrize(("headers", "near"), STRAINS, ids=[str(row[0]) for row in STRAINS])
async def test_a_good_answer_that_warns_makes_everyone_slower_and_holds_nobody_up(
    headers: dict[str, str], near: bool
) -> None:
    hands = Hands()
    budget = Heard(hands)
    assert strained(reply(200, b"{}", **headers)) == near
    async with (
        serving(answer(200, b"{}", **headers)) as ours,
        client(ours.url, budget=budget, clock=hands.now) as http,
    ):
        for _ in range(2):
            assert (await http.get("/a")).status == 200
    assert budget.pauses == [(NOON, "answered 200")] * (2 if near else 0)


async def test_a_delayed_answer_of_azure_is_data_and_makes_everyone_wait() -> None:
    hands = Hands()
    budget = Heard(hands)
    said = {"Retry_After": "30", "X_RateLimit_Delay": "4.5", "X_RateLimit_Remaining": "0"}
    async with (
        serving(answer(200, b"[1]", **said, X_RateLimit_Reset=EPOCH)) as ours,
        client(ours.url, budget=budget, clock=hands.now) as http,
    ):
        assert (await http.get("/a")).body == b"[1]"
        with pytest.raises(RateLimited) as waiting:
            await http.get("/b")
    assert waiting.value.retry_at == NOON + timedelta(seconds=30)
    assert len(budget.pauses) == 1


def test_the_limit_that_was_reached_is_named_and_a_quota_explained() -> None:
    burst, quota = (
        error_of(reply(429, b"<html>", RateLimit_Reason=reason)) for reason in ("jira-burst-based", QUOTA)
    )
    assert burst is not None
    assert quota is not None
    assert burst.message == "/search answered 429 (jira-burst-based)."
    assert burst.hint == RateLimited.default_hint
    assert "hourly quota" in quota.hint


@pytest.mark.parametrize("reason", ["", "a b", "<script>", "x" * 61])
def test_a_reason_that_is_none_is_not_repeated(reason: str) -> None:
    assert limit_reason(reply(429, RateLimit_Reason=reason)) == ""
