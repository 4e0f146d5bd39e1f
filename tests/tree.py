"""The project's own files, for the tests that look at them."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("adapters", "api", "config", "events", "scheduler", "store", "tidegate", "worker")
# What tools and trials leave behind; hidden folders are left out but for those of the project.
LEFT_BEHIND = {"__pycache__", "build", "dist"}
OURS_THOUGH_HIDDEN = {".ci", ".dockerignore", ".gitignore"}


def files(under: Path = ROOT) -> Iterator[Path]:
    """Every file below a folder that belongs to the project, without asking git, which may not be there."""
    for path in sorted(under.iterdir()):
        hidden = path.name.startswith(".") and path.name not in OURS_THOUGH_HIDDEN
        if hidden or path.name in LEFT_BEHIND or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def package_files() -> list[Path]:
    """Every file of the packages that are installed: modules and what lies beside them."""
    return [path for package in PACKAGES for path in files(ROOT / package)]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
