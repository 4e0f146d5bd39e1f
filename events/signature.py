"""Signatures of outgoing webhooks, by Standard Webhooks: so that a receiver knows who sends, and what."""

import binascii
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime

PREFIX = "whsec_"
#: Bytes of a secret: what is made here, and what the specification takes.
LENGTH = 32
SHORTEST, LONGEST = 24, 64

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"


def new_secret() -> str:
    """A secret as receivers take it: `whsec_`, and random bytes in base64."""
    return PREFIX + b64encode(secrets.token_bytes(LENGTH)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises ValueError, saying what is wanted, for what is no secret."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(
            f"Give {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64, or leave this out."
        )
    return key


def headers(secrets: Iterable[str], uid: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """The three headers, with one signature for each secret, the newest first."""
    timestamp = str(int(at.timestamp()))
    signed = [f"v1,{_signature(key_of(secret), uid, timestamp, body)}" for secret in secrets]
    return {ID: uid, TIMESTAMP: timestamp, SIGNATURE: " ".join(signed)}


def _signature(key: bytes, uid: str, timestamp: str, body: bytes) -> str:
    content = f"{uid}.{timestamp}.".encode() + body
    return b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
