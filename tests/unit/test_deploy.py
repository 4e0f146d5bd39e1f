"""What deploys Tidegate names only what there is: settings, commands, roles, files, users."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from tests.compose_file import compose
from tests.documents import ALL, command_lines, refusal
from tests.tree import ROOT, pyproject

DEPLOY = ROOT / "deploy"
FILE = compose(DEPLOY / "compose.yaml")
SERVICES: Mapping[str, Any] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build")}
ROLES = ("api", "scheduler", "worker")
UNIT = DEPLOY / "tidegate.service"
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets as make-secrets makes them."""
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copy(DEPLOY / "make-secrets", folder)
    subprocess.run(["sh", str(folder / "make-secrets")], check=True, capture_output=True)
    return folder / "secrets"


def inside(service: Mapping[str, Any], secrets: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment within a container of this service, with its secrets where they are here."""

    def filled(text: str) -> str:
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: given.get(m[1]) or m[2], str(text))
        return text.replace("/run/secrets/", f"{secrets}/")

    return {name: filled(text) for name, text in service["environment"].items()}


def settings(name: str, secrets: Path, **given: str) -> Settings:
    return load(inside(OURS[name], secrets, given))


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_container_are_settings(name: str, secrets: Path) -> None:
    found = settings(name, secrets)
    password = (secrets / "database_password").read_text().strip()
    assert found.database_url is not None
    assert found.database_url.reveal() == f"postgresql://tidegate:{password}@postgres:5432/tidegate"
    assert found.redis_url is not None
    assert "valkey:6379" in found.redis_url.reveal()
    assert found.secret_key is not None
    assert found.admin_key is not None


def test_what_is_set_where_compose_runs_reaches_the_containers(secrets: Path) -> None:
    found = settings("worker", secrets, TIDEGATE_ALLOW_NETWORKS="10.0.0.0/8", TIDEGATE_LOG_LEVEL="debug")
    assert (found.allow_networks, found.log_level) == (("10.0.0.0/8",), "debug")
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"\$\{(TIDEGATE_\w+)", text)) <= set(OURS["api"]["environment"])


def test_every_role_runs_and_two_workers_of_them() -> None:
    commands = {service["command"][0] for service in OURS.values()}
    assert commands == {*ROLES, "migrate"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert [refusal(list(service["command"])) for service in OURS.values()] == [None] * 4


@pytest.mark.parametrize("role", ROLES)
def test_the_health_of_a_container_is_that_of_its_role(role: str) -> None:
    words = SERVICES[role]["healthcheck"]["test"]
    assert words == ["CMD", "tidegate", "health", "--here", "--role", role]
    assert refusal(words[2:]) is None


@pytest.mark.parametrize("role", ROLES)
def test_a_role_starts_when_what_it_stands_on_is_there(role: str) -> None:
    assert SERVICES[role]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
        "valkey": {"condition": "service_healthy"},
    }
    assert SERVICES["migrate"]["restart"] == "no"
    assert all("test" in SERVICES[name]["healthcheck"] for name in ("postgres", "valkey"))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_write_nowhere_and_may_do_nothing(name: str) -> None:
    service = OURS[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    # The data folder must be there and be the user's own, though nothing in it is to last.
    assert f"/data:uid={user[1]},gid={user[2]},mode=0700" in service["tmpfs"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_names_only_what_the_file_defines(name: str) -> None:
    service = SERVICES[name]
    for kind in ("networks", "secrets"):
        assert set(service.get(kind, ())) <= set(FILE[kind])
    for volume in service.get("volumes", ()):
        assert volume.partition(":")[0] in FILE["volumes"]
    assert set(service.get("depends_on", ())) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_of_a_version_and_every_service_stops_in_its_own_time(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert re.match(r"\d", tag)
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    if image == "tidegate":
        assert tag == pyproject()["project"]["version"]
        assert seconds > 20


def test_nothing_but_the_api_is_published_and_that_to_this_machine_only() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    (published,) = SERVICES["api"]["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-8420\}:8420", published)
    assert FILE["networks"]["inside"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["inside"] for name in ("postgres", "valkey"))


def test_the_secrets_are_made_once_for_containers_to_read_and_for_nobody_else(secrets: Path) -> None:
    made = {path.name for path in secrets.iterdir()}
    assert made == set(FILE["secrets"])
    assert all(FILE["secrets"][name]["file"] == f"secrets/{name}" for name in made)
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert len(before) == len(set(before.values()))
    again = subprocess.run(["sh", str(secrets.parent / "make-secrets")], check=True, capture_output=True)
    assert again.stdout == b""
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def docker_lines() -> list[str]:
    """What the documents say to Docker, in blocks and in running text."""
    return [line for line in (*command_lines(), *re.findall(r"`(docker [^`]+)`", ALL)) if "docker " in line]


def test_the_documents_name_the_image_of_this_version() -> None:
    tags = re.findall(r"\btidegate:(\d[\w.]*)", "\n".join(docker_lines()))
    assert tags
    assert set(tags) == {pyproject()["project"]["version"]}


def test_the_documents_ask_containers_for_commands_that_there_are() -> None:
    asked = [
        re.search(r"docker (?:compose )?exec (\S+) tidegate (.+)", line)
        or re.search(r"(api) (apply .+)", line)
        for line in docker_lines()
    ]
    found = [match for match in asked if match]
    assert len(found) > 2
    assert {match[1] for match in found} <= {*SERVICES, "tidegate"}
    assert [refusal(shlex.split(match[2])) for match in found] == [None] * len(found)


def test_the_files_that_the_documents_install_are_there() -> None:
    named = {
        word for line in command_lines() for word in line.split() if word.startswith(("deploy/", "requ"))
    }
    assert {"deploy/tidegate.service", "requirements.lock"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def unit() -> dict[str, list[str]]:
    """What the unit says, by the name of the option."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        name, equals, value = line.lstrip("#").partition("=")
        if equals and re.fullmatch(r"[A-Z]\w+", name):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_runs_a_command_and_sets_settings_that_there_are() -> None:
    (start,) = unit()["ExecStart"]
    program, *words = shlex.split(start)
    assert program.endswith("/tidegate")
    assert refusal(words) is None
    given = [pair.partition("=") for line in unit()["Environment"] for pair in line.split()]
    names = {name.removeprefix("TIDEGATE_").removesuffix("_FILE").lower() for name, _, _ in given}
    assert names <= set(Settings.__struct_fields__)
    credentials = {line.partition(":")[0] for line in unit()["LoadCredential"]}
    assert credentials == {value.removeprefix("%d/") for _, _, value in given if value.startswith("%d")}


def test_the_unit_lets_it_end_in_its_own_time_and_does_not_repeat_wrong_settings() -> None:
    assert int(unit()["TimeoutStopSec"][0]) > 20
    assert unit()["RestartPreventExitStatus"] == ["2"]
    assert (unit()["DynamicUser"], unit()["StateDirectory"]) == (["yes"], ["tidegate"])
    assert unit()["ProtectSystem"] == ["strict"]


if ANALYZE is not None:

    def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
        text = UNIT.read_text("utf-8").replace("/opt/tidegate/bin/tidegate", "/bin/true")
        (tmp_path / UNIT.name).write_text(text)
        command = [str(ANALYZE), "verify", str(tmp_path / UNIT.name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
        assert (done.returncode, about_it) == (0, [])
