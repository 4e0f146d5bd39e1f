"""The types of fields that several requests share, and times as answers print them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from store.database import to_text

#: No database column holds a NUL.
Text = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
#: The key of a record.
Key = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many.")]
Cursor = Annotated[
    str,
    Meta(min_length=1, max_length=1000, pattern=r"^[\w-]+$", description="`next` of the page before."),
]
Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: A yes or no among the parameters of a query.
Flag = Literal["true", "false"]
#: A time among the parameters of a query: with a zone, and to the microsecond at most.
Moment = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})$",
        examples=["2026-01-02T03:04:05Z"],
    ),
]
#: What something is to be, among the parameters of a query.
Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
#: A part of a name, in upper or lower case.
Part = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
#: The name of a kind of remote, with an adapter or without.
System = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[a-z][a-z0-9_-]*(?!\n)$")]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters, or no body."""


class Discreet(msgspec.Struct, frozen=True):
    """Holds a secret for as long as a request lasts; its repr shows nothing of it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def moment(value: datetime | None) -> str | None:
    """`2026-01-02T03:04:05.000Z`, or None."""
    return None if value is None else to_text(value)
