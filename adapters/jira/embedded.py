"""The streams `changelogs`, `comments` and `worklogs`: the lists embedded in issues, and their records."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from adapters.base import Column, Family, Record, Rejected, Stream, Value
from adapters.jira.issue import ABSENT, ISSUES, Issue
from adapters.jira.values import ILLEGIBLE, NO_USER, Lenient, User, any_time, is_id, utc
from adapters.times import to_millis

CHANGELOGS = Stream(
    "changelogs",
    columns=(
        Column("author", "text", "author.displayName"),
        Column("author_id", "text", "author.accountId"),
        Column("created_at", "time", "created"),
        # One entry holds all that was changed at once; lists are one text with commas between.
        Column("items", "integer", "items"),
        Column("fields", "text", "items.field"),
        Column("status_from", "text", "items.fromString"),
        Column("status_to", "text", "items.toString"),
    ),
    parent=ISSUES.name,
    # One endpoint sends it as text, another as epoch milliseconds (reported by users).
    volatile=("created",),
    embedded=True,
)
COMMENTS = Stream(
    "comments",
    columns=(
        Column("author", "text", "author.displayName"),
        Column("author_id", "text", "author.accountId"),
        Column("edited_by", "text", "updateAuthor.displayName"),
        Column("created_at", "time", "created"),
        # The group or role that alone may read it.
        Column("visibility", "text", "visibility.value"),
        # Whether customers of a service project see it.
        Column("is_public", "boolean", "jsdPublic"),
    ),
    parent=ISSUES.name,
    embedded=True,
)
WORKLOGS = Stream(
    "worklogs",
    columns=(
        Column("author", "text", "author.displayName"),
        Column("author_id", "text", "author.accountId"),
        Column("edited_by", "text", "updateAuthor.displayName"),
        Column("started_at", "time", "started"),
        Column("time_spent", "integer", "timeSpentSeconds", "s"),
        Column("created_at", "time", "created"),
        Column("visibility", "text", "visibility.value"),
    ),
    parent=ISSUES.name,
    embedded=True,
)


class _Item(Struct, gc=False, rename="camel"):
    field: str | None = None
    field_id: str | None = None
    from_string: str | None = None
    to_string: str | None = None


class _Visibility(Struct, gc=False):
    value: str | None = None


class _Change(Struct, gc=False):
    id: str | int = ""
    author: User | None = None
    created: datetime | float | None = None
    items: list[_Item] | None = None


class _Remark(Struct, gc=False, rename="camel"):
    """A comment or a worklog."""

    id: str | int = ""
    author: User | None = None
    update_author: User | None = None
    created: datetime | None = None
    updated: datetime | None = None
    started: datetime | None = None
    time_spent_seconds: int | None = None
    visibility: _Visibility | None = None
    jsd_public: bool | None = None


class Listing(Struct, rename="camel"):
    """A list as it is embedded in an issue, or a page of one; `total` is how many there are by Jira."""

    start_at: int | None = None
    total: int | None = None
    histories: list[Raw] | None = None
    comments: list[Raw] | None = None
    worklogs: list[Raw] | None = None


class Kind(Struct, frozen=True):
    """One of the streams: the member of its lists, how an entry is decoded, where it is in an `Issue`.

    `path` is what its own endpoint is called, and `page` how many entries that is asked for at once.
    """

    stream: Stream
    member: str
    entry: Callable[[Raw, str], Record]
    embedded: str
    path: str = ""
    page: int = 0

    @property
    def name(self) -> str:
        return self.stream.name

    def entries(self, listing: Listing) -> list[Raw] | None:
        found: list[Raw] | None = getattr(listing, self.member)
        return found


_CHANGE = Lenient(_Change)
_REMARK = Lenient(_Remark)
_LISTING: msgspec.json.Decoder[Listing | list[Raw]] = msgspec.json.Decoder(Listing | list[Raw])


def _key(sent: str | int) -> str:
    key = str(sent)
    if not is_id(key):
        raise msgspec.ValidationError("the id is not a number")
    return key


def _change(raw: Raw, parent: str) -> Record:
    """An entry of the history. Nothing of it changes any more, so that it has no version."""
    change = _CHANGE.decode(raw)
    author, items = change.author or NO_USER, change.items or []
    moved = next((item for item in items if "status" in (item.field_id, item.field)), None)
    columns: tuple[Value, ...] = (
        author.display_name,
        author.identity,
        any_time(change.created),
        len(items),
        ",".join(item.field for item in items if item.field) or None,
        moved.from_string if moved else None,
        moved.to_string if moved else None,
    )
    return Record("changelogs", _key(change.id), bytes(raw), parent, columns=columns)


def _comment(raw: Raw, parent: str) -> Record:
    found = _REMARK.decode(raw)
    author, seen_by = found.author or NO_USER, found.visibility
    columns: tuple[Value, ...] = (
        author.display_name,
        author.identity,
        found.update_author.display_name if found.update_author else None,
        utc(found.created),
        seen_by.value if seen_by else None,
        found.jsd_public,
    )
    return _remark("comments", raw, parent, found, columns)


def _worklog(raw: Raw, parent: str) -> Record:
    found = _REMARK.decode(raw)
    author, seen_by = found.author or NO_USER, found.visibility
    columns: tuple[Value, ...] = (
        author.display_name,
        author.identity,
        found.update_author.display_name if found.update_author else None,
        utc(found.started),
        found.time_spent_seconds,
        utc(found.created),
        seen_by.value if seen_by else None,
    )
    return _remark("worklogs", raw, parent, found, columns)


def _remark(stream: str, raw: Raw, parent: str, found: _Remark, columns: tuple[Value, ...]) -> Record:
    updated = utc(found.updated)
    version = str(to_millis(updated)) if updated else None
    return Record(stream, _key(found.id), bytes(raw), parent, updated, version, columns=columns)


HISTORY = Kind(CHANGELOGS, "histories", _change, "changelog")
KINDS = (
    HISTORY,
    Kind(COMMENTS, "comments", _comment, "comment", "comment", 1000),
    Kind(WORKLOGS, "worklogs", _worklog, "worklog", "worklog", 5000),
)
EMBEDDED: frozenset[str] = frozenset(kind.name for kind in KINDS)


class Part(Struct):
    """One list of one issue, as far as it is known.

    `total` is Jira's own count, None where it told none. `whole` says that these are all for certain.
    `trouble` is why some cannot be read, for a person.
    """

    kind: Kind
    issue: Issue
    records: dict[str, Record]
    rejected: list[Rejected]
    total: int | None = None
    whole: bool = False
    trouble: str | None = None

    @property
    def count(self) -> int:
        return len(self.records) + len(self.rejected)

    @property
    def name(self) -> str:
        return f"The {self.kind.name} of {self.issue.name}"

    def begin(self) -> None:
        """Forget what was known: a complete answer follows."""
        self.records.clear()
        self.rejected.clear()

    def read(self, sent: Raw) -> None:
        """A list as it stands in an issue."""
        self.take(_decoded(sent))

    def take(self, listing: Listing | list[Raw] | str) -> None:
        """A list, or why it is none."""
        if isinstance(listing, str):
            self.trouble = f"the list is not legible ({listing})."
            return
        entries = listing if isinstance(listing, list) else self.kind.entries(listing)
        if entries is None:
            self.trouble = "the list is missing."
            return
        stated = None if isinstance(listing, list) else listing.total
        self.add(entries)
        self.total = len(entries) if stated is None else stated
        self.whole = self.total <= len(entries)

    def add(self, raws: Sequence[Raw]) -> None:
        """Further entries. Of one that is known already, the first answer counts."""
        for raw in raws:
            try:
                record = self.kind.entry(raw, self.issue.key)
            except ILLEGIBLE as e:
                self._reject(raw, str(e))
                continue
            self.records.setdefault(record.key, record)

    def _reject(self, raw: Raw, reason: str) -> None:
        body, said = bytes(raw), f"{self.issue.name}: {reason}"
        if all(one.body != body for one in self.rejected):
            self.rejected.append(Rejected(self.kind.name, None, said, body))

    def family(self) -> Family | None:
        """All keys, where they are known for certain to be all."""
        certain = self.whole and not self.trouble and not self.rejected
        return Family(self.kind.name, self.issue.key, list(self.records)) if certain else None

    def all_rejected(self) -> list[Rejected]:
        if self.trouble is None:
            return self.rejected
        about = msgspec.json.encode({"issue": self.issue.key})
        said = f"{self.name} are not all here: {self.trouble}"
        return [*self.rejected, Rejected(self.kind.name, None, said, about)]


def read_lists(issue: Issue, kinds: Sequence[Kind], parts: list[Part], families: list[Family]) -> int:
    """Add what came embedded in an issue: the lists of these kinds, and for an empty one its family.

    How many entries that is, by Jira's count. A list that is not there at all is one that the site hides, or
    switched off; only of the history it tells nothing.
    """
    size, key = 0, issue.record.key
    for kind in kinds:
        sent: Raw = getattr(issue, kind.embedded)
        if sent is ABSENT:
            if kind is HISTORY:
                parts.append(Part(kind, issue, {}, []))
            continue
        listing = _decoded(sent)
        # Most lists are empty.
        if isinstance(listing, Listing) and listing.total == 0 and kind.entries(listing) == []:
            families.append(Family(kind.stream.name, key, ()))
            continue
        part = Part(kind, issue, {}, [])
        part.take(listing)
        parts.append(part)
        size += max(part.total or 0, part.count)
    return size


def _decoded(sent: Raw) -> Listing | list[Raw] | str:
    """A list, or why it is none. The vendor's documents also show it bare, without its count."""
    try:
        return _LISTING.decode(sent)
    except ILLEGIBLE as e:
        return str(e)
