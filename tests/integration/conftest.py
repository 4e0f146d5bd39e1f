"""Fixtures of the integration tests."""

from collections.abc import AsyncIterator

import pytest

from store.database import Database
from tests.house import House, open_house


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with open_house(database) as made:
        yield made
