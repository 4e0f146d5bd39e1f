"""Recognising a secret that is not kept: a salted hash that is slow to make and tells nothing."""

import hashlib
import hmac
import os

from config.secret import Secret

SALT = 16  # bytes


def fingerprint(secret: Secret, salt: bytes | None = None) -> str:
    """`salt.hash` in hexadecimal, another one each time unless the salt is given."""
    salt = os.urandom(SALT) if salt is None else salt
    text = secret.reveal().encode("utf-8", "surrogatepass")
    return f"{salt.hex()}.{hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=32).hex()}"


def recognises(known: str, secret: Secret) -> bool:
    """Whether this fingerprint was made of this secret."""
    return hmac.compare_digest(fingerprint(secret, bytes.fromhex(known.partition(".")[0])), known)
