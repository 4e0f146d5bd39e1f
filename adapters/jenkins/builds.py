"""Builds: what is asked for, their keys, and how an answer becomes records."""

import re
from urllib.parse import unquote

import msgspec

from adapters.base import Column, Record, Rejected, Stream
from adapters.http import Reply, decode
from adapters.jenkins.actions import ACTION_COLUMNS, ACTIONS_TREE, action_values
from adapters.jenkins.urls import is_full_name, item_path
from adapters.jenkins.values import flag, text, whole
from adapters.times import from_millis

# What makes a build's key, for a census.
KEY_TREE = "number,timestamp"
# Not asked for: estimatedDuration, which changes with every later build.
BUILD_TREE = (
    "number,id,url,displayName,fullDisplayName,description,result,building,timestamp,duration,queueId,"
    # Of a matrix build: one run for each combination. Their links would change with Jenkins' address.
    f"keepLog,builtOn,{ACTIONS_TREE},runs[number,fullDisplayName,result,building,timestamp,duration]"
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
        Column("node", "text", "builtOn"),
        Column("queue_id", "integer", "queueId"),
        *ACTION_COLUMNS,
        Column("runs", "integer", "runs"),
    ),
    parent="jobs",
    # Jenkins writes links with its configured address, which may change without any build changing.
    volatile=("url",),
)

_KEY = re.compile(r"(?P<job>.+)#(?P<number>[1-9]\d{0,9})(?:@(?P<at>\d{1,15}))?")


class Mark(msgspec.Struct, frozen=True):
    """A job's newest build (0: none) with its time in epoch ms, and the number the next one will get.

    `state` is how the newest build ended, "" while it runs.
    """

    number: int = 0
    at: int = 0
    next: int = 0
    state: str = ""


class BuildKey(msgspec.Struct, frozen=True):
    """`text` is the key as it was asked for; `at` is None in a short key, which means the present build."""

    text: str
    job: str
    number: int
    at: int | None


def parse_key(key: str) -> BuildKey | None:
    """`{fullName}#{number}@{timestamp ms}` or the short `{fullName}#{number}`; None for anything else."""
    match = _KEY.fullmatch(key)
    if match is None or not is_full_name(match["job"]):
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
    actions: msgspec.Raw = msgspec.Raw()
    runs: msgspec.Raw = msgspec.Raw()


class _Run(msgspec.Struct, gc=False):
    number: object = None


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
_runs = msgspec.json.Decoder(list[_Run])


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
    final = build.building is False
    started = from_millis(build.timestamp)
    duration = whole(build.duration) if final else None
    finished = from_millis(build.timestamp + duration) if duration is not None else None
    record = Record(
        "builds",
        f"{job}#{build.number}@{build.timestamp}",
        body,
        parent=job,
        updated_at=finished or started,
        final=final,
        columns=(
            job,
            build.number,
            text(build.result),
            flag(build.building),
            started,
            finished,
            duration,
            text(build.display_name),
            text(build.description),
            f"{base}{item_path(job)}/{build.number}/",
            text(build.built_on) or None,
            whole(build.queue_id),
            *action_values(build.actions, unquote(job.rpartition("/")[2])),
            _runs_of(build),
        ),
    )
    return Build(build.number, build.timestamp, record)


def _runs_of(build: _Build) -> int | None:
    """How many combinations this matrix build ran; None for other kinds.

    A build of only some combinations lists older runs of the others, by the numbers of their own builds.
    """
    try:
        return sum(run.number == build.number for run in _runs.decode(build.runs)) if build.runs else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _legible_key(body: bytes, job: str) -> str | None:
    """The short key of a build whose time is not legible."""
    try:
        return f"{job}#{_number.decode(body).number}"
    except (msgspec.DecodeError, RecursionError):
        return None
