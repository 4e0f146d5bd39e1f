"""What is built holds the whole program and nothing else, and what is locked is what is allowed."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.tree import PACKAGES, ROOT, package_files, pyproject

RUNTIME, BUILD, DEV = "requirements.lock", "requirements-build.lock", "requirements-dev.lock"


def build(target: str, source: Path, into: Path) -> Path:
    """Build an sdist or a wheel of `source`, the way an installer does, without the network."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = into.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made from the sdist: where a file that the sdist forgot is missing too."""
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(build("sdist", ROOT, folder)) as sdist:
        # Python 3.11 before 3.11.4 has no filters; later versions warn where none is chosen.
        if hasattr(tarfile, "data_filter"):
            sdist.extraction_filter = tarfile.data_filter
        sdist.extractall(folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    return build("wheel", source, folder)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {path.relative_to(ROOT).as_posix() for path in package_files()}
    assert held - wanted == set()
    assert wanted - held == set()


def test_the_wheel_holds_what_is_not_python_too(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert "store/migrations/script.py.mako" in held
    assert any(name.startswith("store/migrations/versions/0001") for name in held)


def test_the_wheel_installs_the_command_and_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "tidegate = tidegate.cli:main" in archive.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_packages_are_those_that_are_listed() -> None:
    targets = pyproject()["tool"]["hatch"]["build"]["targets"]
    assert tuple(targets["wheel"]["packages"]) == PACKAGES
    assert set(PACKAGES) <= set(targets["sdist"]["include"])
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench", "tests"} == set(PACKAGES)


def locked(lock: str) -> dict[str, str]:
    """Each name of a lock, with its version."""
    pins = re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return dict(pins)


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_every_line_of_a_lock_is_a_pin_with_its_hashes(lock: str) -> None:
    lines = [
        line for line in (ROOT / lock).read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    pin = r"[a-z0-9.-]+==[^ ]+( ; [^\\]+)? \\"
    assert [
        line for line in lines if not re.fullmatch(rf"{pin}|    --hash=sha256:[0-9a-f]{{64}}( \\)?", line)
    ] == []
    pins = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    assert all(lines[number + 1].startswith("    --hash") for number in pins)


def test_the_locks_agree_with_each_other() -> None:
    everything = locked(DEV)
    assert locked(RUNTIME).items() <= everything.items()
    assert locked(BUILD).items() <= everything.items()


def asked(lock: str) -> list[str]:
    """What pyproject asks for, of which the lock must hold an allowed version."""
    content = pyproject()
    groups = content["dependency-groups"]
    build_group: list[str] = groups["build"]
    runtime: list[str] = content["project"]["dependencies"]
    dev: list[str] = [each for each in groups["dev"] if isinstance(each, str)]
    system: list[str] = content["build-system"]["requires"]
    wanted = {RUNTIME: runtime, BUILD: build_group + system, DEV: dev}
    return wanted[lock]


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_what_is_asked_for_is_locked_within_its_bounds(lock: str) -> None:
    pins = locked(lock)
    for requirement in map(Requirement, asked(lock)):
        assert any(bound.operator == "<" for bound in requirement.specifier), (
            f"{requirement} has no upper bound"
        )
        assert pins.get(requirement.name, "") in requirement.specifier, (
            f"not what is in {lock}: {requirement}"
        )
