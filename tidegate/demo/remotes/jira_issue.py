"""An issue of the simulated Jira in one of its states, and the JSON that Jira makes of it."""

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import ClassVar
from zlib import crc32

import msgspec
from msgspec import Raw

from tidegate.demo.remotes.jira_lists import Change, Comment, Lists, Worklog

_CATEGORIES = {"to do": "new", "open": "new", "backlog": "new", "done": "done", "closed": "done"}
_CATEGORY_IDS = {"new": (2, "blue-gray", "To Do"), "indeterminate": (4, "yellow", "In Progress")}
_DONE = (3, "green", "Done")

# Fields that a site's apps add; most are empty on most issues (seen in recorded answers).
_EMPTY_FIELDS = tuple(f"customfield_{number}" for number in range(10022, 10062))
_TEXT = (
    "The nightly import stops after the first batch when the source has rows without an owner. "
    "Steps: take a copy of last night's file, start the import, look at the last line of the log. "
    "Expected: rows without an owner are put aside and the import goes on. "
)


class Person(msgspec.Struct, frozen=True):
    """An account of the site. `zone` is the time zone of its profile, in which its queries are read.

    `login` is the name that Data Center knows it by; `account_id` is then its key.
    """

    account_id: str
    name: str
    email: str
    zone: str = "UTC"
    login: str = ""


class Issue(msgspec.Struct, frozen=True):
    """One state of an issue; a change makes a new one with a higher `revision`."""

    id: int
    project: str
    number: int
    summary: str
    created: datetime
    updated: datetime
    revision: int
    type: str = "Task"
    status: str = "To Do"
    priority: str = "Medium"
    resolution: str | None = None
    resolved: datetime | None = None
    assignee: str | None = None
    reporter: str | None = None
    labels: tuple[str, ...] = ()
    parent: int | None = None
    due: str | None = None
    description: str = _TEXT
    time_spent: int | None = None
    #: All three the oldest first.
    history: tuple[Change, ...] = ()
    comments: tuple[Comment, ...] = ()
    worklogs: tuple[Worklog, ...] = ()
    #: Members that replace rendered fields, raw JSON by name: for remotes that send odd things.
    odd: Mapping[str, bytes] = {}

    @property
    def key(self) -> str:
        return f"{self.project}-{self.number}"

    @property
    def status_category(self) -> str:
        return _CATEGORIES.get(self.status.lower(), "indeterminate")


class Renderer:
    """Makes the JSON of issues as the REST API v3 shows them with all fields, about 6 KB each."""

    version = "3"
    #: How many of its lists' entries an issue comes with (reported by users).
    embedded: ClassVar[Mapping[str, int | None]] = {"histories": 40, "comments": 20, "worklogs": 20}

    def __init__(self, site: str, zone: tzinfo, person: Callable[[str], Person | None]) -> None:
        """`zone` is the site's: its offset, without a colon, is in all times (seen in recorded answers)."""
        self.site = site
        self._zone = zone
        self._person = person
        self._parts: dict[tuple[str, str], Raw] = {}
        self.lists = Lists(self, self.embedded)

    def render(self, issue: Issue, parent: Issue | None = None) -> bytes:
        """Members that are not set are null, as for `fields=*all` (seen in recorded answers)."""
        fields: dict[str, object] = dict.fromkeys(_EMPTY_FIELDS)
        fields |= self._people(issue)
        fields |= self._kinds(issue)
        fields |= self._plain(issue)
        if parent is not None:
            fields["parent"] = {
                "id": str(parent.id),
                "key": parent.key,
                "self": self.link("issue", str(parent.id)),
                "fields": {"summary": parent.summary, "status": self._status(parent)},
            }
        fields |= {name: Raw(value) for name, value in issue.odd.items()}
        return msgspec.json.encode(
            {
                "expand": "renderedFields,names,schema,operations,editmeta,changelog",
                "id": str(issue.id),
                "self": self.link("issue", str(issue.id)),
                "key": issue.key,
                "fields": fields,
            }
        )

    def _people(self, issue: Issue) -> dict[str, object]:
        reporter = self.user(issue.reporter)
        return {"assignee": self.user(issue.assignee), "reporter": reporter, "creator": reporter}

    def _kinds(self, issue: Issue) -> dict[str, object]:
        return {
            "project": self._part("project", issue.project, self._project),
            "issuetype": self._part("issuetype", issue.type, self._kind("issuetype", subtask=False)),
            "priority": self._part("priority", issue.priority, self._kind("priority")),
            "status": self._status(issue),
            "resolution": self._part("resolution", issue.resolution, self._kind("resolution"))
            if issue.resolution
            else None,
        }

    def _plain(self, issue: Issue) -> dict[str, object]:
        spent = issue.time_spent
        return {
            "summary": issue.summary,
            "description": self.rich_text(issue.description),
            "created": self.stamp(issue.created),
            "updated": self.stamp(issue.updated),
            "statuscategorychangedate": self.stamp(issue.created),
            "resolutiondate": self.stamp(issue.resolved) if issue.resolved else None,
            "lastViewed": None,
            "duedate": issue.due,
            "labels": issue.labels,
            "components": [],
            "versions": [],
            "fixVersions": [],
            "issuelinks": [],
            "subtasks": [],
            "attachment": [],
            "environment": None,
            "security": None,
            "timespent": spent,
            "timeoriginalestimate": None,
            "timeestimate": None,
            "workratio": -1,
            "progress": {"progress": spent or 0, "total": spent or 0},
            "aggregateprogress": {"progress": spent or 0, "total": spent or 0},
            "timetracking": {"timeSpentSeconds": spent} if spent else {},
            "comment": self.lists.comments(issue),
            "worklog": self.lists.worklogs(issue),
            "votes": {"self": self.link("issue", f"{issue.key}/votes"), "votes": 0, "hasVoted": False},
            "watches": {
                "self": self.link("issue", f"{issue.key}/watchers"),
                "watchCount": 1,
                "isWatching": False,
            },
            "customfield_10019": f"0|i{issue.id:05d}:",
            "customfield_10000": "{}",
            "customfield_10018": {
                "hasEpicLinkFieldDependency": False,
                "showField": False,
                "nonEditableReason": {
                    "reason": "PLUGIN_LICENSE_ERROR",
                    "message": "The Parent Link is only available to Jira Premium users.",
                },
            },
        }

    def rich_text(self, text: str) -> object:
        """A document as JSON (OpenAPI document)."""
        paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
        return {"type": "doc", "version": 1, "content": [paragraph]}

    def stamp(self, moment: datetime) -> str:
        text = moment.astimezone(self._zone).isoformat(timespec="milliseconds")
        return text[:-3] + text[-2:]

    def person(self, person: Person) -> dict[str, object]:
        """As in issues; `/myself` has more."""
        picture = f"https://avatar-management--avatars.example.net/initials/{person.name[:1]}-2.png"
        return {
            "self": self.link("user?accountId=", person.account_id),
            "accountId": person.account_id,
            "emailAddress": person.email,
            "avatarUrls": {f"{size}x{size}": f"{picture}?size={size}&s={size}" for size in (48, 24, 16, 32)},
            "displayName": person.name,
            "active": True,
            "timeZone": person.zone,
            "accountType": "atlassian",
        }

    def link(self, kind: str, name: str) -> str:
        return f"{self.site}/rest/api/{self.version}/{kind}{'' if kind.endswith('=') else '/'}{name}"

    def _part(self, kind: str, name: str, make: Callable[[str], object]) -> Raw:
        """Rendered once: the same few people, projects and statuses are in all issues."""
        part = self._parts.get((kind, name))
        if part is None:
            part = self._parts[kind, name] = Raw(msgspec.json.encode(make(name)))
        return part

    def user(self, account_id: str | None) -> Raw | None:
        person = self._person(account_id) if account_id else None
        return self._part("user", person.account_id, lambda _: self.person(person)) if person else None

    def _status(self, issue: Issue) -> Raw:
        category = issue.status_category
        number, colour, name = _CATEGORY_IDS.get(category, _DONE)
        shown = {
            "self": self.link("statuscategory", str(number)),
            "id": number,
            "key": category,
            "colorName": colour,
            "name": name,
        }
        kind = self._kind("status", description="", statusCategory=shown)
        return self._part("status", issue.status, kind)

    def _kind(self, kind: str, **more: object) -> Callable[[str], object]:
        def make(name: str) -> object:
            number = str(10_000 + crc32(name.encode()) % 1000)
            return {
                "self": self.link(kind, number),
                "iconUrl": f"{self.site}/images/icons/{kind}.svg",
                "name": name,
                "id": number,
                **more,
            }

        return make

    def _project(self, key: str) -> object:
        picture = f"{self.site}/rest/api/{self.version}/universal_avatar/view/type/project/avatar/10403"
        return {
            "self": self.link("project", key),
            "id": "10000",
            "key": key,
            "name": f"Project {key}",
            "projectTypeKey": "software",
            "simplified": False,
            "avatarUrls": {f"{size}x{size}": f"{picture}?size={size}" for size in (48, 24, 16, 32)},
        }


class ServerRenderer(Renderer):
    """The same as Jira Data Center shows it: REST v2, plain text, accounts with name and key."""

    version = "2"
    #: Histories and comments are not cut here (seen in recorded answers), worklogs are (reported by users).
    embedded: ClassVar[Mapping[str, int | None]] = {"histories": None, "comments": None, "worklogs": 20}

    def rich_text(self, text: str) -> object:
        """Wiki text (seen in recorded answers)."""
        return text

    def person(self, person: Person) -> dict[str, object]:
        """No accountId (seen in recorded answers)."""
        picture = f"{self.site}/secure/useravatar"
        return {
            "self": self.link("user?username=", person.login),
            "name": person.login,
            "key": person.account_id,
            "emailAddress": person.email,
            "avatarUrls": {f"{size}x{size}": f"{picture}?avatarId=10{size}" for size in (48, 24, 16, 32)},
            "displayName": person.name,
            "active": True,
            "deleted": False,
            "timeZone": person.zone,
        }
