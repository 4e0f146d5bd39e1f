"""Failpoints: nothing without the variable, and exactly what was asked for with it."""

import os
import re
import signal
import subprocess
import sys

import pytest

from config.failpoints import FAILPOINT, Armed, FailpointError, Step, passed
from config.settings import SettingsError, load
from tests.tree import PACKAGES, ROOT


def pass_it(setting: str | None, times: int) -> subprocess.CompletedProcess[str]:
    """A process that passes a step so many times, and says so each time."""
    code = (
        "from config.failpoints import Step, passed\n"
        f"for number in range({times}):\n    passed(Step.PAGE_WRITTEN)\n    print(number, flush=True)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    if setting is not None:
        environ[FAILPOINT] = setting
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )


def test_without_the_variable_nothing_happens() -> None:
    for step in Step:
        passed(step)
    assert pass_it(None, 2).returncode == 0


def test_a_process_dies_at_the_passage_that_was_asked_for() -> None:
    done = pass_it("page_written:3:kill", 5)
    assert done.returncode == -signal.SIGKILL
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["0", "1"]


def test_another_step_is_passed_unharmed() -> None:
    assert pass_it("page_committed:1:kill", 2).returncode == 0


def test_a_failure_looks_like_a_server_that_is_away_and_happens_once() -> None:
    armed = Armed("event_sent:1:raise")
    with pytest.raises(FailpointError) as caught:
        armed(Step.EVENT_SENT)
    assert isinstance(caught.value, OSError)
    armed(Step.EVENT_SENT)


def test_what_breaks_stays_broken() -> None:
    armed = Armed("event_sent:2:break")
    armed(Step.EVENT_SENT)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            armed(Step.EVENT_SENT)


@pytest.mark.parametrize(
    "text", ["page_written", "page:1:kill", "page_written:0x1:kill", "page_written:1:burn"]
)
def test_what_is_no_failpoint_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TIDEGATE_FAILPOINT: .* is no failpoint"):
        load({FAILPOINT: text, "TIDEGATE_DATA_DIR": "."})


def test_a_failpoint_is_no_unknown_setting() -> None:
    load({FAILPOINT: "page_written:1:kill", "TIDEGATE_DATA_DIR": "."})


def test_each_step_is_passed_somewhere_and_only_there() -> None:
    code = "".join(
        path.read_text("utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "failpoints.py"
    )
    found = re.findall(r"\bStep\.([A-Z_]+)\b", code)
    assert sorted(found) == sorted(Step.__members__)
