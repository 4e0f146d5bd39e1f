"""The rules of the house that no linter holds by itself."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import PACKAGES, ROOT, files, package_files

LONGEST_MODULE = 400
MODULES = [path for path in package_files() if path.suffix == ".py"]
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT_IMPORTS]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contract in a folder of their own."""
    root = tmp_path_factory.mktemp("copied")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_imports_keep_to_the_floors(copied: Path) -> None:
    done = lint_imports(copied)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "imported", "contract"),
    [
        ("store", "scheduler", "Imports only go down"),
        ("adapters", "store", "Imports only go down"),
        ("scheduler", "api", "Imports only go down"),
        ("worker", "events", "Imports only go down"),
        ("adapters", "config", "Imports only go down"),
        ("worker", "aiohttp", "Only adapters/http.py makes HTTP requests"),
        ("adapters", "redis", "Adapters know nothing"),
        ("adapters/jira", "adapters.azure", "An adapter knows the contract"),
    ],
)
def test_an_import_against_the_contract_is_refused(
    copied: Path, package: str, imported: str, contract: str
) -> None:
    intruder = copied / package / "intruder.py"
    intruder.write_text(f"import {imported}\n", "utf-8")
    try:
        done = lint_imports(copied)
    finally:
        intruder.unlink()
    _, _, broken = done.stdout.partition("Broken contracts")
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in broken
    assert f"{package.replace('/', '.')}.intruder -> {imported}" in broken


def named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_module_says_what_it_is_in_its_docstring() -> None:
    assert (
        named([path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]) == []
    )


def test_every_module_can_be_read_in_one_sitting() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert named([path for path in MODULES if lines[path] > LONGEST_MODULE]) == []


# Written so that this file does not find itself.
FOLDERS_ELSEWHERE = r"(?<![\w.])/(?:[w]ork|[r]oot|[h]ome|[U]sers|[o]pt/pypi)/\w"
REGISTRIES = r"\b(?:[p]ypi|files\.[p]ythonhosted)\.org\b|--(?:[e]xtra-)?index-url|--[f]ind-links"


def test_no_file_names_a_folder_of_some_machine_or_the_host_of_a_registry() -> None:
    elsewhere = re.compile(f"{FOLDERS_ELSEWHERE}|{REGISTRIES}")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if elsewhere.search(line)
    ]
    assert found == []
