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
#: The same as a prefix, and how long the key's id behind it is: for statements of the database.
SEALED_PREFIX, ID_LENGTH = "v1.", 12


class VaultError(Exception):
    """A secret cannot be sealed or opened. The message says what is needed, without plaintext or key."""


def _ignore(_: str) -> None:
    return None


class Vault:
    """Seals with one key and opens with any of them, so that keys can be changed while running.

    The one is the first, until `seal_with` names another. A key is any text of at least 16 characters; the
    length and form do not matter beyond that. `on_reveal` is told every opened plaintext, so that the log
    redactor knows what to mask. `again` reads the keys anew, for when one is met that is not among them.
    """

    def __init__(
        self,
        keys: Sequence[Secret],
        on_reveal: Callable[[str], None] = _ignore,
        again: Callable[[], Sequence[Secret]] | None = None,
    ) -> None:
        self._on_reveal = on_reveal
        self._again = again
        self._take(keys)
        self._sealing = self._keys[0]

    def _take(self, keys: Sequence[Secret], besides: "Sequence[_Key]" = ()) -> None:
        made = [_Key(key) for key in keys]
        self._by_id = {key.id: key for key in [*made, *besides]}
        self._keys = list(self._by_id.values())
        if not self._keys:
            raise VaultError("a vault needs at least one key")

    def refresh(self) -> None:
        """Read the keys anew, from where they are kept. None is forgotten, and the same one seals."""
        if self._again is not None:
            self._take(self._again(), self._keys)
            self._sealing = self._by_id[self._sealing.id]

    def seal_with(self, fingerprint: str) -> bool:
        """Seal with the key of this fingerprint from now on; False if it is not among the keys."""
        if not self.knows(fingerprint):
            self.refresh()
        for key in self._keys:
            if key.fingerprint == fingerprint:
                self._sealing = key
                return True
        return False

    @property
    def key_ids(self) -> Sequence[str]:
        """The ids of all keys, that of the sealing one first."""
        others = [key.id for key in self._keys if key is not self._sealing]
        return [self._sealing.id, *others]

    @property
    def newest(self) -> tuple[str, str]:
        """Id and fingerprint of the key that stands first where the keys are kept."""
        return self._keys[0].id, self._keys[0].fingerprint

    def seal(self, text: str, place: str) -> str:
        """`text` as `v1.<key id>.<base64url>`, openable only at `place`; different each time."""
        key, nonce = self._sealing, os.urandom(NONCE)
        sealed = nonce + key.cipher.encrypt(nonce, text.encode(), _bound(key.id, place))
        return f"v1.{key.id}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, sealed: str, place: str, *, secret: bool = True) -> str:
        """The text that was sealed for `place`; VaultError if key, place or bytes do not fit.

        What is not itself a `secret` is not told to `on_reveal`.
        """
        key_id, data = _parts(sealed, place)
        if key_id not in self._by_id:
            self.refresh()
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
        """True unless the key that seals now sealed it."""
        return not sealed.startswith(f"v1.{self._sealing.id}.")

    @property
    def fingerprint(self) -> str:
        """What tells the sealing key from others; it can be stored and shown."""
        return self._sealing.fingerprint

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
