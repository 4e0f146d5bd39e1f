"""A minute of webhooks, as many as a release of thousands of issues sends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.plan import times
from tests.integration.test_webhook_bursts import EMAIL, TOKEN, weathered
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.alone, pytest.mark.timeout(1200)]

PROMISED = 0.25


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account(EMAIL, TOKEN)
        remote.seed(50)
        yield remote


async def test_ten_thousand_webhooks_in_a_minute_are_answered_at_once(
    tmp_path: Path, site: JiraCloud, figures: list[str]
) -> None:
    count = max(1000, times(10_000))
    slow, syncs = await weathered(tmp_path, site, count)
    figures.append(
        f"F22: {count} webhooks at 167 a second: answered within {1000 * slow:.0f} ms (99 %), {syncs} syncs"
    )
    assert slow <= PROMISED
