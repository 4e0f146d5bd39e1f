"""Jobs and the containers that hold them: what is asked for, and how an answer becomes a record."""

from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from adapters.base import Column, Record, Rejected, Stream, Unreadable, Value
from adapters.http import Reply, decode
from adapters.jenkins.builds import Mark
from adapters.jenkins.urls import item_path
from adapters.jenkins.values import flag, text, whole
from adapters.times import from_millis

# Health, queue and the other build pointers are left out: they change without the job having changed.
JOB_TREE = (
    "name,fullName,displayName,fullDisplayName,url,description,color,buildable,disabled,"
    "nextBuildNumber,lastBuild[number,timestamp,building,result,duration]"
)
# One question serves whatever the URL names: a job knows no `jobs`, a container no builds, and Jenkins
# leaves out what it does not know.
ITEM_TREE = f"{JOB_TREE},jobs[{JOB_TREE}]"
# A view may hold views instead of jobs.
VIEW_TREE = f"name,jobs[{JOB_TREE}],views[name]"

# What people call them; others are told apart by whether they have builds. Classes end like this.
_KINDS = {
    "WorkflowJob": "pipeline",
    "FreeStyleProject": "freestyle",
    "MatrixProject": "matrix",
    "MavenModuleSet": "maven",
    "ExternalJob": "external",
    "OrganizationFolder": "organization",
    "MultiBranchProject": "multibranch",
}
_CONTAINERS = (".Folder", "OrganizationFolder", "MultiBranchProject")

JOBS = Stream(
    "jobs",
    columns=(
        Column("kind", "text", "_class"),
        Column("class", "text", "_class"),
        Column("name", "text", "name"),
        Column("display_name", "text", "displayName"),
        Column("url", "text", "fullName"),
        Column("description", "text", "description"),
        Column("color", "text", "color"),
        Column("buildable", "boolean", "buildable"),
        Column("disabled", "boolean", "disabled"),
        Column("building", "boolean", "lastBuild.building"),
        Column("last_build_number", "integer", "lastBuild.number"),
        Column("last_build_at", "time", "lastBuild.timestamp", unit="ms"),
        Column("next_build_number", "integer", "nextBuildNumber"),
    ),
    parent="jobs",
    # Jenkins writes links with its configured address, and with the prefix of the view they were asked by.
    volatile=("url",),
)


class _Last(msgspec.Struct):
    number: object = None
    timestamp: object = None
    building: object = None
    result: object = None
    duration: object = None


class _Name(msgspec.Struct):
    name: str


class _Job(msgspec.Struct, rename="camel"):
    """Only the name must be right; members for columns are taken as they come."""

    name: str
    full_name: str | None = None
    item_class: object = msgspec.field(default=None, name="_class")
    display_name: object = None
    description: object = None
    color: object = msgspec.UNSET
    buildable: object = msgspec.UNSET
    disabled: object = None
    next_build_number: object = msgspec.UNSET
    last_build: object = msgspec.UNSET

    @property
    def builds(self) -> bool:
        """Jobs have these members, be they null; containers have none of them, whatever plugin made them.

        Should a known kind of container ever get one, it stays a container.
        """
        if (text(self.item_class) or "").endswith(_CONTAINERS):
            return False
        own = (self.color, self.buildable, self.next_build_number, self.last_build)
        return any(member is not msgspec.UNSET for member in own)


class Item(msgspec.Struct, frozen=True):
    """A job, or a container of jobs (`mark` None), and its record."""

    full_name: str
    record: Record
    mark: Mark | None


_job = msgspec.json.Decoder(_Job)
_children = msgspec.json.Decoder(list[msgspec.Raw])
_views = msgspec.json.Decoder(list[_Name])


class Answer(msgspec.Struct, frozen=True):
    """What a URL named: the item itself (None for the controller and for views) and what it holds.

    `children` is None for what holds no jobs; `views` are the names of the views in a view.
    """

    item: Item | Rejected | None
    children: list[Item | Rejected] | None
    views: Sequence[str] = ()


def read_answer(reply: Reply, base: str, container: str = "", *, nameless: bool = False) -> Answer:
    """The answer to a question with `ITEM_TREE`. `container` is the full name of what holds the item.

    `nameless`: the path is the controller or a view, which are no items. Raises `Unreadable` for an answer
    that is neither a job nor a container.
    """
    members = decode(reply, dict[str, msgspec.Raw])
    jobs = members.pop("jobs", None)
    views = _views_of(members["views"], reply) if nameless and "views" in members else []
    if nameless and jobs is None and not views:
        raise Unreadable(f"{reply.summary} without any list of jobs.")
    item = None
    if not nameless:
        # Children are records of their own. Without them these are the bytes that a question for the
        # item alone is answered with.
        item = read_item(reply.body if jobs is None else msgspec.json.encode(members), base, container)
        if jobs is None and "name" not in members:
            raise Unreadable(f"{reply.summary} with neither a job nor a folder.")
    if jobs is None:
        return Answer(item, None, views)
    inside = item.full_name if isinstance(item, Item) else container
    found = [read_item(bytes(raw), base, inside) for raw in _list(jobs, reply)]
    return Answer(item, found, views)


def read_item(body: bytes, base: str, container: str) -> Item | Rejected:
    """The record of one job or container as Jenkins exports it below the container of that full name."""
    try:
        job = _job.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected("jobs", None, f"It has no legible name: {e}", body)
    full_name = job.full_name or _below(container, job.name)
    if not full_name.strip("/"):
        return Rejected("jobs", None, "Its name is empty.", body)
    last = _last(job.last_build)
    record = Record(
        "jobs",
        full_name,
        body,
        parent=full_name.rpartition("/")[0] or None,
        columns=_columns(job, last, base + item_path(full_name) + "/"),
    )
    return Item(full_name, record, _mark(job, last) if job.builds else None)


def _list(jobs: msgspec.Raw, reply: Reply) -> list[msgspec.Raw]:
    try:
        return _children.decode(jobs)
    except msgspec.DecodeError as e:
        raise Unreadable(f"{reply.summary} with a list of jobs that is none: {e}") from None


def _views_of(views: msgspec.Raw, reply: Reply) -> list[str]:
    try:
        return [view.name for view in _views.decode(views)]
    except msgspec.DecodeError as e:
        raise Unreadable(f"{reply.summary} with a list of views that is none: {e}") from None


def _below(container: str, name: str) -> str:
    """The full name where Jenkins (before 1.6) does not tell it; a name with a slash is a full one."""
    return f"{container}/{name}" if container and "/" not in name else name


def _last(member: object) -> _Last:
    return msgspec.convert(member, _Last) if isinstance(member, dict) else _Last()


def _mark(job: _Job, last: _Last) -> Mark:
    return Mark(
        number=whole(last.number) or 0,
        at=whole(last.timestamp) or 0,
        next=whole(job.next_build_number) or 0,
        state=f"{last.result} {last.duration}"[:60] if last.building is False else "",
    )


def _columns(job: _Job, last: _Last, url: str) -> tuple[Value, ...]:
    color = text(job.color)
    return (
        _kind(job),
        text(job.item_class),
        unquote(job.name),
        text(job.display_name),
        url,
        text(job.description),
        color,
        flag(job.buildable),
        color.startswith("disabled") if job.disabled is None and color else flag(job.disabled),
        flag(last.building),
        whole(last.number),
        from_millis(whole(last.timestamp)),
        whole(job.next_build_number),
    )


def _kind(job: _Job) -> str:
    found = (text(job.item_class) or "").rpartition(".")[2]
    named = next((kind for ending, kind in _KINDS.items() if found.endswith(ending)), None)
    return named or ("job" if job.builds else "folder")
