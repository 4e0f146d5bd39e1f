"""What several test files share: a client towards a simulated remote, and the recorded payloads."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.auth import Anonymous, Auth
from adapters.base import Adapter, Fetched, Page, Partition, Record
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, LocalBudget, Meter, open_session, utc_now

LOOPBACK = ("127.0.0.1/32",)


@asynccontextmanager
async def http_client(
    base: str,
    auth: Auth | None = None,
    limits: Limits | None = None,
    clock: Callable[[], datetime] = utc_now,
    allow: tuple[str, ...] = LOOPBACK,
    meter: Meter | None = None,
) -> AsyncIterator[Http]:
    """The real client, allowed to reach loopback."""
    async with open_session(AddressGuard(allow)) as session:
        budget = LocalBudget(clock)
        yield Http(session, base, auth or Anonymous(), budget, limits or Limits(), clock, meter or Meter())


async def read_all(
    adapter: Adapter, feed: str, partition: Partition, cursor: str | None = None
) -> tuple[list[Page], str | None]:
    """Every page of one partition from a cursor on, and the cursor after the last."""
    pages = [page async for page in adapter.read(feed, partition, cursor)]
    return pages, pages[-1].cursor if pages else cursor


def records_of(pages: list[Page] | Fetched, stream: str | None = None) -> list[Record]:
    """All records, or those of one stream."""
    parts = [pages] if isinstance(pages, Fetched) else pages
    return [r for part in parts for r in part.records if stream in {None, r.stream}]


def payloads() -> Path:
    """The folder of recorded payloads; skips where it is not given. CI gives it and forbids the skip."""
    folder = os.environ.get("TIDEGATE_TEST_PAYLOADS")
    if not folder:
        pytest.skip("TIDEGATE_TEST_PAYLOADS names no folder")
    return Path(folder)


def payload(name: str) -> Any:
    """One recorded payload as JSON; `name` is relative, like `jira/fetch/dc_v2_issue.json`."""
    return json.loads((payloads() / name).read_text(encoding="utf-8"))
