"""What a simulated organisation builds: pipelines, their builds, and what retention does to them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import msgspec

from tidegate.demo.remotes.azure.render import Person, Refusal, guid, time_text

_RESULTS = ("succeeded", "succeeded", "succeeded", "failed", "partiallySucceeded", "canceled")
_BRANCHES = ("refs/heads/main", "refs/heads/feature/login", "refs/pull/12/merge")


class Pipeline(msgspec.Struct):
    """A build definition. Each change makes a revision and sets `changed`. `rendered` is its JSON."""

    id: int
    project: str
    name: str
    folder: str
    revision: int
    changed: datetime
    queue_status: str = "enabled"
    description: str = ""
    rendered: bytes = b""


class Build(msgspec.Struct):
    """A build. `result` and `finished` are set once it is over, `deleted` once retention took it."""

    id: int
    project: str
    pipeline: int
    number: str
    queued: datetime
    changed: datetime
    status: str = "notStarted"
    result: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    deleted: datetime | None = None
    kept: bool = False
    reason: str = "manual"
    branch: str = "refs/heads/main"
    tags: list[str] = []
    rendered: bytes = b""


class Ci:
    """Pipelines and builds by id; ids are unique in the organisation and grow (vendor docs).

    `told` hears of each build that is completed.
    """

    def __init__(self, now: Callable[[], datetime], people: list[Person]) -> None:
        self.now = now
        self.people = people
        self.told: Callable[[Build], None] = lambda _: None
        self.pipelines: dict[int, Pipeline] = {}
        self.builds: dict[int, Build] = {}
        self._next_pipeline = 1
        self._next_build = 1

    # --- pipelines

    def define(self, project: str, name: str, folder: str = "\\") -> Pipeline:
        """A new pipeline in the project with that id."""
        pipeline = Pipeline(self._next_pipeline, project, name, folder, 1, self.now())
        self._next_pipeline += 1
        self.pipelines[pipeline.id] = pipeline
        return pipeline

    def redefine(self, pipeline_id: int, **changes: str) -> Pipeline:
        """Set `name`, `folder`, `queue_status` or `description`, with a new revision."""
        pipeline = self.pipelines[pipeline_id]
        for attribute, value in changes.items():
            setattr(pipeline, attribute, value)
        pipeline.revision += 1
        pipeline.changed = self.now()
        pipeline.rendered = b""
        return pipeline

    def drop(self, pipeline_id: int) -> None:
        """Delete a pipeline, and its builds with it (vendor docs)."""
        del self.pipelines[pipeline_id]
        for build in [build for build in self.builds.values() if build.pipeline == pipeline_id]:
            self.delete(build.id)

    # --- builds

    def queue(self, pipeline_id: int, branch: str = "refs/heads/main", reason: str = "manual") -> Build:
        now = self.now()
        build = Build(
            self._next_build,
            self.pipelines[pipeline_id].project,
            pipeline_id,
            f"{now:%Y%m%d}.{self._next_build}",
            # Stamped finer than to the millisecond (seen in recorded answers), so that no two are alike.
            now + timedelta(microseconds=self._next_build % 1000),
            now,
            branch=branch,
            reason=reason,
        )
        self._next_build += 1
        self.builds[build.id] = build
        return build

    def start(self, build_id: int) -> Build:
        build = self.builds[build_id]
        build.status, build.started = "inProgress", self.now()
        return self._changed(build)

    def finish(self, build_id: int, result: str = "succeeded") -> Build:
        """One that never started has no start time (vendor's OpenAPI document); canceled in the queue."""
        build = self.builds[build_id]
        build.status, build.result, build.finished = "completed", result, self.now()
        self._changed(build)
        self.told(build)
        return build

    def tag(self, build_id: int, *tags: str) -> Build:
        build = self.builds[build_id]
        build.tags = [*build.tags, *tags]
        return self._changed(build)

    def retain(self, build_id: int, *, kept: bool = True) -> Build:
        """Keep it for ever, whatever retention says."""
        build = self.builds[build_id]
        build.kept = kept
        return self._changed(build)

    def delete(self, build_id: int) -> Build:
        """As retention does: only shown where deleted ones are asked for (vendor's OpenAPI document)."""
        build = self.builds[build_id]
        build.deleted = self.now()
        return self._changed(build)

    def purge(self, build_id: int) -> None:
        """For good: nothing tells that it ever was."""
        del self.builds[build_id]

    def seed(self, project: str, count: int, random: Random, pipelines: int = 3) -> None:
        """So many finished builds, a minute apart until now, over some new pipelines of that project."""
        made = [
            self.define(project, f"{random.choice(('web', 'api', 'app'))}-ci-{number}", "\\nightly")
            for number in range(pipelines)
        ]
        for age in range(count, 0, -1):
            build = self.queue(random.choice(made).id, random.choice(_BRANCHES), "individualCI")
            build.queued = self.now() - timedelta(minutes=age)
            build.started = build.queued + timedelta(seconds=random.randint(1, 20))
            build.finished = build.started + timedelta(seconds=random.randint(20, 900))
            build.changed = build.finished
            build.status, build.result = "completed", random.choice(_RESULTS)

    def _changed(self, build: Build) -> Build:
        build.changed = self.now()
        build.rendered = b""
        return build

    # --- as the remote shows them

    def build_json(self, build: Build, organisation: str, project: dict[str, object]) -> bytes:
        """A build as lists and single answers show it, with the members of recorded ones."""
        if not build.rendered:
            members = self._build(build, organisation)
            build.rendered = msgspec.json.encode(members)
        # The project is shown as it is now, in the build and in its definition (seen in recorded answers).
        return build.rendered.replace(b'"@project"', msgspec.json.encode(project))

    def _build(self, build: Build, organisation: str) -> dict[str, object]:
        pipeline = self.pipelines.get(build.pipeline)
        root = f"https://dev.azure.com/{organisation}/{build.project}"
        person = self.people[build.id % len(self.people)].reference(organisation)
        times = {"queueTime": build.queued, "startTime": build.started, "finishTime": build.finished}
        members: dict[str, object] = {
            "_links": {
                "self": {"href": f"{root}/_apis/build/Builds/{build.id}"},
                "web": {"href": f"{root}/_build/results?buildId={build.id}"},
                "timeline": {"href": f"{root}/_apis/build/builds/{build.id}/Timeline"},
            },
            "properties": {},
            "tags": build.tags,
            "validationResults": [],
            "plans": [{"planId": guid("plan", build.id)}],
            "triggerInfo": {},
            "id": build.id,
            "buildNumber": build.number,
            "status": build.status,
            **({"result": build.result} if build.result else {}),
            **{name: time_text(at) for name, at in times.items() if at},
            "url": f"{root}/_apis/build/Builds/{build.id}",
            "definition": {
                "drafts": [],
                "id": build.pipeline,
                "name": pipeline.name if pipeline else "",
                "url": f"{root}/_apis/build/Definitions/{build.pipeline}?revision=1",
                "uri": f"vstfs:///Build/Definition/{build.pipeline}",
                "path": pipeline.folder if pipeline else "\\",
                "type": "build",
                "queueStatus": "enabled",
                "revision": 1,
                "project": "@project",
            },
            "project": "@project",
            "uri": f"vstfs:///Build/Build/{build.id}",
            "sourceBranch": build.branch,
            "sourceVersion": guid("commit", build.id).replace("-", ""),
            "queue": {"id": 9, "name": "Azure Pipelines", "pool": {"id": 9, "name": "Azure Pipelines"}},
            "priority": "normal",
            "reason": build.reason,
            "requestedFor": person,
            "requestedBy": person,
            "lastChangedDate": time_text(build.changed),
            "lastChangedBy": person,
            "orchestrationPlan": {"planId": guid("plan", build.id)},
            "logs": {"id": 0, "type": "Container", "url": f"{root}/_apis/build/builds/{build.id}/logs"},
            "repository": {"id": guid("repository", build.project), "type": "TfsGit", "name": "web"},
            "keepForever": build.kept,
            "retainedByRelease": False,
            "triggeredByBuild": None,
        }
        if build.deleted:
            members |= {
                "deleted": True,
                "deletedDate": time_text(build.deleted),
                "deletedReason": "Retention",
            }
        return members

    def pipeline_json(
        self, pipeline: Pipeline, organisation: str, project: dict[str, object], *, whole: bool
    ) -> bytes:
        """A definition: the shallow form of recorded answers, or with what `includeAllProperties` adds."""
        root = f"https://dev.azure.com/{organisation}/{pipeline.project}"
        members: dict[str, object] = {
            "_links": {"web": {"href": f"{root}/_build/definition?definitionId={pipeline.id}"}},
            "quality": "definition",
            "authoredBy": self.people[0].reference(organisation),
            "drafts": [],
            "queue": {"id": 9, "name": "Azure Pipelines", "pool": {"id": 9, "name": "Azure Pipelines"}},
            "id": pipeline.id,
            "name": pipeline.name,
            "url": f"{root}/_apis/build/Definitions/{pipeline.id}?revision={pipeline.revision}",
            "uri": f"vstfs:///Build/Definition/{pipeline.id}",
            "path": pipeline.folder,
            "type": "build",
            "queueStatus": pipeline.queue_status,
            "revision": pipeline.revision,
            "createdDate": time_text(pipeline.changed),
            "project": project,
        }
        if whole:
            members |= {
                **({"description": pipeline.description} if pipeline.description else {}),
                "variables": {"channel": {"value": "stable"}, "key": {"value": None, "isSecret": True}},
                "triggers": [{"branchFilters": ["+main"], "triggerType": "continuousIntegration"}],
                "process": {"yamlFilename": "/azure-pipelines.yml", "type": 2},
                "repository": {
                    "id": guid("repository", pipeline.project),
                    "type": "TfsGit",
                    "name": "web",
                    "defaultBranch": "refs/heads/main",
                },
                "jobTimeoutInMinutes": 60,
            }
        return msgspec.json.encode(members)


def no_view(person: str, what: str, project: str) -> Refusal:
    """Words of the refusals of builds, as quoted by users."""
    return Refusal(
        403,
        f"TF215106: Access denied. {person} needs {what} permissions in team project {project} to perform "
        "the action. For more information, contact the Azure DevOps administrator.",
        "AccessDeniedException",
    )
