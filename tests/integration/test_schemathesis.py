"""The server, asked by a program that knows nothing of it but its description, with all checks it has."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from api.keyring import Keyring
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.databases import make_tables
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(300)

ALLOWANCES = "schemathesis.toml"
#: It never ends; test_api_events.py and test_api_described.py speak of it.
LEFT_OUT = "/v1/events"


@asynccontextmanager
async def furnished(folder: Path) -> AsyncIterator[Api]:
    """A server with one thing of each kind, so that the first id stands for something."""
    database = Database(f"sqlite+aiosqlite:///{folder}/tidegate.db")
    await make_tables(database)
    # Its clock goes on by minutes: wrong keys are what is tried here, and never too many at once.
    minutes = count(step=100.0)
    async with serving_api(database, keyring=Keyring(lambda: next(minutes))) as served:
        await served.post("/v1/projects", {"name": "one", "key": "one"})
        await served.credential()
        made = await served.shelf("shelf.example/3")
        await served.synced(made["id"])
        await served.post("/v1/subscriptions", {"name": "one", "url": "http://127.0.0.1:9/", "project_id": 1})
        yield served
    await database.close()


async def asked(api: Api, folder: Path, examples: int, seed: int, *more: str) -> str:
    """Ask everything, so many examples of each; what the program says, which must have found nothing. With
    `more` options of it.
    """
    shutil.copy(ROOT / "tests" / ALLOWANCES, folder)
    options = f"--checks all --exclude-path {LEFT_OUT} --max-examples {examples} --seed {seed}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        ALLOWANCES,
        "run",
        f"{api.url}/openapi.json",
        "-H",
        f"X-API-Key: {ADMIN_KEY}",
        "--no-color",
        "--generation-deterministic",
        *options.split(),
        *more,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    said = out.decode()
    assert process.returncode == 0, said
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said.replace("✅  ", "✅ "), said
    return said


async def test_it_answers_as_it_is_described_whatever_is_asked(tmp_path: Path) -> None:
    async with furnished(tmp_path) as api:
        await asked(api, tmp_path, examples=8, seed=1)
