"""What one process remembers about keys, with a clock of the test's own."""

from pathlib import Path

import pytest

from api.keyring import MOST_ADDRESSES, WRONG_ALLOWED, Keyring
from api.problems import ProblemError
from config.secret import Secret
from store.database import Database
from tests.servers import Seconds

ADMIN = Secret("the administrator's key")


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def nowhere(tmp_path: Path) -> Database:
    """A database that nobody may ask: there is none."""
    return Database(f"sqlite+aiosqlite:///{tmp_path}/missing/none.db")


async def wrong(ring: Keyring, nowhere: Database, address: str) -> ProblemError:
    with pytest.raises(ProblemError) as refused:
        await ring.caller(nowhere, ADMIN, "wrong", address)
    return refused.value


async def test_an_address_is_told_to_wait_until_its_minute_is_over(clock: Seconds, nowhere: Database) -> None:
    ring = Keyring(clock)
    for _ in range(WRONG_ALLOWED):
        assert (await wrong(ring, nowhere, "192.0.2.1")).status == 401
    clock.now += 45
    last = await wrong(ring, nowhere, "192.0.2.1")
    assert (last.status, last.headers["Retry-After"]) == (429, "15")
    assert (await wrong(ring, nowhere, "192.0.2.2")).status == 401
    clock.now += 15
    assert (await wrong(ring, nowhere, "192.0.2.1")).status == 401


async def test_the_administrator_is_never_kept_waiting(clock: Seconds, nowhere: Database) -> None:
    ring = Keyring(clock)
    for _ in range(WRONG_ALLOWED + 5):
        await wrong(ring, nowhere, "192.0.2.1")
    assert (await ring.caller(nowhere, ADMIN, ADMIN.reveal(), "192.0.2.1")).may("admin")


async def test_one_network_of_ipv6_is_one_address(clock: Seconds, nowhere: Database) -> None:
    ring = Keyring(clock)
    for i in range(WRONG_ALLOWED):
        await wrong(ring, nowhere, f"2001:db8:0:1::{i:x}")
    assert (await wrong(ring, nowhere, "2001:db8:0:1:ffff::1")).status == 429
    assert (await wrong(ring, nowhere, "2001:db8:0:2::1")).status == 401
    assert (await wrong(ring, nowhere, "fe80::1%eth0")).status == 401


async def test_an_address_of_ipv4_is_the_same_within_ipv6(clock: Seconds, nowhere: Database) -> None:
    ring = Keyring(clock)
    for _ in range(WRONG_ALLOWED):
        await wrong(ring, nowhere, "::ffff:192.0.2.1")
    assert (await wrong(ring, nowhere, "192.0.2.1")).status == 429
    assert (await wrong(ring, nowhere, "::ffff:192.0.2.2")).status == 401


async def test_any_number_of_addresses_takes_little_memory(clock: Seconds, nowhere: Database) -> None:
    ring = Keyring(clock)
    for i in range(MOST_ADDRESSES + 50):
        await wrong(ring, nowhere, f"peer {i}")
    assert len(ring._wrong) == MOST_ADDRESSES
