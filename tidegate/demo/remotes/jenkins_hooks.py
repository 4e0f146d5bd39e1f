"""The webhooks that plugins of the simulated Jenkins send."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import aiohttp
import msgspec

from adapters.times import to_millis
from tidegate.demo.remotes.jenkins_items import Build, Item
from tidegate.demo.remotes.jenkins_tree import export, parse_tree

_RUN = parse_tree(
    "building,description,displayName,duration,fullDisplayName,id,keepLog,number,queueId,result,timestamp"
)
_ITEM = parse_tree("description,displayName,fullDisplayName,fullName,name")
_SECONDS_AT_MOST = 10


def notification(build: Build, phase: str, now: datetime) -> dict[str, object]:
    """The Notification plugin's shape. `timestamp` is when it is sent, not when the build began; `status` is
    null before the end; links are relative but for `full_url` (vendor's source).
    """
    ended = phase in ("COMPLETED", "FINALIZED")
    path = _path(build.job)
    told: dict[str, object] = {
        "full_url": f"{build.job.url}{build.number}/",
        "number": build.number,
        "queue_id": build.number * 7,
        "timestamp": to_millis(now),
        "duration": build.duration,
        "phase": phase,
        "url": f"{path}{build.number}/",
        "scm": {"changes": [], "culprits": []},
        "log": "",
        "notes": "",
        "artifacts": {},
    }
    if ended:
        told["status"] = build.result
    return {
        "name": build.job.name,
        "display_name": build.job.member("displayName"),
        "url": path,
        "build": told,
    }


def generic_event(about: Build | Item, kind: str, number: int, now: datetime) -> dict[str, object]:
    """The Generic Event plugin's shape: the exported bean, with an id of its own (vendor's docs and source).

    Of an item, `source` is the folder that it is in; of a build, its job.
    """
    job = about.job if isinstance(about, Build) else about
    source = job if isinstance(about, Build) else job.parent
    url = f"{_path(job)}{about.number}/" if isinstance(about, Build) else _path(job)
    return {
        "type": kind,
        "source": _path(source) if source else "",
        "url": url,
        "id": str(UUID(int=number)),
        "time": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}+0000",
        "dataType": about.exported_class,
        "data": export(about, _RUN if isinstance(about, Build) else _ITEM),
    }


async def post(url: str, event: dict[str, object], headers: Mapping[str, str]) -> int:
    """Send it as a plugin does; the status of the answer."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS_AT_MOST)
    sent = {"Content-Type": "application/json;charset=UTF-8", **headers}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=msgspec.json.encode(event), headers=sent) as answer,
    ):
        return answer.status


def _path(item: Item) -> str:
    """Relative, as `Item.getUrl` gives it: `job/a/job/b/`, a branch encoded twice; "" for the controller."""
    _, job, rest = item.url.partition("/job/")
    return f"job/{rest}" if job else ""
