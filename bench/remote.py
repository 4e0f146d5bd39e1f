"""The remote of the benchmarks: a simulated Jira Cloud in a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.demo.remotes.jira import JiraCloud

EMAIL, TOKEN = "bench@example.com", "bench-token"


@asynccontextmanager
async def jira_process(issues: int, latency: float = 0.0) -> AsyncIterator[str]:
    """The URL of a filter with so many issues of about 6 KB, served until the end."""
    arguments = [sys.executable, "-m", "bench.remote", str(issues), str(latency)]
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def serve(issues: int, latency: float) -> None:
    """Print the filter's URL and serve until the standard input closes."""
    async with JiraCloud(latency=latency) as remote:
        remote.add_account(EMAIL, TOKEN, zone="America/Los_Angeles")
        remote.seed(issues)
        for issue in list(remote.issues.values()):
            remote.body(issue)
        number = remote.add_filter("project = TG")
        print(f"{remote.url}/issues/?filter={number}", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
