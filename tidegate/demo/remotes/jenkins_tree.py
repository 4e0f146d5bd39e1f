"""The `tree=` language of the Jenkins remote API, parsed and applied to what is exported."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache

import msgspec

_TOKEN = re.compile(r"[\[\],]|\{[^}]*\}|[^\[\],{}]+")


class TreeError(ValueError):
    """The expression is broken; Jenkins answers such a request with an error page."""


class Tree(msgspec.Struct):
    """Names with what is wanted below them. `start` and `stop` cut the list that a name holds."""

    names: dict[str, "Tree"]
    text: str = ""
    start: int = 0
    stop: int | None = None


class Bean(ABC):
    """Something Jenkins exports: its class, and members that are made when they are asked for."""

    #: The members in the order in which they are exported, whatever the order in the tree.
    members: tuple[str, ...] = ()
    exported_class: str = ""

    @abstractmethod
    def member(self, name: str) -> object: ...

    def render(self, tree: Tree) -> msgspec.Raw:
        """The bean cut to `tree`. `_class` is there even if not asked for (seen in recorded answers)."""
        out: dict[str, object] = {"_class": self.exported_class}
        for name in self.members:
            if name in tree.names:
                out[name] = export(self.member(name), tree.names[name])
        return msgspec.Raw(msgspec.json.encode(out))


@lru_cache(maxsize=256)
def parse_tree(text: str) -> Tree:
    """`a,b[c]{0,10}` as a tree. Raises `TreeError`."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise TreeError(text)
    names = _names(tokens)
    if tokens:
        raise TreeError(f"unexpected {tokens[0]}")
    return Tree(names, text)


def _names(tokens: list[str]) -> dict[str, Tree]:
    names: dict[str, Tree] = {}
    while tokens and tokens[0] != "]":
        name = tokens.pop(0).strip()
        if name in ("[", ",") or name.startswith("{"):
            raise TreeError(f"a name is missing before {name}")
        below = Tree({})
        if tokens[:1] == ["["]:
            tokens.pop(0)
            below.names = _names(tokens)
            below.text = ",".join(f"{name}[{inner.text}]" for name, inner in below.names.items())
            if not tokens:
                raise TreeError("a bracket is not closed")
            tokens.pop(0)
        if tokens and tokens[0].startswith("{"):
            below.start, below.stop = _range(tokens.pop(0))
        names[name] = below
        if tokens[:1] == [","]:
            tokens.pop(0)
    return names


def _range(text: str) -> tuple[int, int | None]:
    """`{M,N}` from M to before N, `{M,}` from M on, `{,N}` up to N, `{M}` only M (vendor docs)."""
    match = re.fullmatch(r"\{(\d*)(,?)(\d*)\}", text)
    if match is None:
        raise TreeError(f"{text} is no range")
    first, comma, last = match.groups()
    start = int(first or 0)
    if not comma:
        return start, start + 1
    return start, int(last) if last else None


def export(value: object, tree: Tree) -> object:
    """`value` cut to `tree`, for `msgspec.json.encode`. Unknown names are ignored (vendor docs)."""
    if isinstance(value, list | tuple):
        return [export(entry, tree) for entry in value[tree.start : tree.stop]]
    if isinstance(value, Bean):
        return value.render(tree)
    if isinstance(value, Mapping):
        return {
            name: member if name == "_class" else export(member, tree.names[name])
            for name, member in value.items()
            if name == "_class" or name in tree.names
        }
    return value
