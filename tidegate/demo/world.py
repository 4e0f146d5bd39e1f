"""The world of the demo: three simulated remotes that are alive: issues move, builds run, items go."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import msgspec

from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud

JIRA_USER, JIRA_TOKEN = "ana@example.com", "demo-jira-token"
JENKINS_USER, JENKINS_TOKEN = "ana", "demo-jenkins-token"
AZURE_TOKEN = "demo-azure-pat"  # noqa: S105 - of a remote that is only played

RENEWED_TOKEN = "demo-jenkins-token-2"  # noqa: S105 - of a remote that is only played

BUILD_SECONDS = 20
PAUSE_SECONDS = 35
_PIPELINE = "harbour/lock-gate"
_STATES = ("In Progress", "Done", "To Do")

#: Told when a build has finished, with its short key, and how.
OnBuild = Callable[[str, str], None]


class Place(msgspec.Struct, frozen=True):
    """What a connection of the demo is made from."""

    name: str
    system: str
    url: str
    kind: str
    username: str | None
    secret: str


class World:
    """The three remotes, and what goes on in them."""

    def __init__(self, random: Random) -> None:
        self.jira = JiraCloud(latency=0.04, zone="Europe/Berlin")
        self.jenkins = JenkinsController(latency=0.02)
        self.azure = AzureDevOps("company", latency=0.03)
        #: What last changed at Jira, and when, as `time.monotonic` counts.
        self.issue_changed: tuple[str, float] | None = None
        self._random = random
        self._filter = 0
        self._running = 0

    def populate(self) -> None:
        """What is there before anyone looks."""
        ana = self.jira.add_account(JIRA_USER, JIRA_TOKEN, zone="America/Los_Angeles", name="Ana Reyes")
        self.jira.administrators.add(ana.account_id)
        self.jira.seed(800, project="TIDE")
        self._filter = self.jira.add_filter("project = TIDE ORDER BY created DESC", name="The tide team")
        self.jenkins.users[JENKINS_USER] = JENKINS_TOKEN
        self.jenkins.seed(jobs=4, builds=60, randomness=self._random)
        self.jenkins.add_folder("harbour")
        self.jenkins.add_job(_PIPELINE)
        # It runs before anyone can look, so that the first sync finds it running.
        self._running = self.jenkins.start_build(_PIPELINE).number
        self.azure.access.tokens[AZURE_TOKEN] = self.azure.model.me
        self.azure.model.seed(400, self._random, project="newtwitterclone")
        self.azure.model.seed(60, self._random, project="Tide tables")
        self.azure.model.seed_builds(120, self._random, project="newtwitterclone")

    def places(self) -> list[Place]:
        """The connections that the demo makes, once the remotes are up."""
        search = f"{self.jira.url}/rest/api/latest/search?jql=filter={self._filter}"
        return [
            Place("Jira: issues of a filter", "jira", search, "basic", JIRA_USER, JIRA_TOKEN),
            Place("Jenkins: all jobs", "jenkins", self.jenkins.base, "basic", JENKINS_USER, JENKINS_TOKEN),
            Place("Azure DevOps: company", "azure", self.azure.base, "pat", None, AZURE_TOKEN),
        ]

    @property
    def own(self) -> str:
        """An address to be pasted for a connection of one's own."""
        return f"{self.jira.url}/issues/?jql=project=TIDE"

    def ask_for_a_pause(self) -> None:
        """Azure DevOps answers the next request with a limit, and when to come again."""
        self.azure.faults.append(Fault("/", 429, headers={"Retry-After": str(PAUSE_SECONDS)}))

    def expire_token(self) -> str:
        """The token at Jenkins is worth nothing any more. The one that takes its place."""
        self.jenkins.users[JENKINS_USER] = RENEWED_TOKEN
        return RENEWED_TOKEN

    async def live(self, on_build: OnBuild) -> None:
        """Let things happen, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._issues())
            group.create_task(self._builds(on_build))
            group.create_task(self._work_items())

    async def _issues(self) -> None:
        ids = list(self.jira.issues)
        for number in range(1, 1_000_000):
            await asyncio.sleep(3)
            if number % 4 == 0:
                made = self.jira.create_issue("TIDE", f"Gauge {number} reads too high", type="Bug")
                ids.append(made.id)
                what = f"{made.key} is new"
            else:
                status = _STATES[number % len(_STATES)]
                moved = self.jira.update_issue(self._random.choice(ids), status=status)
                what = f"{moved.key} is {status}"
            self.issue_changed = what, time.monotonic()

    async def _builds(self, on_build: OnBuild) -> None:
        """A build at a time."""
        while True:
            await asyncio.sleep(BUILD_SECONDS)
            number = self._running
            result = "FAILURE" if number % 5 == 0 else "SUCCESS"
            self.jenkins.finish_build(_PIPELINE, number, result)
            on_build(f"{_PIPELINE}#{number}", result)
            await asyncio.sleep(5)
            self._running = self.jenkins.start_build(_PIPELINE).number

    async def _work_items(self) -> None:
        ids = list(self.azure.model.items)
        for number in range(1, 1_000_000):
            await asyncio.sleep(4)
            if number % 10 == 0 and len(ids) > 100:
                self.azure.model.delete(ids.pop(self._random.randrange(len(ids))))
                continue
            state = self._random.choice(("Active", "Resolved", "Closed"))
            self.azure.model.update(self._random.choice(ids), {"System.State": state})


@asynccontextmanager
async def open_world(random: Random) -> AsyncIterator[World]:
    """The remotes, populated and listening on free local ports."""
    world = World(random)
    world.populate()
    async with AsyncExitStack() as stack:
        for remote in (world.jira, world.jenkins, world.azure):
            await stack.enter_async_context(remote)
        yield world
