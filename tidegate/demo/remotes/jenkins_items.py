"""What lives on the simulated Jenkins: folders, jobs and builds, as the remote API exports them."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import quote, unquote

import msgspec

from adapters.times import to_millis
from tidegate.demo.remotes.jenkins_tree import Bean, Tree

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
ORGANIZATION = "jenkins.branch.OrganizationFolder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
PIPELINE = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
FREESTYLE = "hudson.model.FreeStyleProject"
MATRIX = "hudson.matrix.MatrixProject"
MAVEN = "hudson.maven.MavenModuleSet"
EXTERNAL = "hudson.model.ExternalJob"

_RUN_CLASS = {
    PIPELINE: "org.jenkinsci.plugins.workflow.job.WorkflowRun",
    FREESTYLE: "hudson.model.FreeStyleBuild",
    MATRIX: "hudson.matrix.MatrixBuild",
    "hudson.matrix.MatrixConfiguration": "hudson.matrix.MatrixRun",
    MAVEN: "hudson.maven.MavenModuleSetBuild",
    EXTERNAL: "hudson.model.ExternalRun",
}
_COLOR = {
    "SUCCESS": "blue",
    "FAILURE": "red",
    "UNSTABLE": "yellow",
    "ABORTED": "aborted",
    "NOT_BUILT": "notbuilt",
    None: "notbuilt",
}


# Members that are alike in every build here.
_ALWAYS: dict[str, object] = {
    "artifacts": [],
    "builtOn": "",
    "changeSets": [],
    "culprits": [],
    "estimatedDuration": 61_000,
    "keepLog": False,
}


class Build(Bean):
    """One run of a job. Rendered once per tree until it changes."""

    members: tuple[str, ...] = tuple(
        "actions artifacts building description displayName duration estimatedDuration fullDisplayName id "
        "inProgress keepLog number queueId result timestamp url builtOn changeSets culprits".split()
    )

    def __init__(
        self, job: "Job", number: int, started: datetime, ends: datetime | None, result: str
    ) -> None:
        """`ends` and `result` are what will come of it; None runs until it is finished by hand."""
        self.job = job
        self.number = number
        self.started = started
        self.exported_class = _RUN_CLASS.get(job.exported_class, "hudson.model.FreeStyleBuild")
        self.building = True
        self.result: str | None = None
        self.duration = 0
        self.description: str | None = None
        self.tests: tuple[int, int, int] | None = None
        self.parameter = "main"
        self.broken: dict[str, object] = {}
        self._ends = ends
        self._outcome = result
        self._rendered: dict[str, msgspec.Raw] = {}

    def settle(self, now: datetime) -> None:
        """Finish, if it is time."""
        if self.building and self._ends is not None and self._ends <= now:
            self.finish(self._outcome, self._ends)

    def finish(self, result: str, now: datetime) -> None:
        self.result = result
        self.duration = to_millis(now) - to_millis(self.started)
        self.building = False
        self.touch()

    def touch(self) -> None:
        """Forget what was rendered, because something changed."""
        self._rendered.clear()

    def render(self, tree: Tree) -> msgspec.Raw:
        kept = self._rendered.get(tree.text)
        if kept is None:
            kept = self._rendered[tree.text] = super().render(tree)
        return kept

    def member(self, name: str) -> object:
        if name in self.broken:
            return self.broken[name]
        match name:
            case "actions":
                return self._actions()
            case "building" | "inProgress":
                return self.building
            case "description" | "duration" | "number" | "result":
                return getattr(self, name)
            case "displayName":
                return f"#{self.number}"
            case "fullDisplayName":
                return f"{self.job.full_display_name} #{self.number}"
            case "id":
                return str(self.number)
            case "timestamp":
                return to_millis(self.started)
            case "url":
                return f"{self.job.url}{self.number}/"
            case "queueId":
                return self.number * 7
            case _:
                return _ALWAYS[name]

    def _actions(self) -> list[dict[str, object]]:
        """A list full of empty objects, with parameters that hold what users typed (recorded answers)."""
        sha = f"{self.number:08x}" * 5
        cause = {
            "_class": "hudson.model.Cause$UserIdCause",
            "shortDescription": "Started by user Dana",
            "userId": "dana",
            "userName": "Dana",
        }
        parameter = {"_class": "hudson.model.StringParameterValue", "name": "TOKEN", "value": self.parameter}
        revision = {
            "SHA1": sha,
            "branch": [{"SHA1": sha, "name": f"refs/remotes/origin/{unquote(self.job.name)}"}],
        }
        actions: list[dict[str, object]] = [
            {"_class": "hudson.model.ParametersAction", "parameters": [parameter]},
            {"_class": "hudson.model.CauseAction", "causes": [cause]},
            {},
            {
                "_class": "hudson.plugins.git.util.BuildData",
                "lastBuiltRevision": revision,
                "remoteUrls": ["https://git.example.com/app.git"],
            },
            {},
        ]
        if self.tests:
            total, failed, skipped = self.tests
            counts = {"failCount": failed, "skipCount": skipped, "totalCount": total, "urlName": "testReport"}
            actions.append({"_class": "hudson.tasks.junit.TestResultAction", **counts})
        return actions


class Item(Bean):
    """A job or a container. `readers` None: whoever may read the controller reads this."""

    def __init__(self, name: str, exported_class: str, root: Callable[[], str]) -> None:
        """`root` gives the configured Jenkins URL, which need not be where Jenkins is reached."""
        self.name = name
        self.exported_class = exported_class
        self.parent: Folder | None = None
        self.description: str | None = None
        self.readers: set[str] | None = None
        #: Who is told that it exists, but not what it is (Item/Discover).
        self.discoverers: set[str] = set()
        #: Who sees it in lists and is refused when opening it: its permission was taken away meanwhile.
        self.closed_to: set[str] = set()
        self._root = root

    @property
    def full_name(self) -> str:
        above = self.parent.full_name if self.parent else ""
        return f"{above}/{self.name}" if above else self.name

    @property
    def full_display_name(self) -> str:
        return " » ".join(unquote(name) for name in self.full_name.split("/"))

    @property
    def url(self) -> str:
        """With the configured Jenkins URL; a branch's name is encoded twice (recorded answers)."""
        steps = self.full_name.split("/") if self.full_name else []
        return self._root() + "/" + "".join(f"job/{quote(step, safe='')}/" for step in steps)

    def member(self, name: str) -> object:
        match name:
            case "name":
                return self.name
            case "fullName":
                return self.full_name
            case "displayName":
                return unquote(self.name)
            case "fullDisplayName":
                return self.full_display_name
            case "url":
                return self.url
            case "description":
                return self.description
            case _:
                return None


class Folder(Item):
    """A folder, an organization or a multibranch project."""

    members: tuple[str, ...] = tuple("description displayName fullDisplayName fullName name url jobs".split())

    def __init__(self, name: str, exported_class: str, root: Callable[[], str]) -> None:
        super().__init__(name, exported_class, root)
        self.items: dict[str, Item] = {}

    def member(self, name: str) -> object:
        return list(self.items.values()) if name == "jobs" else super().member(name)

    def every(self) -> Iterator[Item]:
        """All items below, containers before what they hold."""
        for item in self.items.values():
            yield item
            if isinstance(item, Folder):
                yield from item.every()


class Root(Folder):
    """The controller itself, which has no name."""

    members: tuple[str, ...] = (
        "mode",
        "nodeDescription",
        "description",
        "jobs",
        "url",
        "useSecurity",
        "views",
    )

    def __init__(self, root: Callable[[], str]) -> None:
        super().__init__("", "hudson.model.Hudson", root)
        #: Without security everyone may do everything, and a credential means nothing.
        self.secured = True

    def member(self, name: str) -> object:
        match name:
            case "mode":
                return "NORMAL"
            case "nodeDescription":
                return "the Jenkins controller's built-in node"
            case "useSecurity":
                return self.secured
            case "views":
                return []
            case _:
                return super().member(name)


class Job(Item):
    """Something with builds, kept by number."""

    members: tuple[str, ...] = tuple(
        "actions description displayName fullDisplayName fullName name url buildable builds allBuilds color "
        "firstBuild healthReport inQueue lastBuild lastCompletedBuild nextBuildNumber disabled".split()
    )

    def __init__(self, name: str, exported_class: str, root: Callable[[], str]) -> None:
        super().__init__(name, exported_class, root)
        self.builds: dict[int, Build] = {}
        self.next_number = 1
        self.disabled = False
        self.in_queue = False

    def start(self, now: datetime, duration: timedelta | None, result: str) -> Build:
        ends = now + duration if duration is not None else None
        return self._kept(Build(self, self.next_number, now, ends, result))

    def _kept(self, build: Build) -> Build:
        self.builds[build.number] = build
        self.next_number += 1
        return build

    def newest(self) -> list[Build]:
        """Newest first; numbers only ever grow."""
        return list(reversed(self.builds.values()))

    def member(self, name: str) -> object:
        match name:
            case "builds":
                # The newest 100 and no more (reported by users).
                return self.newest()[:100]
            case "allBuilds":
                return self.newest()
            case "lastBuild":
                return next(reversed(self.builds.values()), None)
            case "firstBuild":
                return next(iter(self.builds.values()), None)
            case "lastCompletedBuild":
                return self._last_completed()
            case "nextBuildNumber":
                return self.next_number
            case "buildable" | "disabled":
                return self.disabled is (name == "disabled")
            case "inQueue":
                return self.in_queue
            case "color":
                return self._color()
            case "actions" | "healthReport":
                return [{}, {}]
            case _:
                return super().member(name)

    def _last_completed(self) -> Build | None:
        return next((build for build in reversed(self.builds.values()) if not build.building), None)

    def _color(self) -> str:
        """Of the last completed build, pulsing while one runs (vendor docs)."""
        if self.disabled:
            return "disabled"
        done = self._last_completed()
        running = any(build.building for build in islice(reversed(self.builds.values()), 5))
        return _COLOR.get(done.result if done else None, "red") + ("_anime" if running else "")
