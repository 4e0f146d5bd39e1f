"""ETags: whether a thing is still as a client read it, so that two who change it do not undo each other."""

from hashlib import blake2b

import msgspec

from api.problems import ProblemError

#: What a weak tag begins with, which a proxy may have made of ours: for `If-Match` it equals none.
WEAK = "W/"


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
    """The precondition in a header; `*` asks for nothing more than that the thing is there."""
    if header is None or header.strip() == "*":
        return ALWAYS
    return Precondition(frozenset(_bare(one).partition("-")[0] for one in header.split(",")))


def none_match(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, so that the client has these bytes already."""
    if header is None:
        return False
    tags = {_bare(one).removeprefix(WEAK) for one in header.split(",")}
    return "*" in tags or _bare(tag) in tags


def _bare(tag: str) -> str:
    """A tag without its quotes, which people leave out; a weak one keeps its mark, and so equals none."""
    return tag.strip().replace('"', "")
