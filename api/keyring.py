"""Which keys open: the administrator's and those in the database, looked up once a second at most."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

import msgspec

from api.access import ADMIN, Caller, unauthorized
from api.problems import ProblemError
from config.secret import Secret
from store import keys
from store.database import Database
from store.keys import Key

#: A key that was revoked opens for so long at most, in a process that knew it.
KNOWN_SECONDS = 1.0
MOST_KNOWN = 1000
#: So many wrong keys of one address in a minute are each looked at and refused; then it is told to wait.
WRONG_ALLOWED = 20
WRONG_SECONDS = 60.0
MOST_ADDRESSES = 10_000


class _Wrong(msgspec.Struct):
    """Wrong keys of one address since a time."""

    since: float
    count: int = 0


class Keyring:
    """The memory of one process about keys. Losing it costs a look into the database."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[Key, float]] = OrderedDict()
        self._by_id: OrderedDict[int, tuple[Key, float]] = OrderedDict()
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()
        self._used: set[int] = set()
        self._noted: dict[int, float] = {}

    async def caller(self, database: Database, admin_key: Secret, key: str, address: str) -> Caller:
        """Who this key stands for. Raises 401 for a wrong one, 429 for one too many from an address.

        A right key is never kept waiting, whatever else comes from its address.
        """
        if hmac.compare_digest(_digest(key), _digest(admin_key.reveal())):
            return ADMIN
        found = await self._find(database, key)
        if found is None or found.revoked_at is not None:
            self._refuse(address)
            raise unauthorized("This API key is not known." if found is None else "This API key was revoked.")
        return self._opened(found)

    async def again(self, database: Database, key_id: int) -> Caller | None:
        """Who a key stands for that was shown before; None once it is revoked."""
        found, until = self._by_id.get(key_id, (None, 0.0))
        if found is None or self._clock() >= until:
            async with database.read() as connection:
                found = await keys.get(connection, key_id)
            if found is None:
                return None
            self._by_id[key_id] = (found, self._clock() + KNOWN_SECONDS)
            if len(self._by_id) > MOST_KNOWN:
                self._by_id.popitem(last=False)
        return None if found.revoked_at is not None else self._opened(found)

    def _opened(self, key: Key) -> Caller:
        self._used.add(key.id)
        projects = None if key.projects is None else frozenset(key.projects)
        return Caller(key.name, frozenset(key.permissions), projects, key.id)

    def forget(self) -> None:
        """Look all keys up anew: one of them was revoked here."""
        self._known.clear()
        self._by_id.clear()

    async def note_uses(self, database: Database) -> None:
        """Write when keys were last used, for each at most once a minute."""
        at = self._clock()
        due = {
            one for one in self._used if at - self._noted.get(one, at - keys.USES_EVERY) >= keys.USES_EVERY
        }
        if not due:
            return
        async with database.write() as connection:
            await keys.note_uses(connection, due)
        self._used -= due
        self._noted |= dict.fromkeys(due, at)

    async def _find(self, database: Database, text: str) -> Key | None:
        if not text.startswith(keys.PREFIX):
            return None
        hashed = keys.hash_of(text)
        key, until = self._known.get(hashed, (None, 0.0))
        if key is not None and self._clock() < until:
            return key
        async with database.read() as connection:
            key = await keys.by_hash(connection, hashed)
        # What is not a key is not kept: anybody can make up any number of those.
        if key is not None:
            self._known[hashed] = (key, self._clock() + KNOWN_SECONDS)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return key

    def _refuse(self, address: str) -> None:
        """Count a wrong key. Raises 429 beyond what is allowed."""
        network, at = _network(address), self._clock()
        wrong = self._wrong.get(network)
        if wrong is None or at - wrong.since >= WRONG_SECONDS:
            wrong = self._wrong[network] = _Wrong(at)
            self._wrong.move_to_end(network)
            if len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)
        wrong.count += 1
        if wrong.count > WRONG_ALLOWED:
            seconds = max(1, round(wrong.since + WRONG_SECONDS - at))
            raise ProblemError(
                429,
                f"Too many wrong API keys came from your address; try again in {seconds} s with a right one.",
                headers={"Retry-After": str(seconds)},
            )


def _digest(text: str) -> bytes:
    """Of one length for every text, so that comparing tells nothing of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _network(address: str) -> str:
    """Whom an address belongs to: of IPv6 one customer has at least 64 bits."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        return str(known.ipv4_mapped or f"{int(known) >> 64:x}")
    return address
