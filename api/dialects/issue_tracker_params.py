"""Issue tracker connections: the parameters as clients see and send them, and the secrets among these."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from api.dialects.issue_tracker_rows import KeptServer, Row
from api.dialects.issue_tracker_target import Place, at, read
from api.problems import FieldError, invalid
from api.shapes import Discreet
from config.logs import SECRET_KEY
from config.secret import MASK
from worker.remote import Adapters

SERVER, METHOD = "issue_tracker_server", "issue_tracker_method"
PROJECT, PARENT = "issue_tracker_project", "issue_tracker_parent_issue"
USER, PASS, MODE = "issue_tracker_user", "issue_tracker_pass", "issue_tracker_auth_mode"
CERTIFICATE = "issue_tracker_validate_cert"

#: What every connection of the product has. Tidegate reads only, and gives back what clients set.
_USUAL: Mapping[str, object] = {
    "sde_verification_filter": "none,partial,pass,fail",
    "sde_statuses_in_scope": "TODO",
    "sde_min_priority": 7,
    "sde_businessunit": "General",
    "conflict_policy": "issue_tracker",
    "issue_tracker_title_format": "$task_id $title",
    "issue_tracker_phases": "requirements,architecture-design,development",
    "issue_tracker_reference_context": 5,
}
_USUAL_OF: Mapping[str, Mapping[str, object]] = {
    "jira": {"jira_version": "5"},
    "rally": {"rally_workspace": ""},
}
_TEXTS = (SERVER, METHOD, PROJECT, PARENT, USER, PASS, MODE, "sde_application")
_TYPES: Mapping[str, type] = {
    **{name: type(value) for name, value in _USUAL.items()},
    **dict.fromkeys(_TEXTS, str),
    CERTIFICATE: bool,
}
_NEEDED = {str: "A text is needed.", int: "A whole number is needed.", bool: "true or false is needed."}
#: These are facts, and what a client says of them is passed over.
_FACTS = frozenset({"sde_project", "last_successful_run", "session_capture_socket", CERTIFICATE})
_OF_CREDENTIAL = frozenset({USER, MODE})
_SECRET = re.compile(r"(^|_)(pass|passphrase|pwd|pat)$", re.IGNORECASE)
_USERINFO = re.compile(r"://[^\s/?#]*@")


class Given(Discreet, frozen=True, kw_only=True):
    """Parameters of a request, told apart. `params` are what differs, without secrets; null takes one away.

    `user` and `mode` differ from what there is; `secret` is new, and `secrets` are the names that it has.
    """

    params: Mapping[str, Any]
    secrets: list[str]
    secret: str | None
    user: str | None
    mode: str | None


def shown(row: Row, adapters: Adapters) -> dict[str, Any]:
    """All parameters of a connection, with `********` for secrets."""
    place = place_of(row, adapters)
    found: dict[str, Any] = {
        **_USUAL,
        **_USUAL_OF.get(row.system, {}),
        "sde_application": row.project or "",
        **row.kept.params,
        "sde_project": row.project or "",
        MODE: row.kind or "anonymous",
        USER: row.username or "",
        CERTIFICATE: True,
        METHOD: place.method,
        SERVER: place.server,
        PROJECT: place.project,
        PARENT: place.parent,
    }
    if not place.parent:
        del found[PARENT]
    found |= dict.fromkeys((PASS, *row.kept.secrets), MASK if row.has_secret else "")
    if row.debug:
        found["session_capture_socket"] = f"/v1/connections/{row.id}/log"
    if row.last_success_at is not None:
        found["last_successful_run"] = row.last_success_at.isoformat(timespec="microseconds")
    return found


def place_of(row: Row, adapters: Adapters) -> Place:
    """Where a connection reads; of a draft, where it would as far as that is known."""
    adapter, kept = adapters.get(row.system), row.kept.params
    if row.url is not None and adapter is not None:
        return read(adapter, row.url, row.params)
    if row.url is not None:
        server = read(None, row.url, {})
    else:
        server = Place(method=row.server.method, server=row.server.server)
        if kept.get(SERVER):
            server = at(kept[SERVER], kept.get(METHOD, "https"))
    return replace(server, project=kept.get(PROJECT, ""), parent=kept.get(PARENT, ""))


def moved(place: Place, changes: Mapping[str, Any], connector: KeptServer | None = None) -> Place:
    """The place with changed parameters, at the server of another connector if that names one. Raises 422."""
    server, method = changes.get(SERVER), changes.get(METHOD)
    if method not in (None, "http", "https"):
        raise invalid(FieldError(f"params.{METHOD}", "It is https or http."))
    if connector is not None and connector.server:
        there = at(connector.server, connector.method)
        place = replace(place, server=there.server, method=there.method)
    if server:
        there = at(server, method or place.method)
        place = replace(place, server=there.server, method=there.method)
    elif method:
        place = replace(place, method=method)
    if PROJECT in changes:
        place = replace(place, project=(changes[PROJECT] or "").strip(), query=None)
    if PARENT in changes:
        place = replace(place, parent=(changes[PARENT] or "").strip())
    return place


def told_apart(params: Mapping[str, Any], before: Mapping[str, Any]) -> Given:
    """What a request's parameters change of those of before. Raises 422 for what cannot be kept."""
    wrong = [*_unfit(params)]
    secrets = {name: value for name, value in params.items() if _is_secret(name)}
    new = {name: value for name, value in secrets.items() if value and value != MASK}
    if len(set(new.values())) > 1 and not wrong:
        wrong = [FieldError(f"params.{name}", "One secret is stored: send one.") for name in sorted(new)]
    if wrong:
        raise invalid(*wrong)
    changed = {
        name: value
        for name, value in params.items()
        if name not in secrets and name not in _FACTS and (name not in before or before[name] != value)
    }
    return Given(
        params={name: value for name, value in changed.items() if name not in _OF_CREDENTIAL},
        secrets=sorted(set(secrets) - {PASS}),
        secret=next(iter(new.values()), None),
        user=changed.get(USER) or None,
        mode=changed.get(MODE) or None,
    )


def merged(kept: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept after changes."""
    both = {**kept, **changes}
    return {name: value for name, value in both.items() if value is not None}


def _is_secret(name: str) -> bool:
    return bool(SECRET_KEY.search(name) or _SECRET.search(name))


def _unfit(params: Mapping[str, Any]) -> Iterator[FieldError]:
    """What cannot be taken: of another type than it has, or a secret where it would be stored in clear."""
    for name, value in params.items():
        needed = str if _is_secret(name) else _TYPES.get(name)
        if needed is not None and value is not None and type(value) is not needed:
            yield FieldError(f"params.{name}", _NEEDED[needed])
        elif not _is_secret(name) and any(_holds_secret(each) for each in _within(value)):
            yield FieldError(f"params.{name}", f"There is a secret in this; {PASS} is the place for it.")


def _holds_secret(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_is_secret(name) for name in value)
    return isinstance(value, str) and _USERINFO.search(value) is not None


def _within(value: object) -> Iterator[object]:
    """A value and all that is in it, at any depth."""
    left = [value]
    while left:
        each = left.pop()
        yield each
        if isinstance(each, Mapping):
            left += each.values()
        elif isinstance(each, list):
            left += each
