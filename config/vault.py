"""Secrets at rest: sealed with authenticated encryption that is bound to the place where they are kept."""

import base64
import binascii
import os
import re
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from config.secret import Secret

SHORTEST_KEY = 16  # characters
NONCE = 12  # bytes, chosen at random for each seal
SEALED = re.compile(r"v1\.([0-9a-f]{12})\.([A-Za-z0-9_-]+)")


class VaultError(Exception):
    """A secret cannot be sealed or opened. The message says what is needed, without plaintext or key."""


def _ignore(_: str) -> None:
    return None


class Vault:
    """Seals with the first key and opens with any of them, so that keys can be changed while running.

    A key is any text of at least 16 characters; the length and form do not matter beyond that. `on_reveal`
    is told every opened plaintext, so that the log redactor knows what to mask.
    """

    def __init__(self, keys: Sequence[Secret], on_reveal: Callable[[str], None] = _ignore) -> None:
        if not keys:
            raise VaultError("a vault needs at least one key")
        self._keys = [_Key(key) for key in keys]
        self._by_id = {key.id: key for key in self._keys}
        self._on_reveal = on_reveal

    def seal(self, text: str, place: str) -> str:
        """`text` as `v1.<key id>.<base64url>`, openable only at `place`; different each time."""
        key, nonce = self._keys[0], os.urandom(NONCE)
        sealed = nonce + key.cipher.encrypt(nonce, text.encode(), _bound(key.id, place))
        return f"v1.{key.id}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, sealed: str, place: str, *, secret: bool = True) -> str:
        """The text that was sealed for `place`; VaultError if key, place or bytes do not fit.

        What is not itself a `secret` is not told to `on_reveal`.
        """
        key_id, data = _parts(sealed, place)
        key = self._by_id.get(key_id)
        if key is None:
            raise VaultError(
                f"the secret at {place} was sealed with key {key_id}, and the keys given are "
                f"{', '.join(self._by_id)}: add the missing one to TIDEGATE_SECRET_KEY, after a comma"
            )
        try:
            opened = key.cipher.decrypt(data[:NONCE], data[NONCE:], _bound(key_id, place))
        except InvalidTag:
            raise VaultError(f"the secret at {place} is damaged or was sealed for another place") from None
        text = opened.decode()
        if secret:
            self._on_reveal(text)
        return text

    def needs_rotation(self, sealed: str) -> bool:
        """True unless the first key sealed it."""
        return not sealed.startswith(f"v1.{self._keys[0].id}.")

    @property
    def fingerprint(self) -> str:
        """What tells the first key from others; it can be stored and shown."""
        return self._keys[0].fingerprint

    def knows(self, fingerprint: str) -> bool:
        """Whether any of the keys has this fingerprint: true for a database sealed before a rotation."""
        return any(key.fingerprint == fingerprint for key in self._keys)


class _Key:
    """One key: its cipher, and two names that say which key it is and nothing about it."""

    def __init__(self, key: Secret) -> None:
        text = key.reveal()
        if len(text) < SHORTEST_KEY:
            raise VaultError(f"a secret key has at least {SHORTEST_KEY} characters; this one has {len(text)}")
        self.cipher = AESGCM(_derived(text, "seal", 32))
        self.id = _derived(text, "key id", 6).hex()
        self.fingerprint = _derived(text, "fingerprint", 16).hex()


def _derived(text: str, purpose: str, length: int) -> bytes:
    info = f"tidegate vault v1 {purpose}".encode()
    return HKDF(SHA256(), length, salt=None, info=info).derive(text.encode("utf-8", "surrogatepass"))


def _bound(key_id: str, place: str) -> bytes:
    return f"v1.{key_id}\n{place}".encode()


def _parts(sealed: str, place: str) -> tuple[str, bytes]:
    match = SEALED.fullmatch(sealed)
    try:
        data = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4)) if match else b""
    except binascii.Error:
        data = b""
    if match is None or len(data) <= NONCE:
        raise VaultError(f"the secret at {place} is damaged: it does not have the form of a sealed secret")
    return match[1], data
