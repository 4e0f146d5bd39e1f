"""How the simulated Jenkins answers a request: who asks, what they may see, and its pages of refusal."""

from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
from aiohttp import web

from tidegate.demo.remotes.jenkins_items import Folder, Item, Job
from tidegate.demo.remotes.jenkins_tree import Bean, Tree, TreeError, export, parse_tree

if TYPE_CHECKING:
    from tidegate.demo.remotes.jenkins import JenkinsController

_OVERALL_READ = "hudson.model.Hudson.Read"
_ITEM_READ = "hudson.model.Item.Read"
# What is exported without a tree: one level, and a few members of what is in it (recorded answers).
_PLAIN_BELOW = {
    "jobs": "[name,url,color]",
    "builds": "[number,url]",
    "firstBuild": "[number,url]",
    "lastBuild": "[number,url]",
    "lastCompletedBuild": "[number,url]",
    "actions": "[causes[shortDescription,userId,userName],parameters[name,value],totalCount,failCount,"
    "skipCount,urlName,lastBuiltRevision[SHA1,branch[SHA1,name]],remoteUrls]",
}


class _Refused(Exception):
    """An answer that is a page for people instead of data."""

    def __init__(
        self, status: int, title: str, headers: dict[str, str] | None = None, more: str = ""
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.headers = headers or {}
        self.more = more


class _Shown(Bean):
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
            return [_Shown(i, self._user, self._root, self._view) for i in items if may_read(i, self._user)]
        return member


class _View(Bean):
    """A named selection of jobs; direct children only (recorded answers)."""

    members: tuple[str, ...] = ("description", "jobs", "name", "property", "url")
    exported_class = "hudson.model.ListView"

    def __init__(self, name: str, jobs: list[_Shown]) -> None:
        self._name = name
        self._jobs = jobs

    def member(self, name: str) -> object:
        return {"name": self._name, "jobs": self._jobs, "property": []}.get(name)


class Desk:
    """Answers requests from the model of a controller."""

    def __init__(self, controller: "JenkinsController") -> None:
        self._model = controller

    def answer(self, request: web.Request) -> web.Response:
        try:
            response = self._answer(request)
        except _Refused as refused:
            response = _page(refused)
        if not self._model.starting:
            # On every response, the refusals included (vendor docs).
            response.headers["X-Jenkins"] = self._model.version
            response.headers["X-Hudson"] = "1.395"
            response.headers["X-Jenkins-Session"] = "5e55107a"
        return response

    def _answer(self, request: web.Request) -> web.Response:
        if self._model.starting:
            raise _Refused(503, "Please wait while Jenkins is getting ready to work")
        path = request.raw_path.partition("?")[0]
        if not path.startswith(self._model.context + "/"):
            raise _Refused(404, "Not Found")
        if "//" in path:
            raise _Refused(400, "Ambiguous URI empty segment")
        user = self._user(request.headers.get("Authorization"))
        inner = path.removeprefix(self._model.context)
        if not inner.endswith("/api/json"):
            return self._human_page(path, inner, user)
        bean = self._find([unquote(step) for step in inner.removesuffix("/api/json").split("/")[1:]], user)
        try:
            tree = parse_tree(request.query["tree"]) if "tree" in request.query else _plain(bean)
        except TreeError as e:
            raise _Refused(400, f"Malformed tree: {e}") from e
        return web.Response(
            body=msgspec.json.encode(export(bean, tree)),
            headers={"Content-Type": "application/json;charset=utf-8"},
        )

    def _human_page(self, path: str, inner: str, user: str | None) -> web.Response:
        """A path without its last slash redirects to it (reported by users); then it is a page."""
        if inner != "/":
            self._find([unquote(step) for step in inner.strip("/").split("/")], user)
        if not path.endswith("/"):
            raise _Refused(302, "Found", {"Location": f"{path}/"})
        return web.Response(text="<html><body>Jenkins</body></html>", content_type="text/html")

    def _user(self, authorization: str | None) -> str | None:
        """Who asks, None for anonymous. A wrong API token is refused, while a bearer token that nobody
        understands is ignored (general knowledge, to be taken as the harder case).
        """
        kind, _, value = (authorization or "").partition(" ")
        if kind == "Bearer":
            return self._model.bearers.get(value)
        if kind != "Basic" or not self._model.root.secured:
            return None
        name, _, token = b64decode(value).decode().partition(":")
        if self._model.users.get(name) != token:
            raise _Refused(401, f"Invalid password/token for user: {name}")
        return name

    def _find(self, steps: list[str], user: str | None) -> Bean:
        if steps == ["whoAmI"]:
            return _Account(user, "hudson.security.WhoAmI")
        if not (user or self._model.anonymous_read or not self._model.root.secured):
            raise _forbidden(user, _OVERALL_READ)
        if steps == ["me"]:
            if user is None:
                raise _Refused(404, "Not Found")
            return _Account(user, "hudson.model.User")
        if steps[:1] == ["view"] and len(steps) > 1:
            return self._in_view(steps[1], steps[2:], user)
        return self._below(self._model.root, steps, user)

    def _in_view(self, name: str, steps: list[str], user: str | None) -> Bean:
        if name not in self._model.views:
            raise _Refused(404, "Not Found")
        if steps:
            return self._below(self._model.root, steps, user, f"/view/{name}")
        root = self._model.jenkins_url
        items = [self._model.item(full_name) for full_name in self._model.views[name]]
        return _View(name, [_Shown(i, user, root, f"/view/{name}") for i in items if may_read(i, user)])

    def _below(self, item: Item, steps: list[str], user: str | None, view: str = "") -> Bean:
        """`job/A/job/B` or `job/A/42`: each level needs its own `job` (reported by users)."""
        while steps:
            if isinstance(item, Folder) and steps[0] == "job" and len(steps) > 1:
                item, steps = self._child(item, steps[1], user), steps[2:]
            elif isinstance(item, Job) and len(steps) == 1:
                return _build(item, steps[0])
            elif isinstance(item, Folder) and steps == [""]:
                break
            else:
                raise _Refused(404, "Not Found")
        return _Shown(item, user, self._model.jenkins_url, view)

    def _child(self, folder: Folder, name: str, user: str | None) -> Item:
        """What may not be read looks as if it were not there, unless the user may discover it."""
        item = folder.items.get(name)
        if item is None:
            raise _Refused(404, "Not Found")
        if may_read(item, user):
            return item
        if (user or "anonymous") in item.discoverers:
            raise _forbidden(user, _ITEM_READ)
        raise _Refused(404, "Not Found")


class _Account(Bean):
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


def _build(job: Job, step: str) -> Bean:
    """A build by its number, or by a name like `lastBuild`."""
    build = job.member(step) if step.startswith("last") else None
    if step.isdigit():
        build = job.builds.get(int(step))
    if not isinstance(build, Bean):
        raise _Refused(404, "Not Found")
    return build


def _plain(bean: Bean) -> Tree:
    names = [name for name in bean.members if name != "allBuilds"]
    return parse_tree(",".join(name + _PLAIN_BELOW.get(name, "") for name in names))


def _forbidden(user: str | None, permission: str) -> _Refused:
    """With the permission in headers and in a comment; strangers are sent to the login (recorded answer)."""
    account = user or "anonymous"
    headers = {
        "X-You-Are-Authenticated-As": account,
        "X-Required-Permission": permission,
        "X-Permission-Implied-By": "hudson.model.Hudson.Administer",
    }
    title = "Authentication required" if user is None else f"{account} is missing a permission"
    return _Refused(403, title, headers, f"<!-- Permission you need to have (but didn't): {permission} -->")


def _page(refused: _Refused) -> web.Response:
    login = "<meta http-equiv='refresh' content='1;url=/login'/>" if "required" in refused.title else ""
    head = f"<html><head>{login}<title>{refused.title}</title></head>"
    body = f"{head}<body>{refused.title}{refused.more}</body></html>"
    return web.Response(status=refused.status, text=body, content_type="text/html", headers=refused.headers)
