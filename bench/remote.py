"""The remote of the benchmarks: a simulated Jira Cloud in a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.demo.remotes.jira import JiraCloud

EMAIL, TOKEN = "bench@example.com", "bench-token"
#: Issues of a small project.
SMALL = 20


class Jira:
    """The remote as the benchmark sees it: `url` is that of a filter with all issues."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        self.url = url
        self._process = process

    async def most(self) -> int:
        """The most requests that it ever answered at the same time."""
        return int(await self._said("most"))

    async def touch(self, number: int) -> str:
        """Change the issue of this number, counted from 0; its id."""
        return await self._said(f"touch {number}")

    async def _said(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def jira_process(issues: int, latency: float = 0.0, small: int = 0) -> AsyncIterator[Jira]:
    """A Jira with so many issues of about 6 KB, served until the end; and `small` projects `S0`, `S1`, ... of
    20 issues each.
    """
    arguments = [sys.executable, "-m", "bench.remote", str(issues), str(latency), str(small)]
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    try:
        yield Jira((await process.stdout.readline()).decode().strip(), process)
    finally:
        process.kill()
        await process.wait()


async def serve(issues: int, latency: float, small: int) -> None:
    """Print the filter's URL, and do what the standard input says until it closes."""
    async with JiraCloud(latency=latency) as remote:
        remote.add_account(EMAIL, TOKEN, zone="America/Los_Angeles")
        remote.seed(issues)
        for project in range(small):
            remote.seed(SMALL, f"S{project}")
        for issue in list(remote.issues.values()):
            remote.body(issue)
        number = remote.add_filter("project = TG")
        print(f"{remote.url}/issues/?filter={number}", flush=True)
        ids = list(remote.issues)
        while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            command, _, which = line.strip().partition(" ")
            if command == "touch":
                id_ = ids[int(which) % len(ids)]
                remote.update_issue(id_, summary=f"Changed at {remote.clock.now()}")
                print(id_, flush=True)
            if command == "most":
                print(remote.most, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
