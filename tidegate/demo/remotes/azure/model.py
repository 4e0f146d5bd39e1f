"""The contents of a simulated organisation: projects and work items, changed by plain methods."""

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random

import msgspec

from tidegate.demo.remotes.azure.ci import Ci
from tidegate.demo.remotes.azure.render import Person, Refusal, guid, no_project, time_text

_WORDS = (
    "timeline upload avatar search index retry cache login quota banner export import report thread mention "
    "digest mobile layout worker queue schema token invite archive filter notification"
).split()
_PATHS = ("System.TeamProject", "System.AreaPath", "System.IterationPath")
_TYPES = ("Bug", "Task", "User Story", "Feature")
_STATES = ("New", "Active", "Resolved", "Closed")


class Project(msgspec.Struct):
    """A project. `revision` grows with each change of its own properties."""

    id: str
    name: str
    description: str
    visibility: str
    state: str
    revision: int
    updated: datetime


class View(msgspec.Struct, frozen=True):
    """What queries see of a work item from `at` on."""

    at: datetime
    project: str
    fields: Mapping[str, object]
    listed: bool


class Item(msgspec.Struct):
    """A work item. `deleted` is set while it lies in the recycle bin. `fields` is replaced, never changed."""

    id: int
    project: str
    rev: int
    fields: dict[str, object]
    relations: list[dict[str, object]]
    views: list[View]
    deleted: datetime | None = None
    hidden: bool = False
    fields_json: bytes = b""


class Organisation:
    """Projects and work items with the vendor's rules: ids grow, each change makes a revision."""

    def __init__(self, name: str, now: Callable[[], datetime]) -> None:
        self.name = name
        self.now = now
        self.me = Person("Ada Sync", "ada.sync@example.com")
        self.people = [
            Person("Grace Park", "grace.park@example.com"),
            Person("Jörg Müller", "joerg.mueller@example.com"),
            Person("Noor Haddad", "noor.haddad@example.com"),
            self.me,
        ]
        self.projects: dict[str, Project] = {}
        self.items: dict[int, Item] = {}
        self.ci = Ci(now, self.people)
        #: Told of each event of a work item: its kind, the item, and its fields before.
        self.told: Callable[[str, Item, Mapping[str, object]], None] = lambda *_: None
        #: Projects, by id, that are not shown to the account.
        self.withheld: set[str] = set()
        self._next_id = 1
        self._revision = 10

    # --- projects

    def create_project(
        self, name: str, description: str = "", visibility: str = "private", state: str = "wellFormed"
    ) -> Project:
        self._revision += 1
        project = Project(
            guid(self.name, len(self.projects)),
            name,
            description,
            visibility,
            state,
            self._revision,
            self.now(),
        )
        self.projects[project.id] = project
        return project

    def project(self, name: str) -> Project:
        """By name in any case, or by id; one in the bin is not found (vendor docs)."""
        for project in self.projects.values():
            if name.casefold() in (project.name.casefold(), project.id) and project.state != "deleted":
                return project
        raise no_project(name)

    def change_project(self, name: str, /, **changes: str) -> Project:
        """Set `name`, `description`, `visibility` or `state`."""
        project = self.project(name)
        for attribute, value in changes.items():
            setattr(project, attribute, value)
        self._revision += 1
        project.revision, project.updated = self._revision, self.now()
        for item in self._inside(project):
            self._place(item, project)
        return project

    def delete_project(self, name: str) -> None:
        """Into the bin, for 28 days; its work items are gone at once."""
        project = self.change_project(name, state="deleted")
        for item in self._inside(project):
            self._see(item)

    def purge_project(self, project_id: str) -> None:
        """Out of the bin, without a trace."""
        for item in self._inside(self.projects[project_id]):
            del self.items[item.id]
        for build in [build for build in self.ci.builds.values() if build.project == project_id]:
            self.ci.purge(build.id)
        del self.projects[project_id]

    def withhold(self, name: str, *, withheld: bool = True) -> None:
        """As if the account were no member any more: the project looks like one that never was."""
        project = self.project(name)
        (self.withheld.add if withheld else self.withheld.discard)(project.id)
        for item in self._inside(project):
            self._see(item)

    def _inside(self, project: Project) -> list[Item]:
        return [item for item in self.items.values() if item.project == project.id]

    # --- work items

    def create(self, project: str, title: str, kind: str = "Task", **fields: object) -> Item:
        """A new work item; `fields` by reference name, given as a mapping with `**`."""
        home = self.project(project)
        now = time_text(self.now())
        first: dict[str, object] = {
            "System.AreaPath": home.name,
            "System.TeamProject": home.name,
            "System.IterationPath": f"{home.name}\\Sprint 1",
            "System.WorkItemType": kind,
            "System.State": "New",
            "System.Reason": "New",
            "System.CreatedDate": now,
            "System.CreatedBy": self.me.reference(self.name),
            "System.CommentCount": 0,
            "System.Title": title,
            "System.BoardColumn": "New",
            "System.BoardColumnDone": False,
            "Microsoft.VSTS.Common.StateChangeDate": now,
            "Microsoft.VSTS.Common.Priority": 2,
        }
        item = Item(self._next_id, home.id, 0, first | fields, [], [])
        self._next_id += 1
        self.items[item.id] = item
        self._revise(item, {}, now)
        self.told("workitem.created", item, {})
        return item

    def update(self, item_id: int, changes: Mapping[str, object]) -> Item:
        """Set fields by reference name; None empties one, and an empty field is left out of answers."""
        item, now = self._there(item_id), time_text(self.now())
        before = item.fields
        if changes.get("System.State", item.fields["System.State"]) != item.fields["System.State"]:
            closed = now if changes["System.State"] == "Closed" else None
            changes = {
                "Microsoft.VSTS.Common.StateChangeDate": now,
                "Microsoft.VSTS.Common.ClosedDate": closed,
                **changes,
            }
        self._revise(item, changes, now)
        self.told("workitem.updated", item, before)
        return item

    def comment(self, item_id: int, text: str) -> Item:
        """A remark makes a revision, and is told as an update, too (reported by users)."""
        count = self._there(item_id).fields["System.CommentCount"]
        assert isinstance(count, int)
        item = self.update(item_id, {"System.CommentCount": count + 1, "System.History": text})
        self.told("workitem.commented", item, {})
        return item

    def link(self, parent_id: int, child_id: int) -> None:
        """Make one the other's parent; both get a revision (reported by users)."""
        parent, child = self._there(parent_id), self._there(child_id)
        parent.relations.append(self._relation("Forward", "Child", child))
        child.relations.append(self._relation("Reverse", "Parent", parent))
        self._revise(parent, {})
        self._revise(child, {"System.Parent": parent.id})

    def move(self, item_id: int, project: str) -> Item:
        """To another project: the id stays, the project and both paths change."""
        item, home = self._there(item_id), self.project(project)
        item.project, before = home.id, item.fields
        self._revise(item, dict.fromkeys(_PATHS, home.name))
        self.told("workitem.updated", item, before)
        return item

    def delete(self, item_id: int) -> None:
        """Into the recycle bin: out of queries, and not found by id (vendor docs)."""
        item = self._there(item_id)
        item.deleted = self.now()
        self._see(item)
        self.told("workitem.deleted", item, {})

    def restore(self, item_id: int) -> Item:
        """Out of the recycle bin, with a new revision."""
        item = self.items[item_id]
        item.deleted = None
        self._revise(item, {})
        self.told("workitem.restored", item, {})
        return item

    def destroy(self, item_id: int) -> None:
        """For good: nothing tells that it ever was."""
        del self.items[item_id]

    def hide(self, item_id: int, *, hidden: bool = True) -> None:
        """As if its area path were withheld from the account: not found, and not in the bin either."""
        item = self.items[item_id]
        item.hidden = hidden
        self._see(item)

    def readable(self, item_id: int) -> Item | None:
        item = self.items.get(item_id)
        return item if item and self._listed(item) else None

    def binned(self, item_id: int, project: Project | None) -> dict[str, object] | None:
        """An entry of the recycle bin, of one project or of all (documented examples)."""
        item = self.items.get(item_id)
        if item is None or item.deleted is None or item.hidden or item.project in self.withheld:
            return None
        if project is not None and project.id != item.project:
            return None
        return {
            "id": item.id,
            "type": item.fields["System.WorkItemType"],
            "name": item.fields["System.Title"],
            "project": item.fields["System.TeamProject"],
            "deletedDate": time_text(item.deleted),
            "deletedBy": f"{self.me.name} <{self.me.mail}>",
            "code": 200,
            "url": f"https://dev.azure.com/{self.name}/_apis/wit/recycleBin/{item.id}",
        }

    def seed(self, count: int, random: Random, project: str = "newtwitterclone") -> None:
        """So many plausible work items, in a project that is made if missing."""
        if all(project.casefold() != known.name.casefold() for known in self.projects.values()):
            self.create_project(project, "Where short messages meet.")
        stories = [" ".join(random.choices(_WORDS, k=120)) for _ in range(40)]
        for number in range(count):
            kind, state = random.choice(_TYPES), random.choice(_STATES)
            fields: dict[str, object] = {
                "System.State": state,
                "System.AssignedTo": random.choice(self.people).reference(self.name),
                "System.Tags": "; ".join(sorted(random.sample(_WORDS, 2))),
                "System.Description": f"<div>{random.choice(stories)}</div>",
                "Microsoft.VSTS.Common.Priority": random.randint(1, 4),
                "Microsoft.VSTS.Scheduling.StoryPoints": float(random.choice((1, 2, 3, 5, 8))),
            }
            self.create(project, f"{' '.join(random.sample(_WORDS, 4))} {number}", kind, **fields)

    def seed_builds(self, count: int, random: Random, project: str = "newtwitterclone") -> None:
        """So many finished builds over three new pipelines of a project."""
        self.ci.seed(self.project(project).id, count, random)

    def _there(self, item_id: int) -> Item:
        item = self.readable(item_id)
        if item is None:
            raise no_item(item_id)
        return item

    def _relation(self, direction: str, name: str, other: Item) -> dict[str, object]:
        return {
            "rel": f"System.LinkTypes.Hierarchy-{direction}",
            "url": self.item_url(other),
            "attributes": {"isLocked": False, "name": name},
        }

    def item_url(self, item: Item) -> str:
        return f"https://dev.azure.com/{self.name}/{item.project}/_apis/wit/workItems/{item.id}"

    def _revise(self, item: Item, changes: Mapping[str, object], now: str = "") -> None:
        item.rev += 1
        changed = {
            "System.ChangedDate": now or time_text(self.now()),
            "System.ChangedBy": self.me.reference(self.name),
        }
        fields = {**item.fields, **changed, **changes}
        item.fields = {name: value for name, value in fields.items() if value is not None}
        self._see(item)

    def _place(self, item: Item, project: Project) -> None:
        """A renamed project renames the first part of every path in it, without a revision."""
        fields = dict(item.fields)
        for field in _PATHS:
            _, slash, rest = str(fields[field]).partition("\\")
            fields[field] = f"{project.name}{slash}{rest}"
        item.fields = fields
        self._see(item)

    def _see(self, item: Item) -> None:
        item.fields_json = b""
        item.views.append(View(self.now(), item.project, item.fields, self._listed(item)))
        del item.views[:-10]

    def _listed(self, item: Item) -> bool:
        project = self.projects.get(item.project)
        shown = not item.deleted and not item.hidden and item.project not in self.withheld
        return shown and project is not None and project.state != "deleted"


def project_members(organisation: str, project: Project) -> dict[str, object]:
    """A project as it is shown in lists, builds and definitions (seen in recorded answers)."""
    return {
        "id": project.id,
        "name": project.name,
        **({"description": project.description} if project.description else {}),
        "url": f"https://dev.azure.com/{organisation}/_apis/projects/{project.id}",
        "state": project.state,
        "revision": project.revision,
        "visibility": project.visibility,
        "lastUpdateTime": time_text(project.updated),
    }


def no_item(item_id: int) -> Refusal:
    """Reported by users."""
    return Refusal(
        404,
        f"TF401232: Work item {item_id} does not exist, or you do not have permissions to read it.",
        "WorkItemUnauthorizedAccessException",
    )
