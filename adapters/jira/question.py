"""What a connection asks: the restriction, the order, and how dates are to be written for the account."""

from datetime import datetime, timedelta, tzinfo

from msgspec import Struct

from adapters.jira.jql import literal
from adapters.times import from_millis

# A count of what was left alone keeps so far from now: the index of another node may be late.
_MARGIN = timedelta(minutes=1)


class Question(Struct, frozen=True):
    """The restriction in JQL, the account with its time zone, and the fingerprint of all that it depends on.

    `limit` restricts a first read to what was changed since. The account is part of the fingerprint:
    another one sees other issues, old ones among them.
    """

    zone: tzinfo
    restriction: str
    limit: datetime | None
    query: str
    account: str = ""

    @property
    def first(self) -> str:
        """The restriction of a first read."""
        bound = f" AND updated >= {literal(self.limit, self.zone)}" if self.limit else ""
        return f"({self.restriction}){bound}"

    def range(self, since: int | None, start: int | None) -> str:
        """The restriction of a walk from `since` (None: a first one) as far as it is not read yet."""
        asked = self.first if since is None else f"({self.restriction})"
        if begin := from_millis(start):
            asked += f" AND {_order(since)} >= {literal(begin, self.zone)}"
        return asked

    def jql(self, since: int | None, start: int | None) -> str:
        """The same in order. A first walk goes by creation, where changes meanwhile move no issue."""
        return f"{self.range(since, start)} ORDER BY {_order(since)} ASC, key ASC"

    def untouched(self, since: int | None, begun: datetime) -> str:
        """What a walk begun then must have met: all of its range that nobody touched since."""
        return f"{self.range(since, since)} AND updated < {literal(begun - _MARGIN, self.zone)}"


def _order(since: int | None) -> str:
    return "created" if since is None else "updated"
