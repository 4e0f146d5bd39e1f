"""Builds: what is asked for, their keys, and how an answer becomes records."""

import re
from datetime import timedelta
from urllib.parse import unquote

import msgspec

from adapters.base import Column, Record, Rejected, Stream, Value
from adapters.http import Reply, decode
from adapters.jenkins.urls import item_path
from adapters.jenkins.values import entries, flag, text, whole
from adapters.times import from_millis

# Never asked: the values of parameters and the URLs of repositories, because both may hold secrets, and
# estimatedDuration, which changes with every later build.
BUILD_TREE = (
    "number,id,url,displayName,fullDisplayName,description,result,building,timestamp,duration,queueId,"
    "keepLog,builtOn,actions[causes[shortDescription,userId,userName,upstreamProject,upstreamBuild],"
    "lastBuiltRevision[SHA1,branch[SHA1,name]],totalCount,failCount,skipCount,urlName]"
)

BUILDS = Stream(
    "builds",
    columns=(
        Column("job", "text", "number"),
        Column("number", "integer", "number"),
        Column("result", "text", "result"),
        Column("building", "boolean", "building"),
        Column("started_at", "time", "timestamp", unit="ms"),
        Column("finished_at", "time", "timestamp", unit="ms"),
        Column("duration", "integer", "duration", unit="ms"),
        Column("display_name", "text", "displayName"),
        Column("description", "text", "description"),
        Column("url", "text", "number"),
        Column("cause", "text", "actions.causes.shortDescription"),
        Column("started_by", "text", "actions.causes.userId"),
        Column("upstream", "text", "actions.causes.upstreamProject"),
        Column("commit_sha", "text", "actions.lastBuiltRevision.SHA1"),
        Column("branch", "text", "actions.lastBuiltRevision.branch.name"),
        Column("node", "text", "builtOn"),
        Column("queue_id", "integer", "queueId"),
        Column("tests_total", "integer", "actions.totalCount"),
        Column("tests_failed", "integer", "actions.failCount"),
        Column("tests_skipped", "integer", "actions.skipCount"),
    ),
    parent="jobs",
    # Jenkins writes links with its configured address, which may change without any build changing.
    volatile=("url",),
)

_KEY = re.compile(r"(?P<job>.+)#(?P<number>[1-9]\d{0,9})(?:@(?P<at>\d{1,15}))?")


class Mark(msgspec.Struct, frozen=True):
    """A job's newest build (0: none) with its time in epoch ms, and the number the next one will get."""

    number: int = 0
    at: int = 0
    next: int = 0


class BuildKey(msgspec.Struct, frozen=True):
    """`text` is the key as it was asked for; `at` is None in a short key, which means the present build."""

    text: str
    job: str
    number: int
    at: int | None


def parse_key(key: str) -> BuildKey | None:
    """`{fullName}#{number}@{timestamp ms}` or the short `{fullName}#{number}`; None for anything else."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return BuildKey(key, match["job"], int(match["number"]), int(match["at"]) if match["at"] else None)


class _Build(msgspec.Struct, rename="camel"):
    """Only what makes the key must be right; members for columns are taken as they come."""

    number: int
    timestamp: int
    building: object = None
    result: object = None
    duration: object = None
    display_name: object = None
    description: object = None
    built_on: object = None
    queue_id: object = None
    actions: object = None


class _Number(msgspec.Struct):
    number: int


class _Newest(msgspec.Struct):
    """The range of the newest 100."""

    builds: list[msgspec.Raw]


class _All(msgspec.Struct):
    builds: list[msgspec.Raw] = msgspec.field(name="allBuilds")


class Build(msgspec.Struct, frozen=True):
    """A build's place in its job, and its record."""

    number: int
    at: int
    record: Record


_build = msgspec.json.Decoder(_Build)
_number = msgspec.json.Decoder(_Number)


class Builds(msgspec.Struct, frozen=True):
    """A range of builds. `size` counts what the remote sent, legible or not; `places` are the positions of
    `builds` in that.
    """

    builds: list[Build]
    places: list[int]
    rejected: list[Rejected]
    size: int


def read_builds(reply: Reply, job: str, base: str, *, newest: bool) -> Builds:
    """The builds in an answer to `builds[...]` (`newest`) or `allBuilds[...]`, in the order sent.

    Raises `Unreadable` if the list is not there at all.
    """
    raws = (decode(reply, _Newest) if newest else decode(reply, _All)).builds
    found: list[Build] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    for place, raw in enumerate(raws):
        build = read_build(bytes(raw), job, base)
        if isinstance(build, Build):
            found.append(build)
            places.append(place)
        else:
            rejected.append(build)
    return Builds(found, places, rejected, len(raws))


def read_build(body: bytes, job: str, base: str) -> Build | Rejected:
    """The record of one build of the job with that full name."""
    try:
        build = _build.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected("builds", _legible_key(body, job), f"It cannot be identified: {e}", body)
    key = f"{job}#{build.number}@{build.timestamp}"
    final = build.building is False
    started = from_millis(build.timestamp)
    duration = whole(build.duration) if final else None
    ended = started
    if started and duration is not None and 0 <= duration < timedelta.max // timedelta(milliseconds=1):
        ended = from_millis(build.timestamp + duration)
    record = Record(
        "builds",
        key,
        body,
        parent=job,
        updated_at=ended,
        final=final,
        columns=(
            job,
            build.number,
            text(build.result),
            flag(build.building),
            started,
            ended if final else None,
            duration,
            text(build.display_name),
            text(build.description),
            f"{base}{item_path(job)}/{build.number}/",
            *_actions(entries(build.actions), job),
            text(build.built_on) or None,
            whole(build.queue_id),
            *_tests(entries(build.actions)),
        ),
    )
    return Build(build.number, build.timestamp, record)


def _legible_key(body: bytes, job: str) -> str | None:
    """The short key of a build whose time is not legible."""
    try:
        return f"{job}#{_number.decode(body).number}"
    except (msgspec.DecodeError, RecursionError):
        return None


def _actions(actions: list[dict[str, object]], job: str) -> tuple[Value, ...]:
    """Cause, who started it, the upstream build, commit and branch."""
    causes = [cause for action in actions for cause in entries(action.get("causes"))]
    cause = causes[0] if causes else {}
    upstream = text(cause.get("upstreamProject"))
    number = whole(cause.get("upstreamBuild"))
    return (
        text(cause.get("shortDescription")),
        text(cause.get("userId")),
        f"{upstream}#{number}" if upstream and number is not None else upstream,
        *_revision(actions, unquote(job.rpartition("/")[2])),
    )


def _revision(actions: list[dict[str, object]], name: str) -> tuple[str | None, str | None]:
    """Commit and branch. A pipeline that loads a library checked out several repositories: then the one
    on the branch that the job is named after counts, else the first.
    """
    found: list[tuple[str | None, str | None]] = []
    for action in actions:
        revision = action.get("lastBuiltRevision")
        if isinstance(revision, dict):
            branches = [_branch(text(b.get("name"))) for b in entries(revision.get("branch"))]
            found.append((text(revision.get("SHA1")), branches[0] if branches else None))
    named = [revision for revision in found if revision[1] == name]
    return (named or found or [(None, None)])[0]


def _branch(name: str | None) -> str | None:
    """The bare branch of `origin/main`, `refs/remotes/origin/main` or `main`; None for a detached head."""
    if name is None or name == "detached":
        return None
    return re.sub(r"^(refs/remotes/[^/]+/|refs/heads/|origin/)", "", name)


def _tests(actions: list[dict[str, object]]) -> tuple[int | None, int | None, int | None]:
    """Tests in total, failed and skipped, of the test report where other reports count too."""
    counted = [action for action in actions if whole(action.get("totalCount")) is not None]
    counted.sort(key=lambda action: action.get("urlName") != "testReport")
    best = counted[0] if counted else {}
    return whole(best.get("totalCount")), whole(best.get("failCount")), whole(best.get("skipCount"))
