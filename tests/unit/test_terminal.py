"""What commands show where somebody looks: tables with colours, and progress in one line."""

import os
import pty
import subprocess
import sys

from tests.tidegates import ROOT

TABLES = """
from tidegate.commands import show
show.as_table(("id", "name", "health"), [(1, "a [b] c", "healthy"), (2, "t", "failed"), (3, None, "waiting")])
show.facts({"queued": "now", "nothing": None})
with show.Counted("records", "written", quiet=False) as progress:
    progress.begin(0)
    progress(500, 1000)
"""


def shown(script: str) -> str:
    """What a script writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
    environ.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environ, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # what a terminal says when nobody writes to it any more
            pass
        assert process.wait(30) == 0, said
    os.close(ours)
    return said.decode()


def test_a_terminal_gets_headers_colours_and_progress() -> None:
    said = shown(TABLES)
    assert "\x1b[1mname" in said
    assert "a [b] c" in said
    assert "\x1b[32mhealthy\x1b[0m" in said
    assert "\x1b[31mfailed" in said
    assert "\x1b[33mwaiting" in said
    assert "\x1b[1mqueued\x1b[0m" in said
    assert "nothing" not in said
    assert "500 of 1,000 records written" in said


def test_elsewhere_the_same_is_plain_text_with_tabs() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TABLES], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\ta [b] c\thealthy\n2\tt\tfailed\n3\t\twaiting\nqueued\tnow\n"
    assert done.stderr == ""
