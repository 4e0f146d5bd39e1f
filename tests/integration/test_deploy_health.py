"""The health commands of the compose file, asked beside each role as it runs."""

from pathlib import Path

import pytest

from tests.compose_file import compose
from tests.tidegates import ROOT, run, running

pytestmark = pytest.mark.timeout(180)

SERVICES = compose(ROOT / "deploy" / "compose.yaml")["services"]
ROLES = ("api", "scheduler", "worker")


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_healthy_by_its_own_command_and_by_no_other(tmp_path: Path, role: str) -> None:
    asked = {name: SERVICES[name]["healthcheck"]["test"][2:] for name in ROLES}
    async with running(tmp_path / "data", SERVICES[role]["command"][0]) as up:
        await up.says("ready")
        codes = {name: (await run(tmp_path / "data", *words)).code for name, words in asked.items()}
    assert codes == {name: 0 if name == role else 1 for name in ROLES}
