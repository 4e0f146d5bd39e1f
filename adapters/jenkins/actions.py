"""What plugins attach to a build: its cause, the commit it was made of, its test results.

Actions come as a list full of empty objects and of classes nobody knows; several may be of one kind.
"""

import re

import msgspec

from adapters.base import Column, Value
from adapters.jenkins.values import text, whole

# Not asked for: the values of parameters and the URLs of repositories, because both may hold secrets.
ACTIONS_TREE = (
    "actions[causes[shortDescription,userId,userName,upstreamProject,upstreamBuild],"
    "lastBuiltRevision[SHA1,branch[SHA1,name]],totalCount,failCount,skipCount,urlName]"
)

ACTION_COLUMNS = (
    Column("cause", "text", "actions.causes.shortDescription"),
    Column("started_by", "text", "actions.causes.userId"),
    Column("upstream", "text", "actions.causes.upstreamProject"),
    Column("commit_sha", "text", "actions.lastBuiltRevision.SHA1"),
    Column("branch", "text", "actions.lastBuiltRevision.branch.name"),
    Column("tests_total", "integer", "actions.totalCount"),
    Column("tests_failed", "integer", "actions.failCount"),
    Column("tests_skipped", "integer", "actions.skipCount"),
)

_PREFIX = re.compile(r"refs/remotes/[^/]+/|refs/heads/|origin/")


class _Cause(msgspec.Struct, rename="camel", gc=False):
    short_description: object = None
    user_id: object = None
    upstream_project: object = None
    upstream_build: object = None


class _Branch(msgspec.Struct, gc=False):
    name: object = None


class _Revision(msgspec.Struct, gc=False):
    sha: object = msgspec.field(default=None, name="SHA1")
    branch: list[_Branch] | None = None


class _Action(msgspec.Struct, rename="camel", gc=False):
    causes: list[_Cause] | None = None
    last_built_revision: _Revision | None = None
    total_count: object = None
    fail_count: object = None
    skip_count: object = None
    url_name: object = None


_actions = msgspec.json.Decoder(list[_Action | None])


def action_values(member: msgspec.Raw, branch: str) -> tuple[Value, ...]:
    """The values of `ACTION_COLUMNS`, None where the list is not as expected.

    `branch` is what the job is named after: of several checked out repositories that one counts.
    """
    try:
        actions = [action for action in _actions.decode(member) if action] if member else []
    except (msgspec.DecodeError, RecursionError):
        actions = []
    return (*_cause(actions), *_revision(actions, branch), *_tests(actions))


def _cause(actions: list[_Action]) -> tuple[Value, ...]:
    """What started the build, who, and the upstream build; the first cause counts."""
    cause = next((cause for action in actions for cause in action.causes or ()), None)
    if cause is None:
        return None, None, None
    upstream, number = text(cause.upstream_project), whole(cause.upstream_build)
    named = f"{upstream}#{number}" if upstream and number is not None else upstream
    return text(cause.short_description), text(cause.user_id), named


def _revision(actions: list[_Action], branch: str) -> tuple[str | None, str | None]:
    """Commit and branch. A pipeline with a library checks out more than one repository."""
    first: tuple[str | None, str | None] | None = None
    for action in actions:
        revision = action.last_built_revision
        if revision is None:
            continue
        found = text(revision.sha), _bare(text(revision.branch[0].name) if revision.branch else None)
        if found[1] == branch:
            return found
        first = first or found
    return first or (None, None)


def _bare(branch: str | None) -> str | None:
    """The branch of `origin/main`, `refs/remotes/origin/main` or `main`; None for a detached head."""
    if branch is None or branch == "detached":
        return None
    prefix = _PREFIX.match(branch)
    return branch[prefix.end() :] if prefix else branch


def _tests(actions: list[_Action]) -> tuple[Value, ...]:
    """Tests in total, failed and skipped; of the test report, where other reports count too."""
    counted = [action for action in actions if whole(action.total_count) is not None]
    if not counted:
        return None, None, None
    best = next((action for action in counted if action.url_name == "testReport"), counted[0])
    return whole(best.total_count), whole(best.fail_count), whole(best.skip_count)
