"""An adapter of another package: found by its entry point, it passes the same suite as ours."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """With the example package installed, as far as Python can tell."""
    path = os.pathsep.join([str(EXAMPLE), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_adapter_of_another_package_is_found() -> None:
    done = _run("-c", "from tidegate.registry import adapters; print(*adapters())")
    assert "ledger" in done.stdout.split(), done.stderr


def test_an_adapter_of_another_package_passes_the_suite() -> None:
    done = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "ledger", "tests/conformance")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_naive_adapter_does_not_pass_the_suite(tmp_path: Path) -> None:
    """One that calls whatever it is not given an empty page, and says so with success."""
    code = (EXAMPLE / "tidegate_ledger.py").read_text()
    naive = code.replace("after, more = last, page.more", "after, more = last, False")
    assert naive != code
    (tmp_path / "tidegate_ledger.py").write_text(naive)
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE), str(ROOT)])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "ledger and first",
            "tests/conformance",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:]


def test_the_documentation_shows_the_adapter_that_is_tested() -> None:
    code = (EXAMPLE / "tidegate_ledger.py").read_text().replace("  # noqa: ARG004", "")
    assert f"```python\n{code}```" in (ROOT / "docs" / "adapters.md").read_text()
