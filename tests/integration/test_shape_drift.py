"""A third of a remote's records come in another shape: nothing breaks, and none is lost without a word."""

import json
from collections.abc import Callable
from typing import Any

from tests.house import House
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_issue import Issue

ISSUES = 220
Change = Callable[[dict[str, Any]], object]
#: What becomes of a record, and whether it can still be read: as far as it goes, with all that it has.
DRIFTS: list[tuple[str, Change, bool]] = [
    ("a new field", lambda issue: issue["fields"].update(customfield_99999={"new": [1, None]}), True),
    ("a new member", lambda issue: issue.update(shape={"of": "tomorrow"}), True),
    ("a field of another type", lambda issue: issue["fields"].update(summary=["no", "text"]), True),
    ("a field that is null", lambda issue: issue["fields"].update(status=None, project=None), True),
    ("a field that is missing", lambda issue: issue["fields"].pop("summary"), True),
    ("a person who is a text", lambda issue: issue["fields"].update(assignee="ana", reporter=7), True),
    ("labels that are no list", lambda issue: issue["fields"].update(labels="one"), True),
    ("no fields", lambda issue: issue.pop("fields"), False),
    ("fields that are null", lambda issue: issue.update(fields=None), False),
    ("fields that are a list", lambda issue: issue.update(fields=[]), False),
    ("a time that is none", lambda issue: issue["fields"].update(updated="soon"), True),
]


class Drifting(JiraCloud):
    """Three issues of ten are written otherwise, each in one of the manners in turn."""

    def drift(self, issue: Issue) -> tuple[str, Change, bool] | None:
        return DRIFTS[issue.id // 10 % len(DRIFTS)] if issue.id % 10 < 3 else None

    def body(self, issue: Issue) -> bytes:
        whole = super().body(issue)
        found = self.drift(issue)
        if found is None:
            return whole
        read = json.loads(whole)
        found[1](read)
        return json.dumps(read).encode()


async def test_records_of_another_shape_are_kept_or_named_with_their_reason(house: House) -> None:
    async with Drifting() as site:
        site.add_account("ana@example.com", "token-1")
        site.add_project("TG")
        site.seed(ISSUES)
        credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
        url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
        made = await house.connection("jira", url, credential, streams=["issues"])
        sync = await house.sync(made.id)
        odd = {str(issue.id): found for issue in site.issues.values() if (found := site.drift(issue))}
        rows = {row["key"]: row for row in await house.rows("jira", "issues")}
        named = {row["key"]: row for row in await house.quarantined()}
        assert len(odd) == ISSUES * 3 // 10
        # Each is in one of the two, and nothing is in both.
        assert sorted([*rows, *named]) == sorted(str(issue.id) for issue in site.issues.values())
        assert {key: name for key, (name, _, good) in odd.items() if good is not (key in rows)} == {}
        assert set(named) <= set(odd)
        assert all(row["reason"] and row["body"] for row in named.values())
        assert sync.state == "partial"
        assert sync.counters["issues"].rejected == len(named)
        fresh = [key for key, (name, _, _) in odd.items() if name == "a new field"]
        bodies = [str(rows[key]["body"]) for key in fresh]
        assert fresh
        assert all("customfield_99999" in body for body in bodies)
