"""What a check tells a person about the streams: how much is there, and what is in the way."""

from adapters.base import Forbidden, Readable
from adapters.jenkins.listing import Listing

_NAMED = 3


def readable(listing: Listing, account: str) -> dict[str, Readable]:
    """Jobs and builds, by what the listing found. Builds are counted only where there are none."""
    problem, kind = _problem(listing, account)
    count = None if listing.unopened or listing.refused else len(listing.items) + len(listing.rejected)
    with_builds = any(item.mark for item in listing.items.values())
    return {
        "jobs": Readable(True, count, problem, kind),
        "builds": Readable(True, None if with_builds or count is None else 0, problem, kind),
    }


def _problem(listing: Listing, account: str) -> tuple[str | None, str | None]:
    if listing.refused:
        named = ", ".join(list(listing.refused)[:_NAMED])
        more = f" and {len(listing.refused) - _NAMED} more" if len(listing.refused) > _NAMED else ""
        first = next(iter(listing.refused.values()))
        said = f"Without {len(listing.refused)} folders that cannot be opened ({named}{more}): "
        return f"{said}{first.message} {first.hint}", first.kind
    if not any(item.mark for item in listing.items.values()) and not listing.unopened:
        return (
            f"No job is visible to {account} here. Jenkins leaves out what an account may not read: give it "
            "Job/Read if there should be some.",
            Forbidden.kind if not listing.items else None,
        )
    return None, None
