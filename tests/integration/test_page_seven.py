"""The seventh page of twenty fails, in every manner: the six before it stay, and it is gone on with there."""

from collections.abc import AsyncIterator

import pytest

from tests.house import House
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud

PAGES, ISSUES = 20, 200
BEFORE = 6
JSON, HTML = {"Content-Type": "application/json"}, {"Content-Type": "text/html"}
SEARCH = "/search/jql"
#: The manner, and whether it is worth to wait for better: else the sync ends, and the next one goes on.
MANNERS = {
    "500": (Fault(SEARCH, 500, after=BEFORE, times=3), True),
    "reset": (Fault(SEARCH, cut=40, after=BEFORE, times=3), True),
    "cut JSON": (Fault(SEARCH, 200, b'{"issues":[{"id":"1', JSON, after=BEFORE, times=3), False),
    "a page to sign in": (Fault(SEARCH, 200, b"<html>Sign in</html>", HTML, after=BEFORE, times=3), False),
}


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", "token-1")
        remote.add_project("TG")
        remote.max_page = ISSUES // PAGES
        remote.seed(ISSUES)
        yield remote


@pytest.mark.parametrize("manner", MANNERS)
async def test_what_came_before_a_page_that_fails_stays_and_is_not_asked_for_again(
    house: House, site: JiraCloud, manner: str
) -> None:
    fault, passes = MANNERS[manner]
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    made = await house.connection("jira", url, credential, streams=["issues"])
    site.faults.append(Fault(**{name: getattr(fault, name) for name in Fault.__struct_fields__}))
    first = await house.sync(made.id)
    assert (first.state in ("waiting", "queued", "running"), first.state in ("failed", "partial")) == (
        passes,
        not passes,
    )
    stored = await house.keys("jira", "issues")
    assert len(stored) == BEFORE * ISSUES // PAGES
    site.faults.clear()
    asked = len(site.requests(SEARCH))
    last = await house.until_ended(first.id) if passes else await house.sync(made.id)
    assert last.state == "succeeded"
    assert len(await house.keys("jira", "issues")) == ISSUES
    assert len(site.requests(SEARCH)) - asked == PAGES - BEFORE
