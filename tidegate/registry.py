"""The systems there are: those that come with Tidegate, and those that other packages add."""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from adapters.azure import Azure
from adapters.base import Adapter
from adapters.jenkins import Jenkins
from adapters.jira import Jira

GROUP = "tidegate.adapters"
OURS: Mapping[str, type[Adapter]] = MappingProxyType({"jira": Jira, "jenkins": Jenkins, "azure": Azure})
_NEEDED = (
    *("system", "feeds", "limits", "overlap", "batch", "parse", "auth", "check"),
    *("plan", "read", "fetch", "census", "verify", "hint"),
)


class BrokenAdapter(Exception):
    """An adapter of another package cannot be used. The message names it and says why."""


def adapters(added: Iterable[EntryPoint] | None = None) -> Mapping[str, type[Adapter]]:
    """All adapters by system. Raises `BrokenAdapter`: a system that silently vanished would be worse."""
    found = dict(OURS)
    for entry in entry_points(group=GROUP) if added is None else added:
        adapter = _loaded(entry)
        if adapter.system in found:
            raise BrokenAdapter(f"{_shown(entry)}: there is an adapter for {adapter.system} already.")
        found[adapter.system] = adapter
    return found


def _loaded(entry: EntryPoint) -> type[Adapter]:
    try:
        adapter: type[Adapter] = entry.load()
    except (ImportError, AttributeError) as e:
        raise BrokenAdapter(f"{_shown(entry)} cannot be loaded: {e}") from None
    lacking = [name for name in _NEEDED if not hasattr(adapter, name)]
    if lacking:
        raise BrokenAdapter(f"{_shown(entry)} is no adapter: it lacks {', '.join(lacking)}.")
    return adapter


def _shown(entry: EntryPoint) -> str:
    package = f" of {entry.dist.name}" if entry.dist else ""
    return f"The adapter {entry.name} = {entry.value}{package}"
