"""A text that must not be seen."""

import hmac
from typing import Never

MASK = "********"


class Secret:
    """Holds a text that only `reveal` gives back.

    Its repr, str and every format of it are `********`. It refuses to be pickled, and JSON encoders do not
    know it. Two are compared in constant time, and it cannot be hashed.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the moment it is needed."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (each.encode("utf-8", "surrogatepass") for each in (self._value, other._value))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> Never:
        raise TypeError("a secret is never hashed")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a secret is never pickled")
