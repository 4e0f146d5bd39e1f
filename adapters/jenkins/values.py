"""Members of an answer as values of typed columns: None where the type is another than expected."""

_MOST = 2**63 - 1


def text(member: object) -> str | None:
    return member if isinstance(member, str) else None


def flag(member: object) -> bool | None:
    return member if isinstance(member, bool) else None


def whole(member: object) -> int | None:
    """Integers that a database column holds; a boolean is none."""
    return member if type(member) is int and -_MOST <= member <= _MOST else None
