"""What one user sees of the simulated Jenkins: items without what may not be read, views, the account."""

from tidegate.demo.remotes.jenkins_items import Folder, Item
from tidegate.demo.remotes.jenkins_tree import Bean


class Shown(Bean):
    """An item as one user sees it: what may not be read is missing from the list (reported by users).

    Below a view, links carry the view's path (recorded answers).
    """

    def __init__(self, item: Item, user: str | None, root: str, view: str = "") -> None:
        self.exported_class = item.exported_class
        self.members = item.members
        self._item = item
        self._user = user
        self._root = root
        self._view = view

    def member(self, name: str) -> object:
        member = self._item.member(name)
        if name == "url" and self._view:
            return self._root + self._view + self._item.url.removeprefix(self._root)
        if name == "jobs" and isinstance(self._item, Folder):
            items = self._item.items.values()
            return [Shown(i, self._user, self._root, self._view) for i in items if may_read(i, self._user)]
        return member


class View(Bean):
    """A named selection of jobs, which may lie in folders (recorded answers), or of other views.

    A view of views exports an empty list of jobs (vendor's source).
    """

    members: tuple[str, ...] = ("description", "jobs", "name", "property", "url", "views")

    def __init__(self, name: str, url: str, jobs: list[Shown], views: list["View"] | None = None) -> None:
        self.exported_class = (
            "hudson.model.ListView" if views is None else "hudson.plugins.nested_view.NestedView"
        )
        if views is None:
            self.members = tuple(member for member in self.members if member != "views")
        self._exported = {"name": name, "url": url, "jobs": jobs, "property": [], "views": views}

    def member(self, name: str) -> object:
        return self._exported.get(name)


class Account(Bean):
    """Who asks; `whoAmI` answers everyone (general knowledge)."""

    members: tuple[str, ...] = ("anonymous", "authenticated", "authorities", "fullName", "id", "name")

    def __init__(self, user: str | None, exported_class: str) -> None:
        self.exported_class = exported_class
        self._user = user

    def member(self, name: str) -> object:
        known = self._user is not None
        said = {"anonymous": not known, "authenticated": known, "authorities": ["authenticated"]}
        return said.get(name, self._user or "anonymous")


def may_read(item: Item, user: str | None) -> bool:
    return item.readers is None or (user or "anonymous") in item.readers
