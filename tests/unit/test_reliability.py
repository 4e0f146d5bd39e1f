"""The promises that are written down name tests that are there."""

import re

from config.failpoints import Step
from tests.tree import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_every_fault_has_a_line() -> None:
    assert re.findall(r"^\| (F\d\d) ", TEXT, re.MULTILINE) == [f"F{number:02}" for number in range(1, 45)]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 60
    gone = [
        f"{path}::{test}"
        for path, test in named
        if f"def {test}(" not in (ROOT / "tests" / path).read_text("utf-8")
    ]
    assert gone == []


def test_every_fault_has_a_test() -> None:
    rows = re.findall(r"^\| F\d\d .*$", TEXT, re.MULTILINE)
    assert [row for row in rows if "::test_" not in row] == []
    assert Step.EVENT_SENT in TEXT
