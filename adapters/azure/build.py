"""One build as a record: its columns, and whether it can still change."""

import msgspec

from adapters.azure.values import identifier, moment, person, person_id, text, whole
from adapters.base import Column, Record, Rejected, Stream

NAME = "builds"
STREAM = Stream(
    NAME,
    columns=(
        Column("project", "text", "project.name"),
        Column("pipeline", "text", "definition.name"),
        Column("pipeline_id", "integer", "definition.id"),
        Column("number", "text", "buildNumber"),
        Column("status", "text", "status"),
        Column("result", "text", "result"),
        Column("reason", "text", "reason"),
        Column("priority", "text", "priority"),
        Column("queued_at", "time", "queueTime"),
        Column("started_at", "time", "startTime"),
        Column("finished_at", "time", "finishTime"),
        # The time it ran; the time it waited is the difference of the two before.
        Column("duration", "integer", "finishTime", unit="ms"),
        Column("branch", "text", "sourceBranch"),
        Column("commit_sha", "text", "sourceVersion"),
        Column("repository", "text", "repository.name"),
        Column("repository_id", "text", "repository.id"),
        Column("repository_type", "text", "repository.type"),
        Column("requested_for", "text", "requestedFor.displayName"),
        Column("requested_for_id", "text", "requestedFor.id"),
        Column("requested_by", "text", "requestedBy.displayName"),
        Column("tags", "text", "tags"),
        Column("queue", "text", "queue.name"),
        Column("pool", "text", "queue.pool.name"),
        Column("kept", "boolean", "keepForever"),
    ),
    parent="pipelines",
    # The first two only say where we asked. A build carries its project, with the project's own revision and
    # time of change, twice: renaming the project changes every one of them and no build.
    volatile=("_links", "url", "project", "definition.project"),
)


class _Named(msgspec.Struct):
    """A part of a build that has an id and a name, of whatever type they are."""

    id: object = None
    name: object = None
    type: object = None
    pool: msgspec.Raw = msgspec.Raw(b"null")


class _Build(msgspec.Struct, rename="camel"):
    """Only the id must be right; members for columns are taken as they come."""

    id: int
    status: object = None
    result: object = None
    build_number: object = None
    reason: object = None
    priority: object = None
    queue_time: object = None
    start_time: object = None
    finish_time: object = None
    last_changed_date: object = None
    source_branch: object = None
    source_version: object = None
    requested_for: object = None
    requested_by: object = None
    tags: object = None
    keep_forever: object = None
    deleted: object = None
    project: msgspec.Raw = msgspec.Raw(b"null")
    definition: msgspec.Raw = msgspec.Raw(b"null")
    repository: msgspec.Raw = msgspec.Raw(b"null")
    queue: msgspec.Raw = msgspec.Raw(b"null")


class Build(msgspec.Struct, frozen=True):
    """A build's record, and whether retention has deleted it."""

    record: Record
    deleted: bool


_build = msgspec.json.Decoder(_Build)
_named = msgspec.json.Decoder(_Named)


def read_build(raw: msgspec.Raw, project: str | None = None) -> Build | Rejected:
    """One build; rejected without an id, whatever else is odd is left out.

    `project` is the GUID of the project that was asked for it, for a build that does not tell its own.
    """
    body = bytes(raw)
    try:
        build = _build.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected(NAME, None, f"Not a build as we know it: {e}", body)
    home, pipeline = _part(build.project), _part(build.definition)
    repository, queue = _part(build.repository), _part(build.queue)
    queued, started, finished = moment(build.queue_time), moment(build.start_time), moment(build.finish_time)
    took = round((finished - started).total_seconds() * 1000) if started and finished else None
    owner, number = text(home.id) or project, whole(pipeline.id)
    record = Record(
        NAME,
        str(build.id),
        body,
        parent=f"{owner.lower()}/{number}" if owner and number is not None else None,
        updated_at=moment(build.last_changed_date) or finished or started or queued,
        # Only a completed build has a finish; a status that we do not know is looked at again.
        final=build.status == "completed" or finished is not None or build.deleted is True,
        columns=(
            text(home.name),
            text(pipeline.name),
            number,
            text(build.build_number),
            text(build.status),
            text(build.result),
            text(build.reason),
            text(build.priority),
            queued,
            started,
            finished,
            took,
            text(build.source_branch),
            text(build.source_version),
            text(repository.name),
            identifier(repository.id),
            text(repository.type),
            person(build.requested_for),
            person_id(build.requested_for),
            person(build.requested_by),
            _joined(build.tags),
            text(queue.name),
            text(_part(queue.pool).name),
            build.keep_forever if isinstance(build.keep_forever, bool) else None,
        ),
    )
    return Build(record, build.deleted is True)


def _part(raw: msgspec.Raw) -> _Named:
    try:
        return _named.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _Named()


def _joined(tags: object) -> str | None:
    """As work items write theirs."""
    if not isinstance(tags, list):
        return None
    return "; ".join(tag for tag in tags if isinstance(tag, str)) or None
