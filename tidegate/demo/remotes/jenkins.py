"""A simulated Jenkins controller: a model that changes, and the remote API computed from it."""

import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypeVar

from aiohttp import web

from tidegate.demo.remotes.base import Clock, Remote
from tidegate.demo.remotes.jenkins_hooks import generic_event, notification, post
from tidegate.demo.remotes.jenkins_items import (
    FOLDER,
    FREESTYLE,
    MULTIBRANCH,
    ORGANIZATION,
    PIPELINE,
    Build,
    Folder,
    Item,
    Job,
    Root,
)
from tidegate.demo.remotes.jenkins_kinds import Configuration, ExternalJob, MatrixJob, MavenJob
from tidegate.demo.remotes.jenkins_pages import Desk

T = TypeVar("T", bound=Item)


class JenkinsController(Remote):
    """Folders, jobs and builds. Changes show at once: Jenkins has no index that could lag."""

    def __init__(
        self,
        clock: Clock | None = None,
        latency: float = 0.0,
        *,
        context: str = "",
        jenkins_url: str = "http://jenkins.invalid:8080",
        anonymous_read: bool = False,
        version: str = "2.462.1",
    ) -> None:
        """`context` is a path like `/jenkins`. `jenkins_url` is written into all links; behind a proxy or in
        a container it is often wrong (reported by users).
        """
        super().__init__(clock, latency)
        self.context = context
        self.jenkins_url = jenkins_url
        self.anonymous_read = anonymous_read
        self.version = version
        self.starting = False
        #: A proxy in front: a status (502, 503) while it does not reach Jenkins, and the login page of a
        #: single sign-on that it sends everybody to (a URL), or shows right away ("page").
        self.gateway = 0
        self.sso = ""
        #: Strangers are redirected to the security realm's login, not refused (reported by users).
        self.login_redirects = False
        #: Releases before 2.3xx left pages for errors to the servlet container, which knows no X-Jenkins
        #: (vendor's source; seen in recorded answers).
        self.plain_errors = False
        #: API tokens by user, and users by the bearer tokens that a plugin would understand.
        self.users: dict[str, str] = {}
        self.bearers: dict[str, str] = {}
        #: Known users without Overall/Read.
        self.shut_out: set[str] = set()
        self.root = Root(lambda: self.jenkins_url)
        #: Full names by the path of a view: `mine`, `A/B` for the view B within the view A. Every controller
        #: and folder has the view `all` besides. In a folder, the folder comes first: `team:mine`.
        self.views: dict[str, list[str]] = {}
        self._running: list[Build] = []
        self._webhooks = 0
        self._desk = Desk(self)

    def routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        now = self.clock.now()
        for build in self._running:
            build.settle(now)
        self._running = [build for build in self._running if build.building]
        return self._desk.answer(request)

    # The model, changed by stories and tests.

    @property
    def base(self) -> str:
        """The URL at which it is reached, with its context path."""
        return self.url + self.context

    def add_folder(self, full_name: str, exported_class: str = FOLDER) -> Folder:
        return self._add(full_name, Folder(_last(full_name), exported_class, lambda: self.jenkins_url))

    def add_job(self, full_name: str, exported_class: str = PIPELINE) -> Job:
        return self._add(full_name, Job(_last(full_name), exported_class, lambda: self.jenkins_url))

    def add_multibranch(self, full_name: str, branches: Iterable[str]) -> Folder:
        """`branches` as git names them: `feature/x` is stored as `feature%2Fx` (recorded answers)."""
        project = self.add_folder(full_name, MULTIBRANCH)
        for branch in branches:
            self.add_job(f"{full_name}/{branch.replace('%', '%25').replace('/', '%2F')}")
        return project

    def add_organization(self, full_name: str, repositories: dict[str, list[str]]) -> Folder:
        """A folder that makes a multibranch project of each repository; given by name with its branches."""
        organization = self.add_folder(full_name, ORGANIZATION)
        for name, branches in repositories.items():
            self.add_multibranch(f"{full_name}/{name}", branches)
        return organization

    def add_matrix(self, full_name: str, axes: dict[str, list[str]]) -> MatrixJob:
        return self._add(full_name, MatrixJob(_last(full_name), axes, lambda: self.jenkins_url))

    def add_maven(self, full_name: str, modules: list[str]) -> MavenJob:
        return self._add(full_name, MavenJob(_last(full_name), modules, lambda: self.jenkins_url))

    def add_external(self, full_name: str) -> ExternalJob:
        return self._add(full_name, ExternalJob(_last(full_name), lambda: self.jenkins_url))

    def item(self, full_name: str) -> Item:
        found: Item = self.root
        for name in full_name.split("/"):
            assert isinstance(found, Folder), full_name
            found = found.items[name]
        return found

    def job(self, full_name: str) -> Job:
        found = self.item(full_name)
        assert isinstance(found, Job), full_name
        return found

    def start_build(
        self, full_name: str, duration: timedelta | None = None, result: str = "SUCCESS"
    ) -> Build:
        """A build that starts now, and ends with `result` after `duration` of the model's clock if given."""
        job = self.job(full_name)
        build = job.start(self.clock.now(), duration, result)
        runs = [config.builds.get(build.number) for config in _configurations(job)]
        self._running += [build, *(run for run in runs if run)]
        return build

    def finish_build(self, full_name: str, number: int, result: str = "SUCCESS") -> Build:
        job = self.job(full_name)
        for config in _configurations(job):
            if number in config.builds:
                config.builds[number].finish(result, self.clock.now())
        job.builds[number].finish(result, self.clock.now())
        return job.builds[number]

    def resume_build(self, full_name: str, number: int) -> Build:
        """A finished build runs on under its number and start time, as pipelines do that survive a restart of
        Jenkins (vendor docs).
        """
        build = self.job(full_name).builds[number]
        build.building, build.result, build.duration = True, None, 0
        build.touch()
        return build

    def delete_build(self, full_name: str, number: int) -> None:
        del self.job(full_name).builds[number]

    def rotate(self, full_name: str, keep: int) -> None:
        """What the log rotator does: only the newest `keep` builds stay."""
        job = self.job(full_name)
        job.builds = dict(list(job.builds.items())[-keep:]) if keep else {}

    def delete_item(self, full_name: str) -> None:
        item = self.item(full_name)
        assert item.parent is not None
        del item.parent.items[item.name]

    def move_item(self, full_name: str, to: str) -> None:
        """Renamed, or moved to another folder, with its builds."""
        item = self.item(full_name)
        self.delete_item(full_name)
        item.name = _last(to)
        self._add(to, item)
        for build in item.builds.values() if isinstance(item, Job) else ():
            build.touch()

    def recreate_job(self, full_name: str) -> Job:
        """Deleted, and made again under the same name: its builds start at #1."""
        exported_class = self.item(full_name).exported_class
        self.delete_item(full_name)
        return self.add_job(full_name, exported_class)

    async def notify(
        self, url: str, build: Build, phase: str = "FINALIZED", headers: Mapping[str, str] | None = None
    ) -> int:
        """Send what the Notification plugin sends of a build; the status of the answer."""
        return await post(url, notification(build, phase, self.clock.now()), headers or {})

    async def tell(
        self, url: str, about: Build | Item, kind: str, headers: Mapping[str, str] | None = None
    ) -> int:
        """Send what the Generic Event plugin sends, `kind` like `run.finalized` or `item.deleted`."""
        self._webhooks += 1
        return await post(url, generic_event(about, kind, self._webhooks, self.clock.now()), headers or {})

    def seed(self, jobs: int, builds: int, randomness: random.Random | None = None) -> None:
        """So many jobs with so many finished builds each, the last one a minute ago."""
        chance = randomness or random.Random(0)  # noqa: S311 - made-up results, no secret
        for index in range(jobs):
            job = self.add_job(f"service-{index:04}", PIPELINE if index % 2 else FREESTYLE)
            begin = self.clock.now() - timedelta(minutes=builds)
            for number in range(builds):
                result = chance.choices(["SUCCESS", "FAILURE", "UNSTABLE"], [8, 1, 1])[0]
                started = begin + timedelta(minutes=number)
                build = job.start(started, timedelta(seconds=chance.randint(5, 50)), result)
                build.tests = (120, 0 if result == "SUCCESS" else 3, 1)
                build.settle(self.clock.now())

    def _add(self, full_name: str, item: T) -> T:
        folder, _, name = full_name.rpartition("/")
        holder = self.item(folder) if folder else self.root
        assert isinstance(holder, Folder), folder
        item.parent = holder
        holder.items[name] = item
        return item


def _configurations(job: Job) -> list[Configuration]:
    return job.configurations if isinstance(job, MatrixJob) else []


def _last(full_name: str) -> str:
    return full_name.rpartition("/")[2]
