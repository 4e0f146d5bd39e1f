"""Who sent a webhook: how senders of all systems show the secret, and what they call a delivery."""

import hmac
from base64 import b64decode
from collections.abc import Iterator

from adapters.base import Hook

_LONGEST_ID = 200


def verify(hook: Hook, secret: str) -> bool:
    """Whether the sender shows the secret: in `X-Tidegate-Token`, or in `Authorization` as it is, as a
    bearer, or as the password of any user.
    """
    expected = as_bytes(secret)
    # Every one is compared, so that the time tells nothing about which.
    same = [hmac.compare_digest(shown, expected) for shown in _shown(hook)]
    return bool(expected) and any(same)


def _shown(hook: Hook) -> Iterator[bytes]:
    authorization = hook.headers.get("authorization", "")
    yield as_bytes(hook.headers.get("x-tidegate-token", ""))
    yield as_bytes(authorization)
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield as_bytes(value.strip())
    if scheme.lower() == "basic":
        try:
            _, colon, password = b64decode(as_bytes(value.strip()), validate=True).partition(b":")
        except ValueError:
            return
        if colon:
            yield password


def delivery_id(value: object) -> str | None:
    """What a sender calls a delivery, if that can be kept; an absurd id is none."""
    usable = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()
    return value if usable and isinstance(value, str) else None


def as_bytes(text: str) -> bytes:
    """A header as it came: those that are no UTF-8 have surrogates for their bytes."""
    return text.encode(errors="surrogateescape")
