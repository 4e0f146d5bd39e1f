"""Credentials of kind `oauth2`: what they need, where their secrets may be sent, and what of them stays."""

from urllib.parse import parse_qsl

import msgspec
from msgspec import UnsetType
from yarl import URL

from adapters.guard import AddressGuard
from api.problems import FieldError
from config.logs import SECRET_KEY
from config.secret import MASK
from store.credentials import HOLDS, Credential
from store.tokens import Secrets

#: What is told of such a credential; its options besides which secrets it holds.
FIELDS = ("token_url", "client_id", "scope")
SECRETS = ("secret", "refresh_token")

#: A secret as a request gives it: not at all, the mask, null, or a text.
Given = str | UnsetType | None


class Holds(msgspec.Struct, frozen=True):
    """Which secrets a credential will have, and which of them are those that are stored already."""

    after: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def is_kept(given: Given) -> bool:
    """Whether a request leaves what is stored."""
    return given is msgspec.UNSET or given == MASK


def holds(before: Credential | None, given: dict[str, Given], *, movable: bool) -> Holds:
    """What a credential holds after a request. Not `movable`: what is stored may not go where it would."""
    stored = {"secret": before.has_secret, "refresh_token": before.has_refresh_token} if before else {}
    kept = tuple(name for name in SECRETS if movable and is_kept(given[name]) and stored.get(name))
    new = tuple(name for name in SECRETS if given[name] and not is_kept(given[name]))
    return Holds(tuple(name for name in SECRETS if name in kept + new), kept)


def movable(before: Credential, kind: str, token_url: str | None) -> bool:
    """Whether stored secrets may be used as the credential is to be: they are sent to no other host."""
    if "oauth2" not in (before.kind, kind):
        return True
    return before.kind == kind and _origin(before.options.get("token_url")) == _origin(token_url)


def left_behind(before: Credential, given: dict[str, Given]) -> list[FieldError]:
    """What is to be said of stored secrets that may not be used and that nobody spoke of."""
    stored = {"secret": before.has_secret, "refresh_token": before.has_refresh_token}
    message = "The stored one is not sent to another host, or as another kind: give it anew, or null."
    return [FieldError(name, message) for name in SECRETS if stored[name] and is_kept(given[name])]


def options(values: dict[str, str | None], after: tuple[str, ...]) -> dict[str, object]:
    """What is stored in clear."""
    return {**{name: value for name, value in values.items() if value is not None}, HOLDS: list(after)}


def merged(before: Secrets, given: dict[str, Given], kept: tuple[str, ...]) -> Secrets:
    """The secrets as they are to be."""
    texts: dict[str, str | None] = {}
    for name in SECRETS:
        value = given[name]
        stored: str | None = getattr(before, name) if name in kept else None
        texts[name] = stored if is_kept(value) or not isinstance(value, str) else value or None
    return Secrets(**texts)


def check(
    token_url: str | None, client_id: str | None, after: tuple[str, ...], guard: AddressGuard
) -> list[FieldError]:
    """What speaks against such a credential. No request is made."""
    wrong = []
    problem = _unfit(token_url, guard) if token_url else "Say where tokens are fetched."
    if problem:
        wrong.append(FieldError("token_url", problem))
    if not client_id:
        wrong.append(FieldError("client_id", "Give the id under which the client is registered."))
    if not after:
        wrong.append(FieldError("secret", "A client secret is needed, or a refresh_token, or both."))
    return wrong


def _unfit(text: str, guard: AddressGuard) -> str | None:
    """Why no secret is sent to this URL; None if it may be."""
    try:
        url = URL(text)
        host = url.raw_host
    except ValueError:
        return "This is not a URL."
    if url.scheme not in ("http", "https") or not host:
        return "Give the whole URL, like https://login.example.com/oauth/token."
    if url.user is not None or url.password is not None or url.raw_fragment:
        return "Leave user name, password and fragment out."
    if any(SECRET_KEY.search(name) for name, _ in parse_qsl(url.raw_query_string)):
        return "A secret belongs in secret or refresh_token, not in the URL."
    if not guard.admits(host):
        return "This is a private or special address, which is not allowed here."
    if url.scheme == "http" and AddressGuard().admits(host):
        return "Use https, or the secret travels in clear; only for an allowed private address http will do."
    return None


def _origin(url: object) -> str | None:
    try:
        return str(URL(str(url)).origin())
    except ValueError:
        return None
