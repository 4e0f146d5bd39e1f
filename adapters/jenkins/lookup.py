"""Records by key, and for what is not there the proof of why."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from adapters.base import Fetched, Forbidden, Gone, Missing, NotFound, Record, Rejected, Target, TooLarge
from adapters.http import Reply, decode
from adapters.jenkins.builds import BUILD_TREE, Build, BuildKey, Builds, parse_key, read_build, read_builds
from adapters.jenkins.controller import Controller
from adapters.jenkins.jobs import JOB_TREE, Item, read_item
from adapters.jenkins.together import together
from adapters.jenkins.urls import full_name, item_path
from adapters.jenkins.walk import PAGE

Verdict = Record | Rejected | Missing

_RANGE = f"builds[{BUILD_TREE}]{{0,{PAGE}}}"
# From so many keys of one job on, its newest builds are asked for at once.
_SEVERAL = 3


class Lookup:
    """Answers one `fetch`. What it learns of folders and jobs holds for that long."""

    def __init__(self, controller: Controller, target: Target, listed: Collection[str] | None = None) -> None:
        """`listed` are the full names of all that belongs to the target where its path does not tell."""
        self._controller = controller
        self._inside = full_name(target.options["path"].partition("/view/")[0]).lower()
        self._listed = listed
        self._first: datetime | None = None
        self._folders: dict[str, set[str] | None] = {}
        self._one_folder = asyncio.Lock()

    async def jobs(self, keys: Sequence[str]) -> Fetched:
        return await self._fetched(await together(self._job(key) for key in keys))

    async def builds(self, keys: Sequence[str]) -> Fetched:
        """Keys may be short; a missing one keeps the spelling it was asked for with."""
        by_job: dict[str, list[BuildKey]] = defaultdict(list)
        verdicts: list[Verdict] = []
        for key in keys:
            if wanted := parse_key(key):
                by_job[wanted.job].append(wanted)
            else:
                verdicts.append(Rejected("builds", key, "A build is named job#number or job#number@ms.", b""))
        for found in await together(self._builds_of(job, wanted) for job, wanted in by_job.items()):
            verdicts += found
        return await self._fetched(verdicts)

    async def _fetched(self, verdicts: list[Verdict]) -> Fetched:
        """Sorted out. Nothing is called deleted before Jenkins proved that it knows who asks."""
        missing = [v for v in verdicts if isinstance(v, Missing)]
        if any(m.reason == "deleted" for m in missing):
            await self._controller.prove()
        records = {v.key: v for v in verdicts if isinstance(v, Record)}
        return Fetched(
            self._first or self._controller.now(),
            list(records.values()),
            [v for v in verdicts if isinstance(v, Rejected)],
            missing,
        )

    async def _ask(self, path: str, tree: str) -> Reply:
        reply = await self._controller.ask(path, tree)
        self._first = min(self._first or reply.sent_at, reply.sent_at)
        return reply

    async def _job(self, key: str) -> Verdict:
        if outside := await self._outside(key):
            return Missing(key, outside)
        try:
            reply = await self._ask(item_path(key), JOB_TREE)
        except (NotFound, Forbidden) as refusal:
            return Missing(key, await self._why(key, refusal))
        item = read_item(_checked(reply), self._controller.base, key.rpartition("/")[0])
        return item.record if isinstance(item, Item) else Rejected("jobs", key, item.reason, item.body)

    async def _builds_of(self, job: str, wanted: list[BuildKey]) -> list[Verdict]:
        if outside := await self._outside(job):
            return [Missing(key.text, outside) for key in wanted]
        if len(wanted) < _SEVERAL:
            return await together(self._build(key) for key in wanted)
        try:
            reply = await self._ask(item_path(job), _RANGE)
        except (NotFound, Forbidden) as refusal:
            reason = await self._why(job, refusal)
            return [Missing(key.text, reason) for key in wanted]
        except TooLarge:
            return await together(self._build(key) for key in wanted)
        newest = read_builds(reply, job, self._controller.base, newest=True)
        return await together(self._among(newest, key) for key in wanted)

    async def _among(self, newest: Builds, key: BuildKey) -> Verdict:
        """From the newest builds where these tell, else asked for by its number."""
        numbers = [build.number for build in newest.builds]
        if key.number in numbers:
            return _settled(newest.builds[numbers.index(key.number)], key)
        from_first = newest.size < PAGE or min(numbers, default=key.number) < key.number
        if from_first and key.number < max(numbers, default=0) and not newest.rejected:
            return Missing(key.text, "deleted")
        return await self._build(key)

    async def _build(self, key: BuildKey) -> Verdict:
        try:
            reply = await self._ask(f"{item_path(key.job)}/{key.number}", BUILD_TREE)
        except Forbidden:
            return Missing(key.text, "hidden")
        except NotFound:
            return Missing(key.text, await self._why_without(key.job))
        found = read_build(_checked(reply), key.job, self._controller.base)
        return _settled(found, key) if isinstance(found, Build) else found

    async def _why_without(self, job: str) -> Gone:
        """Why a build is not there: it is gone from its job, or the job is gone or hidden."""
        try:
            await self._ask(item_path(job), "name")
        except (NotFound, Forbidden) as refusal:
            return await self._why(job, refusal)
        return "deleted"

    async def _why(self, item: str, refusal: NotFound | Forbidden) -> Gone:
        """Jenkins answers 404 for what is hidden, too: deleted is only what its folder does not list."""
        if isinstance(refusal, Forbidden):
            return "hidden"
        while item:
            folder, _, name = item.rpartition("/")
            try:
                names = await self._names(folder)
            except NotFound:
                item = folder
                continue
            return "deleted" if names is not None and name not in names else "hidden"
        return "hidden"

    async def _names(self, folder: str) -> set[str] | None:
        """The names in a folder, None if they are hidden. Raises `NotFound`."""
        async with self._one_folder:
            if folder not in self._folders:
                try:
                    self._folders[folder] = await self._controller.names(folder)
                except Forbidden:
                    self._folders[folder] = None
            return self._folders[folder]

    async def _outside(self, item: str) -> Gone | None:
        """Why an item is none of the target's, None if it is one."""
        if self._inside and not f"{item}/".lower().startswith(f"{self._inside}/"):
            return "left"
        if self._listed is None or item in self._listed:
            return None
        try:
            await self._ask(item_path(item), "name")
        except (NotFound, Forbidden) as refusal:
            return await self._why(item, refusal)
        return "left"


def _checked(reply: Reply) -> bytes:
    """The body, once it is certain that it is a JSON object. Raises `Unreadable`."""
    decode(reply, dict[str, msgspec.Raw])
    return reply.body


def _settled(found: Build, key: BuildKey) -> Verdict:
    """A number that is given anew in a job made anew is another build."""
    return found.record if key.at in (None, found.at) else Missing(key.text, "deleted")
