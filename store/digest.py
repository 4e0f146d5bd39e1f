"""The hash that decides *unchanged*: of a body as it was sent, but for its volatile members.

A body is read once, by a struct that knows nothing but the volatile members; what it finds is cut out of
the text. That is several times quicker than taking the body apart and hashing its members.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

_SIZE = 16
_COLON = re.compile(rb"\s*:\s*")
_absent = msgspec.Raw()

Found = list[tuple[str, msgspec.Raw]]


def digest(body: bytes, volatile: Sequence[str]) -> bytes:
    """16 bytes, equal for bodies that differ in volatile members only. `volatile` are dotted paths.

    Raises `msgspec.DecodeError` for what is no JSON.
    """
    if not volatile:
        return blake2b(body, digest_size=_SIZE).digest()
    made = blake2b(digest_size=_SIZE)
    rest = 0
    for start, end in sorted(_cuts(body, _finder(tuple(volatile)).find(body))):
        # A member inside one that is cut already is gone with it.
        if start >= rest:
            made.update(body[rest:start])
            rest = end
    made.update(body[rest:])
    return made.digest()


def _cuts(body: bytes, found: Found) -> list[tuple[int, int]]:
    """Where the members stand. Of several with one name and one value any will do: they read alike."""
    cuts = []
    for name, raw in found:
        value, quoted = bytes(raw), b'"%b"' % name.encode()
        start = body.find(quoted)
        while start >= 0:
            colon = _COLON.match(body, start + len(quoted))
            if colon is not None and body.startswith(value, colon.end()):
                cuts.append((start, colon.end() + len(value)))
                break
            start = body.find(quoted, start + 1)
    return cuts


class _Finder:
    """Finds the volatile members of one stream's bodies."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        tree = _tree(paths)
        self._decoder: Any = msgspec.json.Decoder(_struct(tree))
        self._leaves = list(_leaves(tree))

    def find(self, body: bytes) -> Found:
        """Names and values, whichever are there."""
        found: Found = []
        whole = self._decoder.decode(body)
        for name, way in self._leaves:
            held = whole
            for step in way:
                held = getattr(held, step, None)
            if held is not None and held is not _absent:
                found.append((name, held))
        return found


_Tree = Mapping[str, "_Tree"]


def _tree(paths: Sequence[str]) -> _Tree:
    heads: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        heads.setdefault(head, []).append(rest)
    # An empty rest is the whole member, whatever else is named inside it.
    return {head: {} if "" in rests else _tree(rests) for head, rests in heads.items()}


def _struct(tree: _Tree) -> Any:
    """A struct of the members on the way; anything but an object there has no volatile members."""
    fields: list[tuple[str, Any, Any]] = []
    names = {}
    for number, (name, below) in enumerate(tree.items()):
        names[f"member_{number}"] = name
        kind = _struct(below) | str | int | float | bool | list[msgspec.Raw] | None if below else msgspec.Raw
        fields.append((f"member_{number}", kind, None if below else _absent))
    return msgspec.defstruct("Volatile", fields, rename=names)


def _leaves(tree: _Tree, way: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The volatile members, each with the struct's fields that lead to it."""
    for number, (name, below) in enumerate(tree.items()):
        here = (*way, f"member_{number}")
        if below:
            yield from _leaves(below, here)
        else:
            yield name, here


@lru_cache(maxsize=256)
def _finder(paths: tuple[str, ...]) -> _Finder:
    return _Finder(paths)
