"""What a simulated Jira site holds: accounts, projects, filters, issues, and an index that may lag."""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.jira_issue import Issue, Person, Renderer
from tidegate.demo.remotes.jira_lists import Change, Comment, Item, Worklog, items_between
from tidegate.demo.remotes.jira_query import Query

SITE = "https://tidegate-demo.atlassian.net"
_KEPT_BODIES = 25_000
_KEPT_RESULTS = 64
_NO_HISTORY = b'{"startAt":0,"maxResults":0,"total":0,"histories":[]}'


class Filter(msgspec.Struct):
    id: int
    name: str
    jql: str
    owner: str
    shared: bool = True


class JiraModel:
    """The state of a site. Methods are what people and apps do there; ids and times are deterministic."""

    def __init__(
        self, clock: Clock, zone: str = "UTC", site: str = SITE, renderer: type[Renderer] = Renderer
    ) -> None:
        """`zone` is the site's own time zone: of the times in issues and of searches by strangers.

        `site` is the address that it believes to have, as it stands in bodies.
        """
        self.clock = clock
        self.zone = ZoneInfo(zone)
        #: How long after a change searches find it. Changes made now keep the lag of now.
        self.lag = timedelta()
        #: Whether people without an account may look.
        self.public = False
        #: Whether a stranger's query that names a project is refused instead of finding nothing.
        self.strict_to_strangers = False
        #: Whether a query that names an issue which is not there is refused.
        self.refuses_unknown_issues = True
        self.people: dict[str, Person] = {}
        #: The ids of accounts with the permission to administer Jira.
        self.administrators: set[str] = set()
        self.tokens: dict[tuple[str, str], str] = {}
        self.projects: dict[str, int] = {}
        self.hidden_projects: set[str] = set()
        self.filters: dict[int, Filter] = {}
        self.issues: dict[int, Issue] = {}
        self.index: dict[int, Issue] = {}
        self.renderer = renderer(site, self.zone, self.people.get)
        self._pending: deque[tuple[datetime, int, int, Issue | None]] = deque()
        self._aliases: dict[str, int] = {}
        self._bodies: dict[int, tuple[int, bytes]] = {}
        self._results: dict[tuple[str, str | None], tuple[int, list[Issue]]] = {}
        self._revision = 0
        self._index_revision = 0
        self._issue_id = 10_000
        self._filter_id = 12_344
        self._entry_id = 10_000
        self._histories: dict[int, tuple[int, bytes]] = {}

    # People

    def add_account(self, email: str, token: str, zone: str = "UTC", name: str = "") -> Person:
        """An account with an API token, used as Basic `email:token`."""
        number = len(self.people) + 1
        person = Person(f"5b10ac8d82e05b22cc7d{number:04d}", name or email.partition("@")[0], email, zone)
        self.people[person.account_id] = person
        self.tokens[email, token] = person.account_id
        return person

    def revoke(self, token: str) -> None:
        """The token is worth nothing from now on."""
        self.tokens = {known: who for known, who in self.tokens.items() if known[1] != token}

    # Projects and filters

    def add_project(self, key: str) -> str:
        self.projects.setdefault(key, 0)
        return key

    def hide_project(self, key: str) -> None:
        """No account of ours may browse it any more."""
        self.hidden_projects.add(key)
        self._index_revision += 1

    def add_filter(self, jql: str, name: str = "", owner: str = "", *, shared: bool = True) -> int:
        """A saved filter; its id. `owner` is an account id, who always sees it."""
        self._filter_id += 1
        self.filters[self._filter_id] = Filter(
            self._filter_id, name or f"Filter {self._filter_id}", jql, owner, shared
        )
        return self._filter_id

    # Issues

    def create_issue(self, project: str, summary: str, **members: Any) -> Issue:
        """A new issue; `members` are those of `Issue`."""
        self._issue_id += 1
        issue = self._new(self._issue_id, project, summary, members)
        self._store(issue)
        return issue

    def update_issue(self, issue_id: int, *, silently: bool = False, **members: Any) -> Issue:
        """Change members. `silently` leaves `updated` alone, as for votes and watches (reported by users)."""
        if not silently:
            members.setdefault("updated", self.clock.now())
        self._revision += 1
        before = self.issues[issue_id]
        issue = msgspec.structs.replace(before, revision=self._revision, **members)
        if not silently and (items := items_between(before, issue)):
            issue = msgspec.structs.replace(issue, history=(*issue.history, self._change(items)))
        self._store(issue)
        return issue

    # What issues have lists of. All of this moves `updated` (reported by users; the older server's code).

    def change_often(self, issue_id: int, times: int) -> Issue:
        """So many further entries in the history, a second apart and before now."""
        issue, now = self.issues[issue_id], self.clock.now()
        made = (self._change((Item("summary", f"Draft {n}", f"Draft {n + 1}"),)) for n in range(times))
        dated = tuple(
            msgspec.structs.replace(change, created=now - timedelta(seconds=times - n))
            for n, change in enumerate(made)
        )
        return self.update_issue(issue_id, history=(*issue.history, *dated))

    def add_comment(self, issue_id: int, text: str, role: str | None = None) -> Comment:
        now, issue = self.clock.now(), self.issues[issue_id]
        comment = Comment(self._entry(), now, now, text, issue.reporter, role)
        self.update_issue(issue_id, comments=(*issue.comments, comment))
        return comment

    def edit_comment(self, issue_id: int, comment_id: int, text: str) -> None:
        now, issue = self.clock.now(), self.issues[issue_id]
        edited = tuple(
            msgspec.structs.replace(one, text=text, updated=now) if one.id == comment_id else one
            for one in issue.comments
        )
        self.update_issue(issue_id, comments=edited)

    def delete_comment(self, issue_id: int, comment_id: int) -> None:
        """It leaves its text in the history (the older server's code)."""
        issue = self.issues[issue_id]
        (gone,) = [one for one in issue.comments if one.id == comment_id]
        change = self._change((Item("Comment", gone.text, None),))
        kept = tuple(one for one in issue.comments if one.id != comment_id)
        self.update_issue(issue_id, comments=kept, history=(*issue.history, change))

    def log_work(self, issue_id: int, spent: int, text: str = "") -> Worklog:
        """`spent` in seconds."""
        now, issue = self.clock.now(), self.issues[issue_id]
        worklog = Worklog(self._entry(), now, now, now, spent, text, issue.reporter)
        self._worklogs(issue_id, (*issue.worklogs, worklog))
        return worklog

    def delete_worklog(self, issue_id: int, worklog_id: int) -> None:
        kept = tuple(one for one in self.issues[issue_id].worklogs if one.id != worklog_id)
        self._worklogs(issue_id, kept)

    def _worklogs(self, issue_id: int, worklogs: tuple[Worklog, ...]) -> None:
        """The time spent is in the history, too (seen in recorded answers)."""
        issue, spent = self.issues[issue_id], sum(one.spent for one in worklogs)
        change = self._change((Item("timespent", str(issue.time_spent or 0), str(spent)),))
        history = (*issue.history, change)
        self.update_issue(issue_id, worklogs=worklogs, time_spent=spent, history=history)

    def _change(self, items: tuple[Item, ...]) -> Change:
        author = next(iter(self.people), None)
        return Change(self._entry(), self.clock.now(), items, author)

    def _entry(self) -> int:
        """Ids of entries are also ids of issues: only within one kind are they unique."""
        self._entry_id += 1
        return self._entry_id

    def histories(self, issue: Issue) -> bytes:
        """The JSON of an issue's history as searches expand it, kept until it changes."""
        if not issue.history:
            return _NO_HISTORY
        revision, body = self._histories.get(issue.id, (0, b""))
        if revision != issue.revision:
            body = self.renderer.lists.histories(issue)
            self._histories[issue.id] = (issue.revision, body)
        return body

    def move_issue(self, issue_id: int, project: str) -> Issue:
        """The same issue under a new key; the old key leads to it (OpenAPI document, get issue)."""
        self._aliases[self.issues[issue_id].key] = issue_id
        number = self.projects[project] = self.projects.get(project, 0) + 1
        return self.update_issue(issue_id, project=project, number=number)

    def delete_issue(self, issue_id: int) -> None:
        self.changed(self.issues.pop(issue_id), None)
        self._bodies.pop(issue_id, None)
        self._revision += 1
        self._to_index(issue_id, None)

    def seed(self, count: int, project: str = "TG", spread: timedelta = timedelta(minutes=1)) -> list[Issue]:
        """Many issues at once, `spread` apart, the youngest an hour old; about 6 KB of JSON each."""
        self.add_project(project)
        newest = self.clock.now() - timedelta(hours=1)
        people: list[str | None] = [*self.people] or [None]
        statuses, kinds = ("To Do", "In Progress", "Done"), ("Task", "Bug", "Story")
        issues = []
        for at in range(count):
            self._issue_id += 1
            moment = newest - spread * (count - 1 - at)
            members = {
                "created": moment,
                "updated": moment,
                "status": statuses[at % 3],
                "type": kinds[at % 3],
                "assignee": people[at % len(people)],
                "reporter": people[(at + 1) % len(people)],
                "labels": (f"area-{at % 7}",),
            }
            issue = self._new(self._issue_id, project, f"Import {at} stops at an empty row", members)
            issues.append(issue)
            self.issues[issue.id] = self.index[issue.id] = issue
        self._index_revision += 1
        for issue in issues[:_KEPT_BODIES]:
            self.body(issue)
        return issues

    def body(self, issue: Issue) -> bytes:
        """The issue's JSON with all fields, kept until it changes."""
        revision, body = self._bodies.get(issue.id, (0, b""))
        if revision == issue.revision:
            return body
        parent = self.issues.get(issue.parent) if issue.parent else None
        body = self.renderer.render(issue, parent)
        if len(self._bodies) < _KEPT_BODIES or issue.id in self._bodies:
            self._bodies[issue.id] = (issue.revision, body)
        return body

    def send_instead(self, issue_id: int, body: bytes) -> None:
        """Until it changes, this is what is sent for the issue."""
        self._bodies[issue_id] = (self.issues[issue_id].revision, body)

    def find(self, text: str) -> Issue | None:
        """A visible issue by id, or by its present or an earlier key."""
        issue = self.issues.get(int(text)) if text.isdigit() else self._by_key(text.upper())
        return issue if issue and issue.project not in self.hidden_projects else None

    def results(self, jql: str, account_id: str | None, query: Query) -> list[Issue]:
        """What the index holds for a query, in its order."""
        self._settle()
        known = self._results.get((jql, account_id))
        if known and known[0] == self._index_revision and not query.moving:
            return known[1]
        found = self.matching(self.index.values(), query)
        if len(self._results) >= _KEPT_RESULTS:
            self._results.pop(next(iter(self._results)))
        self._results[jql, account_id] = (self._index_revision, found)
        return found

    def reconciled(self, ids: Iterable[int], query: Query) -> list[Issue]:
        """The same, but by the present state of some issues (vendor docs: search and reconcile)."""
        self._settle()
        candidates = dict(self.index)
        for issue_id in ids:
            candidates.pop(issue_id, None)
            if issue_id in self.issues:
                candidates[issue_id] = self.issues[issue_id]
        return self.matching(candidates.values(), query)

    def matching(self, issues: Iterable[Issue], query: Query) -> list[Issue]:
        hidden = self.hidden_projects
        return query.sort(i for i in issues if i.project not in hidden and query.test(i))

    def _new(self, issue_id: int, project: str, summary: str, members: dict[str, Any]) -> Issue:
        self._revision += 1
        number = self.projects[project] = self.projects.get(project, 0) + 1
        now = self.clock.now()
        created = members.pop("created", now)
        updated = members.pop("updated", created)
        return Issue(issue_id, project, number, summary, created, updated, self._revision, **members)

    def _by_key(self, key: str) -> Issue | None:
        if key in self._aliases:
            return self.issues.get(self._aliases[key])
        return next((issue for issue in self.issues.values() if issue.key == key), None)

    def _store(self, issue: Issue) -> None:
        before = self.issues.get(issue.id)
        self.issues[issue.id] = issue
        self._to_index(issue.id, issue)
        self.changed(before, issue)

    def changed(self, before: Issue | None, after: Issue | None) -> None:
        """Called for every change of an issue, with None for what is not there."""

    def _to_index(self, issue_id: int, state: Issue | None) -> None:
        self._pending.append((self.clock.now() + self.lag, self._revision, issue_id, state))
        self._settle()

    def _settle(self) -> None:
        """Let the index learn what it may know by now; an older state never replaces a newer one."""
        now = self.clock.now()
        late: deque[tuple[datetime, int, int, Issue | None]] = deque()
        for entry in self._pending:
            at, revision, issue_id, state = entry
            if at > now:
                late.append(entry)
                continue
            known = self.index.get(issue_id)
            if known is None or known.revision < revision:
                self._index_revision += 1
                if state is None:
                    self.index.pop(issue_id, None)
                elif issue_id in self.issues:
                    self.index[issue_id] = state
        self._pending = late
