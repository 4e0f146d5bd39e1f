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
from adapters.jenkins.past import PAST_TREE, Past, read_past
from adapters.jenkins.refusals import LoginOnTheWay
from adapters.jenkins.together import together
from adapters.jenkins.urls import full_name, is_full_name, item_path
from adapters.jenkins.walk import PAGE

Verdict = Record | Rejected | Missing

_RANGE = f"{PAST_TREE},builds[{BUILD_TREE}]{{0,{PAGE}}}"
# From so many keys of one job on, its newest builds are asked for at once.
_SEVERAL = 3


class Lookup:
    """Answers one `fetch`. What it learns of folders and jobs holds for that long."""

    def __init__(self, controller: Controller, target: Target, listed: Collection[str] | None = None) -> None:
        """`listed` are the full names of all that belongs to the target where its path does not tell."""
        self._controller = controller
        self._inside = full_name(target.options["path"].partition("/view/")[0]).lower()
        self._listed = listed
        self._since = int(target.options.get("since", "0"))
        self._first: datetime | None = None
        self._folders: dict[str, set[str] | None] = {}
        self._one_folder = asyncio.Lock()
        self._pasts: dict[str, Past | Gone] = {}
        self._one_past = asyncio.Lock()

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
        """Sorted out. Nothing is called gone before Jenkins proved that it still knows who asks."""
        missing = [v for v in verdicts if isinstance(v, Missing)]
        if any(m.reason != "left" for m in missing):
            await self._controller.vouch()
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
        if not is_full_name(key):
            return Rejected("jobs", key, "A job is named by its full name, like folder/job.", b"")
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
        early = [key for key in wanted if key.at is not None and key.at < self._since]
        left: list[Verdict] = [Missing(key.text, "left") for key in early]
        return [*left, *await self._named(job, [key for key in wanted if key not in early])]

    async def _named(self, job: str, wanted: list[BuildKey]) -> list[Verdict]:
        """Each by its number; several from the newest builds, in one request."""
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
        self._pasts[job] = past = read_past(reply)
        return await together(self._among(newest, past, key) for key in wanted)

    async def _among(self, newest: Builds, past: Past, key: BuildKey) -> Verdict:
        """From the newest builds where these tell, else asked for by its number."""
        numbers = [build.number for build in newest.builds]
        if key.number in numbers:
            return self._settled(newest.builds[numbers.index(key.number)], key)
        complete = newest.size < PAGE or min(numbers, default=key.number) < key.number
        # The newest of all may have started while the list was made.
        told = complete and key.number < max(numbers, default=(past.next or 1) - 1)
        if (told or past.is_before(key)) and not newest.rejected:
            return Missing(key.text, past.why_gone(key))
        return await self._build(key)

    async def _build(self, key: BuildKey) -> Verdict:
        try:
            reply = await self._ask(f"{item_path(key.job)}/{key.number}", BUILD_TREE)
        except (NotFound, Forbidden) as refusal:
            past = await self._past(key.job)
            if isinstance(past, Past) and isinstance(refusal, Forbidden):
                # A build has no permission of its own: who reads its job is refused by something else.
                raise
            return Missing(key.text, past.why_gone(key) if isinstance(past, Past) else past)
        found = read_build(_checked(reply), key.job, self._controller.base)
        return self._settled(found, key) if isinstance(found, Build) else found

    def _settled(self, found: Build, key: BuildKey) -> Verdict:
        """A number that is given anew in a job made anew is another build."""
        if key.at not in (None, found.at):
            return Missing(key.text, "deleted")
        return found.record if found.at >= self._since else Missing(key.text, "left")

    async def _past(self, job: str) -> Past | Gone:
        """What the job tells of builds that are gone, or why it is gone itself."""
        async with self._one_past:
            if job not in self._pasts:
                try:
                    self._pasts[job] = read_past(await self._ask(item_path(job), PAST_TREE))
                except (NotFound, Forbidden) as refusal:
                    self._pasts[job] = await self._why(job, refusal)
            return self._pasts[job]

    async def _why(self, item: str, refusal: NotFound | Forbidden) -> Gone:
        """Jenkins answers 404 for what is hidden, too: deleted is only what its folder does not list.

        A controller that lists nothing at all proves nothing: it looks like that to who may read no job.
        """
        if isinstance(refusal, LoginOnTheWay):
            raise refusal
        if isinstance(refusal, Forbidden):
            return "hidden"
        while item:
            folder, _, name = item.rpartition("/")
            try:
                names = await self._names(folder)
            except NotFound:
                item = folder
                continue
            shown = names if folder or names else None
            return "deleted" if shown is not None and name not in shown else "hidden"
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
