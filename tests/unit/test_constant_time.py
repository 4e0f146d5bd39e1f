"""No adapter lets the time of its answer tell how much of a webhook's secret was guessed."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.constant_time import complaints
from tests.tree import ROOT, files

MODULES = [
    path
    for folder in ("adapters", "tests/example")
    for path in files(ROOT / folder)
    if path.suffix == ".py" and "def verify(" in path.read_text("utf-8")
]

GOOD = """
    def verify(hook, secret):
        if not secret:
            return False
        method, _, given = hook.headers.get("x-hub-signature", "").partition("=")
        return method == "sha256" and _same(given, secret)

    def _same(given, secret):
        return any([hmac.compare_digest(one, secret.encode()) for one in given])
"""
BAD = {
    "an operator": """
        def verify(hook, secret):
            return hook.headers.get("x") == secret
    """,
    "a signature that is made of it": """
        def verify(hook, secret):
            expected = hmac.new(secret.encode(), hook.body, "sha256").hexdigest()
            hmac.compare_digest(expected, expected)
            return hook.headers.get("x") != f"sha256={expected}"
    """,
    "a membership": """
        def verify(hook, secret):
            return hmac.compare_digest("a", secret) or secret in hook.headers.values()
    """,
    "another function": """
        def verify(hook, secret):
            hmac.compare_digest("a", secret)
            return _same(hook, key=secret)

        def _same(hook, key):
            shown = [key]
            return any(hook.headers["x"] == one for one in shown)
    """,
    "a method that stops early": """
        def verify(hook, secret):
            return hmac.compare_digest("", "") and hook.headers["x"].endswith(secret)
    """,
    "a pattern": """
        def verify(hook, secret):
            return hmac.compare_digest("", "") and re.fullmatch(secret, hook.headers["x"])
    """,
    "nothing at all": """
        def verify(hook, secret):
            return bool(secret)
    """,
    "an argument of another name": """
        def verify(hook, word):
            return hmac.compare_digest(hook.headers["x"], "") and hook.headers["x"] == word
    """,
}


def test_there_are_adapters_to_look_at() -> None:
    assert {path.parent.name for path in MODULES} >= {"jira", "jenkins", "azure"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_secrets_of_webhooks_are_compared_in_constant_time(path: Path) -> None:
    assert complaints(path.read_text("utf-8")) == []


def test_a_check_in_constant_time_is_let_through() -> None:
    assert complaints(dedent(GOOD)) == []


@pytest.mark.parametrize("name", list(BAD))
def test_a_check_that_takes_longer_for_a_better_guess_is_found(name: str) -> None:
    assert complaints(dedent(BAD[name])) != []
