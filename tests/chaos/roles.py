"""Real processes of Tidegate, each with its log in a file, and what can befall a process."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: By how many seconds the clock of a process is ahead, see wrong_clock.py.
AHEAD = "CLOCK_IS_AHEAD"
ROOT = Path(__file__).parents[2]
END_SECONDS = 60.0  # on a machine that is busy with other tests


class Role:
    """One process of Tidegate: `up`, or a single role."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.child = child
        self.log = log
        #: Whether the test ended it; any other end is a defect.
        self.meant = False

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self.child.returncode is None

    async def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self.meant = True
        self.child.kill()
        await self.child.wait()

    def freeze(self) -> None:
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.child.send_signal(signal.SIGCONT)

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.meant = True
        self.child.send_signal(number)

    async def ended(self, within: float = END_SECONDS) -> int:
        """Its exit code. Fails if it goes on."""
        try:
            async with asyncio.timeout(within):
                return await self.child.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} did not end within {within} s:\n{self.tail()}") from None

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of an event that have these fields."""
        lines = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def text(self) -> str:
        return self.log.read_text("utf-8")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.text().splitlines()[-lines:])


async def start(name: str, environ: Mapping[str, str], folder: Path, number: int, *arguments: str) -> Role:
    """Start `tidegate NAME` with exactly this environment; with a clock that is wrong if it says so."""
    log = folder / f"{number:02}-{name}.log"
    module = "tests.chaos.wrong_clock" if AHEAD in environ else "tidegate"
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, name, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(environ),
            cwd=folder,
        )
    return Role(name, child, log)


async def end_all(roles: list[Role]) -> None:
    """SIGTERM to all that run, SIGKILL to those that do not heed it; frozen ones are thawed first."""
    left = [role for role in roles if role.running]
    for role in left:
        role.thaw()
        role.ask_to_end()
    if left:
        waits = [asyncio.create_task(role.child.wait()) for role in left]
        _, late = await asyncio.wait(waits, timeout=END_SECONDS)
        for role in left:
            if role.running:
                role.child.kill()
        await asyncio.gather(*waits)
        assert not late, f"{len(late)} processes did not end within {END_SECONDS} s"
