"""What the tests of the page stand on: a Tidegate, a Jira, a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.chromium import chromium
from tests.tidegates import Up, running
from tidegate.demo.remotes.jira import JiraCloud


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        account = remote.add_account("ana@example.com", "token-1", name="Ana Reyes")
        remote.administrators.add(account.account_id)
        remote.add_project("TG")
        remote.seed(20)
        yield remote


@pytest.fixture
async def up(data_dir: Path) -> AsyncIterator[Up]:
    async with running(data_dir) as made:
        await made.ready()
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made
