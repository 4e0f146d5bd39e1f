"""Members of an answer as values of typed columns: None where the type is another than expected."""

_INTEGERS = range(-(2**63), 2**63)


def text(member: object) -> str | None:
    return member if isinstance(member, str) else None


def flag(member: object) -> bool | None:
    return member if isinstance(member, bool) else None


def whole(member: object) -> int | None:
    """Integers that a database column holds; a boolean is none."""
    return member if type(member) is int and member in _INTEGERS else None


def entries(member: object) -> list[dict[str, object]]:
    """The objects of a list; Jenkins puts empty ones between them."""
    return (
        [entry for entry in member if isinstance(entry, dict) and entry] if isinstance(member, list) else []
    )
