"""ETags: whether a thing is still as a client read it, so that two who change it do not undo each other."""

import re
from hashlib import blake2b

import msgspec

from api.problems import FieldError, ProblemError, invalid

#: One tag; weak ones, which a proxy may have made of ours, are never equal to a strong one.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\uffff]*)"')
_LIST = re.compile(rf"\s*({_TAG.pattern}\s*(,\s*|$))+")


class Versioned(msgspec.Struct, frozen=True):
    """An answer, and the version of what people decide about the thing that it shows."""

    answer: object
    version: str


class Precondition(msgspec.Struct, frozen=True):
    """What `If-Match` asks for; without one everything is met."""

    versions: frozenset[str] | None = None

    def check(self, version: str) -> None:
        """Raises 412 unless the thing is at a version that the client has seen."""
        if self.versions is not None and version not in self.versions:
            raise ProblemError(
                412, "This was changed meanwhile: read it again, and decide again what is to be different."
            )


ALWAYS = Precondition()


def version_of(*decided: object) -> str:
    """A short text that is another for any other values."""
    return blake2b(msgspec.json.encode(decided, order="sorted"), digest_size=8).hexdigest()


def tag(version: str, body: bytes) -> str:
    """The strong ETag of an answer: the version first, then what tells these bytes from others.

    A sync changes how a connection stands, and so the bytes; only the version decides about `If-Match`.
    """
    return f'"{version}-{blake2b(body, digest_size=8).hexdigest()}"'


def if_match(header: str | None) -> Precondition:
    """The precondition in a header. Raises 422 for what is no list of ETags."""
    if header is None or header.strip() == "*":
        return Precondition()
    tags = _tags("If-Match", header)
    return Precondition(frozenset(value.partition("-")[0] for weak, value in tags if not weak))


def none_match(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, so that the client has these bytes already."""
    if header is None:
        return False
    return header.strip() == "*" or tag in (f'"{value}"' for _, value in _tags("If-None-Match", header))


def _tags(name: str, header: str) -> list[tuple[str, str]]:
    if _LIST.fullmatch(header) is None:
        raise invalid(FieldError(name, 'Give the ETag as it was answered, with its quotes: "...", or *.'))
    return [(found[1] or "", found[2]) for found in _TAG.finditer(header)]
