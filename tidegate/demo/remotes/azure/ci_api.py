"""How a simulated organisation answers for builds and build definitions."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from adapters.times import parse_time
from tidegate.demo.remotes.azure.ci import Build, Ci, Pipeline, no_view
from tidegate.demo.remotes.azure.model import Organisation, Project, project_members
from tidegate.demo.remotes.azure.render import Person, Refusal, no_route, time_text

_EVER = datetime.min.replace(tzinfo=UTC)
_TIMES: Mapping[str, Callable[[Build], datetime | None]] = {
    "queuetime": lambda build: build.queued,
    "starttime": lambda build: build.started,
    "finishtime": lambda build: build.finished,
}
Page = tuple[list[bytes], str | None]


class CiApi:
    """Pages of builds and definitions, with the token of the next.

    `closed` are the projects, by id, whose builds and pipelines the account may not see.
    """

    def __init__(self, model: Organisation) -> None:
        self._model = model
        self.closed: set[str] = set()
        #: Whether builds are given out without naming a project: older clients of the vendor do so, today's
        #: OpenAPI document knows no such path.
        self.whole_organisation = True

    @property
    def _ci(self) -> Ci:
        return self._model.ci

    def builds(self, query: Mapping[str, str], project: Project | None, caller: Person | None) -> Page:
        """In the order asked for; without one by finish, the newest first (reported by users)."""
        if project is None and not self.whole_organisation:
            raise no_route("/_apis/build/builds")
        self._admit(project, caller, "View builds")
        order = query.get("queryOrder", "finishTimeDescending").casefold()
        descending = order.endswith("descending")
        at = _TIMES.get(order.removesuffix("descending").removesuffix("ascending"))
        if at is None:
            raise Refusal(
                400, f"The value {order} is not valid for queryOrder.", "InvalidArgumentValueException"
            )
        found = self._shown(project, query, caller)
        if "buildIds" in query:
            ids = {int(text) for text in query["buildIds"].split(",")}
            found = [build for build in found if build.id in ids]
        else:
            # What has no such time is not in that order at all (reported by users).
            found = [build for build in found if at(build)]
        # Both mean the time that the order names (vendor's OpenAPI document).
        since, until = parse_time(query.get("minTime")), parse_time(query.get("maxTime"))
        found = [b for b in found if (since is None or _at(at, b) >= since)]
        found = [b for b in found if (until is None or _at(at, b) <= until)]
        found.sort(key=lambda build: (_at(at, build), build.id), reverse=descending)
        # The token is the time of the next build, so that those of one moment may come twice (seen in tokens
        # quoted by users).
        if token := parse_time(query.get("continuationToken")):
            found = [b for b in found if (_at(at, b) <= token if descending else _at(at, b) >= token)]
        top = min(int(query.get("$top", "1000")), 5000)
        following = time_text(_at(at, found[top])) if len(found) > top else None
        return [self._build(build) for build in found[:top]], following

    def definitions(self, query: Mapping[str, str], project: Project | None, caller: Person | None) -> Page:
        """Shallow unless all properties are asked for (vendor's OpenAPI document)."""
        if project is None:
            raise no_route("/_apis/build/definitions")
        self._admit(project, caller, "View build pipeline")
        found = [pipeline for pipeline in self._ci.pipelines.values() if pipeline.project == project.id]
        if "definitionIds" in query:
            ids = {int(text) for text in query["definitionIds"].split(",")}
            found = [pipeline for pipeline in found if pipeline.id in ids]
        order = query.get("queryOrder", "none").casefold()
        by_time = order.startswith("lastmodified")
        found.sort(
            key=lambda p: (p.changed.isoformat() if by_time else p.name, p.id),
            reverse=order.endswith("descending"),
        )
        # Opaque: here the last one that was shown, so that what changes meanwhile moves nothing.
        if token := query.get("continuationToken"):
            ids_in_order = [str(pipeline.id) for pipeline in found]
            found = found[ids_in_order.index(token) + 1 :]
        top = int(query.get("$top", "10000"))
        whole = query.get("includeAllProperties", "").casefold() == "true"
        bodies = [self._pipeline(pipeline, project, whole=whole) for pipeline in found[:top]]
        return bodies, str(found[top - 1].id) if len(found) > top else None

    def _admit(self, project: Project | None, caller: Person | None, permission: str) -> None:
        if project is not None and project.id in self.closed:
            raise no_view(caller.name if caller else "Anonymous", permission, project.name)

    def _shown(self, project: Project | None, query: Mapping[str, str], caller: Person | None) -> list[Build]:
        deleted = query.get("deletedFilter", "excludeDeleted").casefold()
        return [
            build
            for build in self._ci.builds.values()
            if (project is None or build.project == project.id)
            and build.project not in self.closed | self._model.withheld
            and (caller is not None or self._model.projects[build.project].visibility == "public")
            and (deleted == "includedeleted" or (build.deleted is not None) == (deleted == "onlydeleted"))
        ]

    def _build(self, build: Build) -> bytes:
        project = self._model.projects[build.project]
        return self._ci.build_json(build, self._model.name, project_members(self._model.name, project))

    def _pipeline(self, pipeline: Pipeline, project: Project, *, whole: bool) -> bytes:
        members = project_members(self._model.name, project)
        return self._ci.pipeline_json(pipeline, self._model.name, members, whole=whole)


def _at(at: Callable[[Build], datetime | None], build: Build) -> datetime:
    return at(build) or _EVER
