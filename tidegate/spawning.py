"""Starting a worker process. Imports next to nothing, so that workers can load while their parent does."""

import subprocess
import sys

#: The worker waits for a line on its standard input (the URL of the embedded Redis, or nothing), and ends
#: when the input closes: so it never outlives a parent that was killed.
STARVED = "--until-stdin-closes"


def spawn_worker() -> subprocess.Popen[bytes]:
    """A worker on the settings of this process, which begins once it was told to."""
    # Our own program, and nothing of a user's in the command.
    return subprocess.Popen([sys.executable, "-m", "tidegate", "worker", STARVED], stdin=subprocess.PIPE)  # noqa: S603


def discard(worker: subprocess.Popen[bytes]) -> None:
    """End a worker that was never told to begin, if it has not ended."""
    if worker.stdin is not None:
        worker.stdin.close()
    if worker.poll() is None:
        worker.kill()
    worker.wait()
