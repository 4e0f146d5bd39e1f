"""How Azure DevOps is told who we are, and what helps where it does not believe it."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.base import BadTarget

#: From then on tokens for all accessible organizations are refused (vendor docs).
GLOBAL_TOKENS_END = datetime(2026, 12, 1, tzinfo=UTC)


class Need(msgspec.Struct, frozen=True):
    """What has to be granted to read something: a token's scope, and the account's permission."""

    what: str
    scope: str
    permission: str


PROJECTS = Need("projects", "Project and Team (Read)", "View project-level information")
WORK_ITEMS = Need("work items", "Work Items (Read)", "View work items in this node")
BUILDS = Need("builds", "Build (Read)", "View builds")
HOOKS = Need(
    "service hook subscriptions",
    "Work Items (Read) and Build (Read)",
    "Edit subscriptions (of service hooks)",
)
PIPELINES = Need("pipelines", "Build (Read)", "View build pipeline")

_PAT_HINT = (
    "The personal access token is wrong, expired, revoked, or of another organization. Make one under User "
    "settings > Personal access tokens, with the scopes Project and Team (Read), Work Items (Read) and Build "
    "(Read), and store it in the credential."
)
_SERVER_HINT = (
    "A server on which IIS Basic authentication is switched on takes no tokens: switch it off there."
)
_ENTRA_HINT = (
    "The token must be one of Microsoft Entra for Azure DevOps (499b84ac-1321-427f-aa17-267ca6975798), not "
    "expired, of an account or application that is in the organization; and the organization must allow "
    "third-party application access via OAuth. Kind oauth2 renews tokens by itself."
)
_LOGIN_HINT = (
    "Check user name (DOMAIN\\user) and password, and that Basic authentication is on at the server. A "
    "personal access token (kind pat) is the better way."
)
_SERVICES_HINT = "Azure DevOps Services takes no passwords: use a personal access token (kind pat)."


class Token(Basic):
    """A personal access token: Basic with an empty user name (vendor docs)."""

    def __init__(self, reveal: Callable[[], str]) -> None:
        super().__init__("", reveal)


def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
    """The way a credential of that kind goes. Raises `BadTarget` for kinds that are not taken.

    A token of `oauth2` is fetched elsewhere; to Azure DevOps it is a bearer token of Microsoft Entra.
    """
    match kind:
        case "pat":
            return Token(reveal)
        case "basic":
            return Basic(username or "", reveal)
        case "bearer" | "oauth2":
            return Bearer(reveal)
        case "anonymous":
            return Anonymous()
    raise BadTarget(
        "kind", f"Azure DevOps does not take {kind}; use pat, oauth2, bearer, basic (Server) or anonymous."
    )


def has_password(auth: Auth) -> bool:
    """Whether a refusal may count against the account, so that nothing is asked a second time with it."""
    return isinstance(auth, Basic) and not isinstance(auth, Token)


def about_global_tokens(now: datetime) -> str:
    """What becomes of tokens for all organizations.

    Whether ours is one cannot be told: only hosts that have no business with our token would say.
    """
    instead = "Use one made for this organization only, or Microsoft Entra (kind oauth2)."
    if now < GLOBAL_TOKENS_END:
        return f"Tokens made for all accessible organizations stop working on 1 December 2026. {instead}"
    return f"Tokens made for all accessible organizations no longer work since 1 December 2026. {instead}"


def refused_hint(auth: Auth, now: datetime, *, hosted: bool) -> str:
    """What to do about a credential that is not accepted."""
    if isinstance(auth, Anonymous):
        return "Nothing is public here: give a token (kind pat) or use Microsoft Entra (kind oauth2)."
    if isinstance(auth, Token):
        return f"{_PAT_HINT} {about_global_tokens(now) if hosted else _SERVER_HINT}"
    if not has_password(auth):
        return _ENTRA_HINT
    return _SERVICES_HINT if hosted else _LOGIN_HINT


def needed_hint(auth: Auth, need: Need) -> str:
    """What to grant so that `need` can be read."""
    grant = f'the permission "{need.permission}"'
    if isinstance(auth, Anonymous):
        return f"The {need.what} are not public: give a credential whose account has {grant}."
    if isinstance(auth, Token):
        return f"It needs {need.scope}: give the token that scope, and its account {grant}."
    return f"It needs {need.scope}: give the account or application that scope, and {grant}."
