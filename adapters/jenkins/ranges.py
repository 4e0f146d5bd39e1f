"""The builds of one job, asked for range by range: whole ones to be stored, or only what makes their keys."""

from collections.abc import AsyncGenerator
from datetime import datetime

import msgspec

from adapters.base import Rejected, TooLarge
from adapters.jenkins.builds import BUILD_TREE, KEY_TREE, Build, Mark, read_builds
from adapters.jenkins.controller import Controller
from adapters.jenkins.urls import item_path
from adapters.jenkins.walk import PAGE, Cursor, Patience, advance, is_idle, next_range

# Of a build's page a census wants so little that more of them go into an answer.
_KEYS_A_PAGE = 500


class Wish(msgspec.Struct, frozen=True):
    """What is asked of each build, of how many at once, back to which start (epoch ms).

    `whole`: all builds are wanted, not those since the cursor alone.
    """

    fields: str
    size: int
    since: int
    whole: bool


def records_since(since: int) -> Wish:
    return Wish(BUILD_TREE, PAGE, since, whole=False)


def keys_since(since: int) -> Wish:
    return Wish(KEY_TREE, _KEYS_A_PAGE, since, whole=True)


class Found(msgspec.Struct, frozen=True):
    """One range: its builds by key, the cursor after it, and whether that is all there is."""

    observed_at: datetime
    builds: dict[str, Build]
    rejected: list[Rejected]
    cursor: Cursor
    end: bool


async def walk_builds(
    controller: Controller, job: str, position: Cursor, mark: Mark, wish: Wish
) -> AsyncGenerator[Found, None]:
    """The builds from `position` on, where there are some. Raises `NotFound` where the job is gone."""
    size = wish.size
    patience = Patience(position, mark, size)
    end = False
    while not end:
        asked = next_range(position, mark, size, whole=wish.whole)
        try:
            reply = await controller.ask(item_path(job), asked.tree(wish.fields))
        except TooLarge:
            if size <= 2:
                raise
            size = max(2, size // 4)
            patience = Patience(position, mark, size)
            continue
        found = read_builds(reply, job, controller.base, newest=asked.newest)
        step = advance(position, asked, found, mark, wish.since)
        patience.spend(step)
        position = step.cursor
        builds = {build.record.key: build for build in step.builds if build.at >= wish.since}
        end = position.walk is None if wish.whole else is_idle(position, mark)
        yield Found(reply.sent_at, builds, found.rejected, position, end)
