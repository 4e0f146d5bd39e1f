"""The receivers of docs/webhooks-out.md take what Tidegate sends, and nothing that is forged."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from events.signature import headers, new_secret
from tests.chaos.servers import free_port
from tests.engine import connect
from tests.house import House
from tests.subscribers import open_office
from tests.tree import ROOT

EXAMPLES = ROOT / "docs" / "examples"
COMMANDS = [
    pytest.param((sys.executable, str(EXAMPLES / "receive.py")), id="python"),
    pytest.param(("node", str(EXAMPLES / "receive.mjs")), id="node"),
]
SECRET = new_secret()
BODY = b'{"id": "uid", "type": "t", "source": "s"}'


class Running:
    """A receiver that runs; the events that it printed."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    async def ended(self) -> Sequence[str]:
        self.process.terminate()
        out, _ = await self.process.communicate()
        return out.decode().splitlines()

    async def post(self, sent: Mapping[str, str], body: bytes) -> int:
        async with aiohttp.ClientSession() as http, http.post(self.url, data=body, headers=sent) as answer:
            return answer.status


@asynccontextmanager
async def running(command: Sequence[str]) -> AsyncIterator[Running]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *command,
        str(port),
        env={**os.environ, "HOOK_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
        yield Running(process, f"http://127.0.0.1:{port}/")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_example_takes_what_is_sent_and_knows_what_it_had(
    engine: House, command: Sequence[str]
) -> None:
    made = await connect(engine)
    async with running(command) as receiver, open_office(engine) as office:
        office.hands.time = datetime.now(UTC)
        await office.publish()
        hook = await office.subscribe(receiver.url, SECRET)
        await office.happen(made.id, 2)
        await office.pass_time(seconds=1)
        assert [one.state for one in await office.sendings(hook)] == ["delivered"] * 2
        signed = headers([new_secret(), SECRET], "uid", datetime.now(UTC), BODY)
        assert [await receiver.post(signed, BODY) for _ in range(2)] == [204, 204]
        assert await receiver.ended() == [f"io.tidegate.status /connections/{made.id}"] * 2 + ["t s"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_example_refuses_what_is_forged_changed_or_old(command: Sequence[str]) -> None:
    now = datetime.now(UTC)
    right = headers([SECRET], "uid", now, BODY)
    forged = [
        (headers([new_secret()], "uid", now, BODY), BODY),
        (right, BODY + b" "),
        ({**right, "webhook-id": "other"}, BODY),
        ({**right, "webhook-signature": "v1,"}, BODY),
        ({**right, "webhook-signature": right["webhook-signature"][:-4]}, BODY),
        ({name: value for name, value in right.items() if name != "webhook-timestamp"}, BODY),
        (headers([SECRET], "uid", now - timedelta(seconds=310), BODY), BODY),
        (headers([SECRET], "uid", now + timedelta(seconds=310), BODY), BODY),
        ({}, BODY),
    ]
    async with running(command) as receiver:
        assert [await receiver.post(*one) for one in forged] == [401] * len(forged)
        assert await receiver.ended() == []
