"""How the simulated Jenkins answers a request: who asks, what they may see, and what is at a path."""

from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web

from tidegate.demo.remotes import jenkins_refusals as refusals
from tidegate.demo.remotes.jenkins_items import Folder, Item, Job
from tidegate.demo.remotes.jenkins_kinds import MatrixJob
from tidegate.demo.remotes.jenkins_refusals import OVERALL_READ, Refused
from tidegate.demo.remotes.jenkins_shown import Account, Shown, View, may_read
from tidegate.demo.remotes.jenkins_tree import Bean, Tree, TreeError, export, parse_tree

if TYPE_CHECKING:
    from tidegate.demo.remotes.jenkins import JenkinsController

_ITEM_READ = "hudson.model.Item.Read"
# What is exported without a tree: one level, and a few members of what is in it (recorded answers).
_PLAIN_BELOW = {
    "jobs": "[name,url,color]",
    "views": "[name,url]",
    "activeConfigurations": "[name,url,color]",
    "modules": "[name,url,color,displayName]",
    "builds": "[number,url]",
    "runs": "[number,url]",
    "firstBuild": "[number,url]",
    "lastBuild": "[number,url]",
    "lastCompletedBuild": "[number,url]",
    "actions": "[causes[shortDescription,userId,userName],parameters[name,value],totalCount,failCount,"
    "skipCount,urlName,lastBuiltRevision[SHA1,branch[SHA1,name]],remoteUrls]",
}


class Desk:
    """Answers requests from the model of a controller."""

    def __init__(self, controller: "JenkinsController") -> None:
        self._model = controller

    def answer(self, request: web.Request) -> web.Response:
        by = "jenkins"
        try:
            response = self._answer(request)
        except Refused as refused:
            response, by = refused.page(), refused.by
        if by == "jenkins":
            # On whatever Jenkins itself answers (vendor docs).
            response.headers["X-Jenkins"] = self._model.version
            response.headers["X-Hudson"] = "1.395"
            response.headers["X-Jenkins-Session"] = "5e55107a"
        return response

    def _answer(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        self._front(path)
        if not path.startswith(self._model.context + "/"):
            raise Refused(404, "Not Found", by="proxy")
        if "//" in path:
            raise Refused(400, "Ambiguous URI empty segment", by="container")
        user = self._user(request.headers.get("Authorization"))
        inner = path.removeprefix(self._model.context)
        if not inner.endswith("/api/json"):
            return self._human_page(path, inner, user)
        bean = self._find([unquote(step) for step in inner.removesuffix("/api/json").split("/")[1:]], user)
        try:
            tree = parse_tree(request.query["tree"]) if "tree" in request.query else _plain(bean)
        except TreeError as e:
            raise Refused(400, f"Malformed tree: {e}") from e
        return web.Response(
            body=msgspec.json.encode(export(bean, tree)),
            headers={"Content-Type": "application/json;charset=utf-8"},
        )

    def _front(self, path: str) -> None:
        """What answers before Jenkins does."""
        if self._model.gateway:
            raise refusals.unreachable(self._model.gateway)
        if self._model.sso:
            raise refusals.sent_to_login(self._model.sso)
        if self._model.starting:
            raise refusals.starting()

    def _human_page(self, path: str, inner: str, user: str | None) -> web.Response:
        """A path without its last slash redirects to it (reported by users); then it is a page."""
        if inner != "/":
            self._find([unquote(step) for step in inner.strip("/").split("/")], user)
        if not path.endswith("/"):
            raise Refused(302, "Found", {"Location": f"{path}/"})
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
            raise refusals.wrong_secret(name)
        return name

    def _find(self, steps: list[str], user: str | None) -> Bean:
        if steps == ["whoAmI"]:
            return Account(user, "hudson.security.WhoAmI")
        if not self._let_in(user):
            if user is None and self._model.login_redirects:
                raise refusals.to_login(quote("/".join(["", *steps]), safe=""))
            raise refusals.missing(user, OVERALL_READ)
        if steps == ["me"]:
            if user is None:
                raise self._not_found()
            return Account(user, "hudson.model.User")
        return self._below(self._model.root, steps, user)

    def _let_in(self, user: str | None) -> bool:
        """Overall/Read: all whom Jenkins knows have it, but for those that it was taken from."""
        if not self._model.root.secured:
            return True
        return self._model.anonymous_read if user is None else user not in self._model.shut_out

    def _below(self, item: Item, steps: list[str], user: str | None, view: str = "") -> Bean:
        """`job/A/job/B` or `job/A/42`: each level needs its own `job` (reported by users)."""
        while steps:
            if isinstance(item, Folder) and steps[0] == "job" and len(steps) > 1:
                item, steps = self._child(item, steps[1], user), steps[2:]
            elif isinstance(item, Folder) and steps[0] == "view" and len(steps) > 1:
                path, steps = _views(steps)
                if not steps:
                    return self._view(item, path, user)
                self._view(item, path, user)
                view += "".join(f"/view/{quote(name)}" for name in path)
            elif isinstance(item, MatrixJob) and (configuration := item.child(steps[0])):
                return configuration if len(steps) == 1 else self._build(configuration, steps[1])
            elif isinstance(item, Job) and len(steps) == 1:
                return self._build(item, steps[0])
            elif isinstance(item, Folder) and steps == [""]:
                break
            else:
                raise self._not_found()
        return Shown(item, user, self._model.jenkins_url, view)

    def _view(self, folder: Folder, path: list[str], user: str | None) -> View:
        root = self._model.jenkins_url
        name = "/".join(path)
        at = "".join(f"/view/{quote(step)}" for step in path)
        url = f"{folder.url.rstrip('/')}{at}/"
        if name == "all":
            shown = [Shown(i, user, root, at) for i in folder.items.values() if may_read(i, user)]
            return View(name, url, shown)
        prefix = f"{folder.full_name}:" if folder.full_name else ""
        known = self._model.views
        if prefix + name not in known:
            raise self._not_found()
        items = [self._model.item(full_name) for full_name in known[prefix + name]]
        inner = [key for key in known if key.startswith(f"{prefix}{name}/")]
        inside = [key.rpartition("/")[2] for key in inner if key.count("/") == (prefix + name).count("/") + 1]
        views = [View(step, f"{url}view/{quote(step)}/", []) for step in inside]
        return View(
            path[-1], url, [Shown(i, user, root, at) for i in items if may_read(i, user)], views or None
        )

    def _child(self, folder: Folder, name: str, user: str | None) -> Item:
        """What may not be read looks as if it were not there, unless the user may discover it."""
        item = folder.items.get(name)
        if item is None:
            raise self._not_found()
        account = user or "anonymous"
        if account in item.closed_to:
            raise refusals.missing(user, _ITEM_READ)
        if may_read(item, user):
            return item
        if account in item.discoverers:
            raise refusals.discovered(user, name)
        raise self._not_found()

    def _build(self, job: Job, step: str) -> Bean:
        """A build by its number, or by a name like `lastBuild`."""
        build = job.member(step) if step.startswith("last") else None
        if step.isdigit():
            build = job.builds.get(int(step))
        if not isinstance(build, Bean):
            raise self._not_found()
        return build

    def _not_found(self) -> Refused:
        return refusals.not_found(plain=self._model.plain_errors)


def _views(steps: list[str]) -> tuple[list[str], list[str]]:
    """The names of the leading views, and what follows them."""
    path: list[str] = []
    while len(steps) > 1 and steps[0] == "view":
        path.append(steps[1])
        steps = steps[2:]
    return path, steps


def _plain(bean: Bean) -> Tree:
    names = [name for name in bean.members if name != "allBuilds"]
    return parse_tree(",".join(name + _PLAIN_BELOW.get(name, "") for name in names))
