"""What a job tells of builds that it has no more: discarded, or of a job that was there before it."""

import msgspec

from adapters.base import Gone
from adapters.http import Reply, decode
from adapters.jenkins.builds import BuildKey
from adapters.jenkins.values import whole

PAST_TREE = "name,nextBuildNumber,firstBuild[number,timestamp]"


class _First(msgspec.Struct):
    number: object = None
    timestamp: object = None


class _Job(msgspec.Struct, rename="camel"):
    next_build_number: object = None
    first_build: object = None


class Past(msgspec.Struct, frozen=True):
    """A job's oldest build that is left (number, and start in epoch ms) and the number its next one gets.

    None for what it does not tell; a job always tells its next number, a folder never.
    """

    next: int | None = None
    first: int | None = None
    first_at: int | None = None

    def is_before(self, key: BuildKey) -> bool:
        """Whether the build is older than the oldest one that is left."""
        return self.first is not None and key.number < self.first

    def why_gone(self, key: BuildKey) -> Gone:
        """Why a build is not there: a number that was given and is free again was discarded.

        A number yet to be given, or a build from before a lower number of today's, belonged to a job that
        was deleted and made anew.
        """
        if self.next is None or key.number >= self.next:
            return "deleted"
        if self.first is None or self.first_at is None or key.at is None:
            return "rotated"
        anew = self.first < key.number and self.first_at > key.at
        return "deleted" if anew else "rotated"


def read_past(reply: Reply) -> Past:
    """The answer to a question with `PAST_TREE`. Raises `Unreadable`."""
    job = decode(reply, _Job)
    first = msgspec.convert(job.first_build, _First) if isinstance(job.first_build, dict) else _First()
    return Past(whole(job.next_build_number), whole(first.number), whole(first.timestamp))
