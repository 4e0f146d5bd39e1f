"""Twenty thousand requests of any shape: answered as described, and the server is not larger for it.

Their number is about CHAOS_CASES.
"""

import asyncio
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import pytest

from api.routes import ROUTES
from tests.integration.test_schemathesis import asked, furnished

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

CASES = int(os.environ.get("CHAOS_CASES", "20000"))
#: Keys that were revoked can still be read: histories that are long enough find that, and it is meant.
MEANT = ("--exclude-checks", "use_after_free")
#: Before, caches fill: of statements, routes, and what the interpreter keeps for itself.
WARM_EXAMPLES = 8
GROWTH = 20 << 10  # KiB
#: With those that are made beside the examples, each further example of all operations is about so many.
CASES_OF_AN_EXAMPLE = 2 * len(ROUTES)


def resident() -> int:
    """KiB of memory of this process, which is the server: who asks is another."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def watch(sizes: list[int]) -> None:
    while True:
        sizes.append(resident())
        await asyncio.sleep(1)


async def test_twenty_thousand_requests_of_any_shape_are_answered_in_flat_memory(
    tmp_path: Path, figures: list[str]
) -> None:
    sizes: list[int] = []
    async with furnished(tmp_path) as api:
        await asked(api, tmp_path, WARM_EXAMPLES, 1, *MEANT)
        warm, began = resident(), time.monotonic()
        watching = asyncio.create_task(watch(sizes))
        said = await asked(api, tmp_path, max(WARM_EXAMPLES, CASES // CASES_OF_AN_EXAMPLE), 1, *MEANT)
        took = time.monotonic() - began
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None, said
    quarter = max(1, len(sizes) // 4)
    end = max(sizes[-quarter:])
    figures.append(
        f"F42: {generated[1]} requests in {took / 60:.1f} minutes, none answered by 5xx or otherwise than "
        f"described; memory {warm >> 10} MiB before, {end >> 10} MiB at the end"
    )
    assert abs(end - warm) <= GROWTH
