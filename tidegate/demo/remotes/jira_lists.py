"""What an issue of the simulated Jira has lists of: its history, comments and worklogs, and their JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tidegate.demo.remotes.jira_issue import Issue, Renderer

#: Members of an issue whose changes are in its history, with the names that Jira gives them there.
TRACKED: Mapping[str, str] = {
    "status": "status",
    "summary": "summary",
    "priority": "priority",
    "resolution": "resolution",
    "assignee": "assignee",
    "description": "description",
    "project": "project",
    "type": "issuetype",
    "due": "duedate",
}


class Item(msgspec.Struct, frozen=True):
    """What was changed of one field, as texts."""

    field: str
    before: str | None
    after: str | None


class Change(msgspec.Struct, frozen=True):
    """An entry of the history: all that was changed at once."""

    id: int
    created: datetime
    items: tuple[Item, ...]
    author: str | None = None


class Comment(msgspec.Struct, frozen=True):
    id: int
    created: datetime
    updated: datetime
    text: str
    author: str | None = None
    #: The role that alone may read it.
    role: str | None = None


class Worklog(msgspec.Struct, frozen=True):
    """`spent` in seconds."""

    id: int
    created: datetime
    updated: datetime
    started: datetime
    spent: int
    text: str = ""
    author: str | None = None


def items_between(before: "Issue", after: "Issue") -> tuple[Item, ...]:
    """What the history says of a change."""
    return tuple(
        Item(name, getattr(before, member), getattr(after, member))
        for member, name in TRACKED.items()
        if getattr(before, member) != getattr(after, member)
    )


class Lists:
    """Renders lists as a product does: `most` of each are embedded in an issue, None where all are."""

    def __init__(self, renderer: "Renderer", most: Mapping[str, int | None]) -> None:
        self._renderer = renderer
        self._most = most

    def comments(self, issue: "Issue") -> dict[str, object]:
        """As in the field `comment`, the oldest first."""
        shown = issue.comments[: self._most["comments"]]
        return {
            "comments": [self.comment(issue, one) for one in shown],
            "self": self._renderer.link("issue", f"{issue.id}/comment"),
            # Where nothing is cut this is how many there are (seen in recorded answers).
            "maxResults": len(shown),
            "total": len(issue.comments),
            "startAt": 0,
        }

    def worklogs(self, issue: "Issue") -> dict[str, object]:
        """As in the field `worklog`: 20 on both products (seen in recorded answers, reported by users)."""
        shown = issue.worklogs[: self._most["worklogs"]]
        return {
            "startAt": 0,
            "maxResults": 20,
            "total": len(issue.worklogs),
            "worklogs": [self.worklog(issue, one) for one in shown],
        }

    def histories(self, issue: "Issue") -> bytes:
        """As for `expand=changelog`: the newest first (reported by users)."""
        shown = issue.history[::-1][: self._most["histories"]]
        changes = [self.change(one) for one in shown]
        total = len(issue.history)
        listed = {"startAt": 0, "maxResults": len(shown), "total": total, "histories": changes}
        return msgspec.json.encode(listed)

    def change(self, change: Change, *, epoch: bool = False) -> dict[str, object]:
        """The bulk endpoint tells the time in epoch milliseconds (reported by users)."""
        stamp = round(change.created.timestamp() * 1000) if epoch else self._renderer.stamp(change.created)
        return {
            "id": str(change.id),
            "author": self._renderer.user(change.author),
            "created": stamp,
            "items": [self._item(item) for item in change.items],
        }

    def comment(self, issue: "Issue", comment: Comment) -> dict[str, object]:
        author = self._renderer.user(comment.author)
        shown: dict[str, object] = {
            "self": self._renderer.link("issue", f"{issue.id}/comment/{comment.id}"),
            "id": str(comment.id),
            "author": author,
            "body": self._renderer.rich_text(comment.text),
            "updateAuthor": author,
            "created": self._renderer.stamp(comment.created),
            "updated": self._renderer.stamp(comment.updated),
        }
        if comment.role:
            shown["visibility"] = {"type": "role", "value": comment.role}
        return shown

    def worklog(self, issue: "Issue", worklog: Worklog) -> dict[str, object]:
        author = self._renderer.user(worklog.author)
        return {
            "self": self._renderer.link("issue", f"{issue.id}/worklog/{worklog.id}"),
            "author": author,
            "updateAuthor": author,
            "comment": self._renderer.rich_text(worklog.text),
            "created": self._renderer.stamp(worklog.created),
            "updated": self._renderer.stamp(worklog.updated),
            "started": self._renderer.stamp(worklog.started),
            "timeSpent": f"{worklog.spent // 60}m",
            "timeSpentSeconds": worklog.spent,
            "id": str(worklog.id),
            "issueId": str(issue.id),
        }

    def _item(self, item: Item) -> dict[str, object]:
        """`fieldId` is left out on some (reported by users)."""
        return {
            "field": item.field,
            "fieldtype": "jira",
            "fieldId": item.field,
            "from": item.before,
            "fromString": item.before,
            "to": item.after,
            "toString": item.after,
        }


def sliced(entries: Sequence[object], start: int, size: int, member: str) -> dict[str, object]:
    """A page of a list in the envelope of its own endpoint (OpenAPI document)."""
    page = entries[start : start + size]
    return {"startAt": start, "maxResults": size, "total": len(entries), member: page}
