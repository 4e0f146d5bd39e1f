"""The install steps of the Dockerfile, done in an empty folder: what the image would hold works there."""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tree import ROOT, files, pyproject

INSTALLED = "/opt/tidegate"


class Step(NamedTuple):
    """One instruction of a Dockerfile, its continued lines joined."""

    instruction: str
    rest: str


def stages() -> list[list[Step]]:
    """The Dockerfile's stages, each from its FROM on."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    found: list[list[Step]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append(Step(instruction, re.sub(r"\s+", " ", rest).strip()))
    return found


BUILD, IMAGE = stages()


def given(instruction: str) -> str:
    """What the last such instruction of the image says."""
    return [step.rest for step in IMAGE if step.instruction == instruction][-1]


def sent() -> list[Path]:
    """The files that .dockerignore lets through to the builder."""
    patterns = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert "*" in patterns
    return [path for path in files() if path.relative_to(ROOT).parts[0] in kept]


def copy(rest: str, into: Path) -> None:
    """COPY names... folder, with what is sent to the builder."""
    *wanted, folder = rest.split()
    assert folder == "./", rest
    for path in sent():
        name = path.relative_to(ROOT).as_posix()
        if any(each == "." or fnmatch(name, each) for each in wanted):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into / name)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first stage was carried out: `install` is what the image copies from it."""
    folder = tmp_path_factory.mktemp("replayed")
    builder, workdir, home = folder / "python", folder / "build", folder / "home"
    subprocess.run([sys.executable, "-m", "venv", str(builder)], check=True)
    workdir.mkdir()
    home.mkdir()
    kept = {
        name: text
        for name, text in os.environ.items()
        if name.startswith(("PIP_", "SSL_")) or "proxy" in name
    }
    path = f"{builder / 'bin'}:/usr/bin:/bin"
    environ = {**kept, "PATH": path, "HOME": str(home), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for step in BUILD:
        if step.instruction == "COPY":
            copy(step.rest, workdir)
        elif step.instruction == "RUN":
            command = step.rest.replace(INSTALLED, str(folder / "install"))
            shell = ["sh", "-euc", command]
            done = subprocess.run(
                shell, cwd=workdir, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"RUN {step.rest}\n{done.stdout}\n{done.stderr}"
        else:
            assert step.instruction in {"FROM", "WORKDIR"}, f"this test does not know {step.instruction}"
    return folder / "install"


@pytest.mark.install
@pytest.mark.timeout(400)
def test_the_command_runs_from_what_the_image_holds(replayed: Path, tmp_path: Path) -> None:
    environ = {"PATH": f"{replayed / 'bin'}:/usr/bin:/bin"}
    command = ["tidegate", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == pyproject()["project"]["version"]


@pytest.mark.install
@pytest.mark.timeout(400)
def test_the_database_is_made_from_what_the_image_holds(replayed: Path, tmp_path: Path) -> None:
    environ = {"PATH": f"{replayed / 'bin'}:/usr/bin:/bin", "TIDEGATE_DATA_DIR": str(tmp_path / "data")}
    command = ["tidegate", "migrate"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "data" / "tidegate.db").is_file()


def test_what_is_installed_in_the_first_stage_is_what_the_image_copies() -> None:
    assert f"--from=build {INSTALLED} {INSTALLED}" in [
        step.rest for step in IMAGE if step.instruction == "COPY"
    ]
    assert f'PATH="{INSTALLED}/bin:$PATH"' in given("ENV")


def test_the_image_runs_as_a_user_of_a_fixed_number_who_owns_the_data() -> None:
    user, group = given("USER").split(":")
    assert user.isdecimal()
    assert int(user) >= 1000
    assert f"--uid {user}" in given("RUN")
    assert f"--owner {user} --group {group} --mode 0700 /data" in given("RUN")
    assert given("VOLUME") == "/data"
    assert "TIDEGATE_DATA_DIR=/data" in given("ENV")


def test_the_image_starts_everything_and_tells_whether_it_is_well() -> None:
    assert (given("ENTRYPOINT"), given("CMD")) == ('["tidegate"]', '["up"]')
    assert given("HEALTHCHECK").endswith('CMD ["tidegate", "health", "--here"]')
    assert given("STOPSIGNAL") == "SIGTERM"
    assert given("EXPOSE") == "8420"


def test_nothing_but_the_program_is_sent_to_the_builder() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in sent()}
    assert not names & {"tests", "bench", ".ci", "docs", ".git", "requirements-dev.lock"}
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements.lock", "tidegate"} <= names
