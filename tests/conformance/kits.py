"""The kits of the adapters that Tidegate brings, and of those that other packages add.

Another package names its kits in the entry point group `tidegate.conformance`.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any

from adapters.azure import Azure
from adapters.jenkins import Jenkins
from adapters.jira import Jira
from tests.conformance.kit import Kit
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter


class _Jira(Kit):
    adapter = Jira
    stream = "issues"
    path = "/search"
    # Jira answers for what is deleted as for what may not be seen.
    reason = "hidden"
    idle = 3
    remote: JiraCloud | JiraDataCenter

    def create(self) -> str:
        self.remote.clock.advance(timedelta(seconds=7))
        return str(self.remote.create_issue("TG", "first").id)

    def change(self, key: str) -> None:
        self.remote.clock.advance(timedelta(seconds=7))
        before = self.remote.issues[int(key)]
        self.remote.update_issue(before.id, summary=before.summary + "+")

    def delete(self, key: str) -> None:
        self.remote.delete_issue(int(key))

    def truth(self) -> Mapping[str, Any]:
        return {str(issue.id): issue.summary for issue in self.remote.issues.values()}

    def seen(self, body: Mapping[str, Any]) -> Any:
        return body["fields"]["summary"]


class JiraCloudKit(_Jira):
    name = "jira-cloud"
    credential = ("basic", "ana@example.com", "token-1")

    def serve(self) -> AbstractAsyncContextManager[object]:
        self.remote = JiraCloud(self.clock, zone="Europe/Berlin")
        self.remote.add_account("ana@example.com", "token-1", zone="America/Los_Angeles")
        self.remote.add_project("TG")
        self.number = self.remote.add_filter("project = TG")
        return self.remote

    @property
    def url(self) -> str:
        return f"{self.remote.url}/issues/?filter={self.number}"

    def revoke(self) -> None:
        self.remote.revoke("token-1")


class JiraGatewayKit(JiraCloudKit):
    name = "jira-gateway"

    def serve(self) -> AbstractAsyncContextManager[object]:
        served = super().serve()
        assert isinstance(self.remote, JiraCloud)
        self.remote.revoke("token-1")
        self.remote.grant("ana@example.com", "token-1")
        return served

    @property
    def url(self) -> str:
        assert isinstance(self.remote, JiraCloud)
        return f"{self.remote.gateway}/issues/?filter={self.number}"


class JiraDataCenterKit(_Jira):
    name = "jira-datacenter"
    credential = ("pat", None, "token-1")

    def serve(self) -> AbstractAsyncContextManager[object]:
        self.remote = JiraDataCenter(self.clock, zone="Europe/Berlin", context="/tools/jira")
        self.remote.add_user("ana", "not used here", zone="Asia/Kolkata")
        self.remote.add_pat("ana", "token-1")
        self.remote.add_project("TG")
        self.number = self.remote.add_filter("project = TG")
        return self.remote

    @property
    def url(self) -> str:
        assert isinstance(self.remote, JiraDataCenter)
        return f"{self.remote.base}/issues/?filter={self.number}"

    def revoke(self) -> None:
        self.remote.revoke("token-1")


class JenkinsKit(Kit):
    """Builds of two jobs, one of them in a folder; a build changes by ending."""

    name = "jenkins"
    adapter = Jenkins
    stream = "builds"
    credential = ("basic", "dana", "token-1")
    path = "/api/json"
    reason = "rotated"
    kept = True
    idle = 2
    jobs = ("app", "team/lib")
    remote: JenkinsController

    def serve(self) -> AbstractAsyncContextManager[object]:
        self.remote = JenkinsController(self.clock)
        self.remote.users["dana"] = "token-1"
        self.remote.add_folder("team")
        for job in self.jobs:
            self.remote.add_job(job)
        self._created = 0
        return self.remote

    @property
    def url(self) -> str:
        return self.remote.base

    def create(self) -> str:
        """Every third runs until it is changed, that is: ended."""
        self._created += 1
        self.remote.clock.advance(timedelta(seconds=7))
        job = self.jobs[self._created % 2]
        build = self.remote.start_build(job)
        if self._created % 3:
            self.remote.finish_build(job, build.number)
        return self._key(job, build)

    def change(self, key: str) -> None:
        job, number = self._parse(key)
        self.remote.clock.advance(timedelta(seconds=7))
        self.remote.finish_build(job, number)

    def known_changeable(self) -> list[str]:
        return [key for key, result in self.truth().items() if result is None]

    def delete(self, key: str) -> None:
        self.remote.delete_build(*self._parse(key))

    def truth(self) -> Mapping[str, Any]:
        return {
            self._key(job, build): build.result
            for job in self.jobs
            for build in self.remote.job(job).builds.values()
        }

    def seen(self, body: Mapping[str, Any]) -> Any:
        return body["result"]

    def revoke(self) -> None:
        del self.remote.users["dana"]

    def _key(self, job: str, build: Any) -> str:
        return f"{job}#{build.number}@{int(build.started.timestamp() * 1000)}"

    def _parse(self, key: str) -> tuple[str, int]:
        job, _, rest = key.rpartition("#")
        return job, int(rest.partition("@")[0])


class JenkinsFolderKit(JenkinsKit):
    """One folder of a controller."""

    name = "jenkins-folder"
    jobs = ("team/app", "team/lib")

    @property
    def url(self) -> str:
        return f"{self.remote.base}/job/team/"


class AzureKit(Kit):
    name = "azure-services"
    adapter = Azure
    stream = "work_items"
    credential = ("pat", None, "azure-token")
    path = "/_apis/wit/"
    # One project, and four streams: projects, work items, and for the project its pipelines and builds.
    idle = 4
    remote: AzureDevOps

    def serve(self) -> AbstractAsyncContextManager[object]:
        self.remote = self.made()
        return self._with_a_project()

    def made(self) -> AzureDevOps:
        return AzureDevOps(clock=self.clock)

    @asynccontextmanager
    async def _with_a_project(self) -> AsyncIterator[None]:
        async with self.remote:
            self.remote.model.create_project("newtwitterclone")
            yield

    @property
    def url(self) -> str:
        return self.remote.base

    def create(self) -> str:
        self.remote.clock.advance(timedelta(seconds=7))
        return str(self.remote.model.create("newtwitterclone", "first").id)

    def change(self, key: str) -> None:
        self.remote.clock.advance(timedelta(seconds=7))
        before = self.remote.model.items[int(key)].fields["System.Title"]
        self.remote.model.update(int(key), {"System.Title": f"{before}+"})

    def delete(self, key: str) -> None:
        self.remote.model.delete(int(key))

    def truth(self) -> Mapping[str, Any]:
        found = {key: self.remote.model.readable(int(key)) for key in map(str, self.remote.model.items)}
        return {key: item.fields["System.Title"] for key, item in found.items() if item is not None}

    def seen(self, body: Mapping[str, Any]) -> Any:
        return body["fields"]["System.Title"]

    def revoke(self) -> None:
        self.remote.access.tokens.clear()


class AzureServerKit(AzureKit):
    """A collection below a path, of a server that knows an older version of the interface only."""

    name = "azure-server"
    # Where the collection ends in the path is asked, and the newer version refused.
    idle = 6

    def made(self) -> AzureDevOps:
        return AzureDevOps("DefaultCollection", self.clock, above="tfs", newest="6.0", hosted=False)


KITS: Mapping[str, Callable[[], Kit]] = {
    kit.name: kit
    for kit in (
        JiraCloudKit,
        JiraGatewayKit,
        JiraDataCenterKit,
        JenkinsKit,
        JenkinsFolderKit,
        AzureKit,
        AzureServerKit,
        *(point.load() for point in entry_points(group="tidegate.conformance")),
    )
}
