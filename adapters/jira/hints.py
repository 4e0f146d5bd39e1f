"""What a person can do about Jira's refusals."""

from urllib.parse import urlsplit

from adapters.auth import Anonymous, Auth, Basic

_GATEWAY = "https://api.atlassian.com/ex/jira/{cloudId}"

_CLOUD = (
    "Jira Cloud takes an API token with kind basic and the account's e-mail address as user name. A token "
    f"with scopes works only at {_GATEWAY}; use that as the URL, or a "
    "token without scopes. Otherwise it may be wrong, expired or revoked."
)
_AT_GATEWAY = (
    "Behind api.atlassian.com Jira takes an API token with scopes (kind basic, the account's e-mail address "
    "as user name) or an OAuth access token (kind bearer). Check that the cloudId in the URL is that of the "
    "token's own site, and that the token is not wrong, expired or revoked."
)
_BY_NAME = (
    "Check user name and password. Where Jira Data Center does not take them (from version 11 on by "
    "default), make a personal access token in the account's profile and use it with kind pat."
)
_BY_PAT = (
    "The personal access token may be wrong, expired or revoked: look in the account's profile under "
    "Personal Access Tokens, make a new one and use it with kind pat. Jira knows them from 8.14 on."
)

CAPTCHA = (
    "Log in once in the browser with this account and solve the captcha, correct the credential, "
    "then test the connection."
)
STRANGER = "Give this connection a credential: this Jira shows nothing to strangers."
SINGLE_SIGN_ON = (
    "If a single sign-on stands before Jira, have its REST API (/rest/) let through for this account."
)
BASIC_OFF = (
    "Its administrators switched basic authentication off. Make a personal access token in the account's "
    "profile and use it with kind pat."
)
PERMISSION = "Give the account permission to use Jira and to browse the projects, or use another credential."
FORBIDDEN_PAGE = (
    "Something before Jira (a single sign-on, a proxy, a firewall, a list of allowed addresses) or Jira "
    "itself refuses this account. Have its REST API (/rest/) let through, and the account given access."
)
WRONG_ADDRESS = (
    "Check that the URL is the address of the Jira site with its context path (like /jira) where it has "
    "one, and without a path that is not part of it."
)
NO_ISSUES = (
    "No issue matches, as far as this account sees. If there should be some, give the account the "
    "permission Browse Projects in their projects, and check the query."
)


def credential(auth: Auth, product: str | None, *, gateway: bool) -> str:
    """What to do about a refused credential of this kind at this product."""
    if isinstance(auth, Anonymous):
        return STRANGER
    if gateway:
        return _AT_GATEWAY
    server = _BY_NAME if isinstance(auth, Basic) else _BY_PAT
    if product == "cloud":
        return _CLOUD
    return server if product else f"{_CLOUD} On Jira Data Center or Server: {server}"


def query(*, anonymous: bool) -> str:
    """What to do about a query that is refused: what is hidden looks as if it did not exist."""
    who = "strangers" if anonymous else "this account"
    remedy = "use a credential" if anonymous else "give the account the permission Browse Projects"
    return (
        "Check the query (filter, JQL, parameters) of this connection. A project or value that "
        f"{who} may not see looks as if it did not exist: {remedy} where it should."
    )


def scope_of(url: str) -> str:
    """The scope that an endpoint needs (OpenAPI document: `/myself` alone reads a user)."""
    return "read:jira-user" if urlsplit(url).path.endswith("/myself") else "read:jira-work"


def missing_scope(scope: str) -> str:
    return (
        f"Make a token with the scopes read:jira-work and read:jira-user ({scope} is missing here), "
        "and put it into the credential: scopes cannot be added to a token afterwards."
    )
