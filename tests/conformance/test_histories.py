"""Random histories: whatever happens at the remote and in between, the copy is the remote in the end.

Creations, changes, deletions, time, syncs of every kind, trouble of every kind and lost credentials come in
any order. Afterwards the trouble ends, one sync and one census are taken, and then the copy must be equal.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scheduler.dispatch import Request
from tests.conformance.conftest import Stage, on_stage
from tests.conformance.kits import KITS
from tests.databases import sqlite_in
from tests.house import open_house
from tidegate.demo.remotes.base import Fault
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

#: More for a long run: TIDEGATE_TEST_HISTORIES=500.
HISTORIES = int(os.environ.get("TIDEGATE_TEST_HISTORIES", "8"))

_pick = st.integers(0, 1_000)
_trouble = st.sampled_from(
    [
        Fault("", status=500, body=b"{}", headers={"Content-Type": "application/json"}),
        Fault("", status=429, body=b"{}", headers={"Retry-After": "0", "Content-Type": "application/json"}),
        Fault("", status=200, body=b"<html></html>", headers={"Content-Type": "text/html"}),
        Fault("", cut=30),
    ]
)
_step = st.one_of(
    st.tuples(st.just("create"), st.integers(1, 4)),
    st.tuples(st.just("change"), _pick),
    st.tuples(st.just("delete"), _pick),
    st.tuples(st.just("pass time"), st.integers(1, 1_200)),
    st.tuples(st.just("trouble"), st.tuples(_trouble, st.integers(0, 3))),
    st.tuples(st.just("sync"), st.sampled_from(["incremental", "incremental", "full", "census"])),
    st.tuples(st.just("some pages"), st.integers(1, 3)),
    st.tuples(st.just("named"), _pick),
)
histories = st.lists(_step, min_size=1, max_size=14)


@pytest.mark.parametrize("name", KITS)
def test_after_any_history_the_copy_is_what_the_remote_holds(name: str) -> None:
    @settings(
        max_examples=HISTORIES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def holds(history: list[tuple[str, Any]]) -> None:
        asyncio.run(_lived(name, history))

    holds()


async def _lived(name: str, history: list[tuple[str, Any]]) -> None:
    kit = KITS[name]()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            kit.serve(),
            sqlite_in(Path(folder)) as database,
            open_house(database, {kit.adapter.system: kit.adapter}) as house,
        ):
            stage = await on_stage(kit, house)
            ever: dict[str, Any] = {}
            for step, about in history:
                await _happen(stage, step, about)
                ever |= kit.truth()
            kit.remote.faults.clear()
            kit.settle()
            await _ended(stage)
            assert (await stage.sync()).state == "succeeded"
            assert (await stage.census()).state == "succeeded"
            await _compare(stage, ever)


async def _compare(stage: Stage, ever: dict[str, Any]) -> None:
    truth, copy, gone = stage.kit.truth(), await stage.copy(), await stage.gone()
    assert {key: copy.get(key) for key in truth} == truth
    # Whatever else is here was there once, and is marked as gone where it is kept.
    assert set(gone).isdisjoint(truth)
    assert set(copy) - set(truth) <= (set(gone) if stage.kit.kept else set())
    assert set(gone) <= set(ever)


async def _happen(stage: Stage, step: str, about: Any) -> None:
    kit = stage.kit
    match step:
        case "create":
            for _ in range(about):
                kit.create()
        case "change":
            if keys := sorted(kit.known_changeable()):
                kit.change(keys[about % len(keys)])
        case "delete":
            if keys := sorted(kit.truth()):
                kit.delete(keys[about % len(keys)])
        case "pass time":
            kit.pass_time(about)
        case "trouble":
            fault, after = about
            again = Fault(kit.path, fault.status, fault.body, fault.headers, after=after, cut=fault.cut)
            kit.remote.faults.append(again)
        case "sync":
            await _ended(stage)
            await stage.sync(Request("api", about, accept_loss=about != "incremental"))
        case "some pages":
            await _some_pages(stage, about)
        case "named":
            if keys := sorted(kit.truth()):
                request = Request("webhook", "records", {kit.stream: [keys[about % len(keys)]]})
                opened = await stage.house.open(stage.connection.id, request)
                await stage.end(opened.id)


async def _some_pages(stage: Stage, count: int) -> None:
    """A sync that is left in the middle, as by a worker that ended."""
    deps = replace(stage.house.deps, slice_seconds=0.0, turn_seconds=0.0)
    opened = await stage.house.open(stage.connection.id)
    for _ in range(count):
        await run_slice(deps, opened.id)


async def _ended(stage: Stage) -> None:
    """Whatever is open or queued is worked through."""
    for sync in await stage.live():
        await stage.end(sync.id)
