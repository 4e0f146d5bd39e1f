"""Another secret key for the vault, while everything runs: known to all first, then used, then alone."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from config import keyfile
from config.settings import Settings, secret_key_file
from config.vault import Vault
from store import instance, processes, sealed
from store.database import Database
from store.processes import Process

#: A process tells every few seconds which keys it has; one that is silent for longer is not running.
PATIENCE_SECONDS = processes.GONE_SECONDS * 2
_LOOK_SECONDS = 0.25


#: Hears how many secrets are sealed anew, and of how many.
Told = Callable[[int, int | None], None]


class RotationError(Exception):
    """It cannot go on: the message says what is needed. What was done so far stays right."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How the secrets stand. `sealed` counts texts by key and column; `key` is the id of the one in use.

    `newest` stands first where the keys are kept. `behind` are running processes that lack it.
    """

    key: str
    newest: str
    keys: Sequence[str]
    sealed: Mapping[str, Mapping[str, int]]
    behind: Sequence[str]

    @property
    def left(self) -> int:
        """How many texts are still to be sealed with the newest key, of those that a key here opens."""
        old = [of for key, of in self.sealed.items() if key != self.newest and key in self.keys]
        return sum(sum(of.values()) for of in old)

    @property
    def under_way(self) -> bool:
        """Whether a change of keys was begun and not ended."""
        return self.key != self.newest or self.left > 0


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did: the key in use, texts sealed anew, and the places of those no key here opens."""

    key: str
    count: int
    unreadable: Sequence[str]


def own_file(settings: Settings) -> Path | None:
    """The file whose keys Tidegate changes itself; None where the operator gives the keys."""
    given = settings.secret_key is not None or settings.database_url is not None
    return None if given else secret_key_file(settings)


async def state(database: Database, vault: Vault) -> State:
    newest, _ = vault.newest
    async with database.read() as connection:
        counts = await sealed.by_key(connection)
        running = await processes.seen(connection)
    return State(
        key=vault.key_ids[0],
        newest=newest,
        keys=vault.key_ids,
        sealed=counts,
        behind=_named(running, lambda one: one.has_key(newest)),
    )


def _silent(_done: int, _total: int | None) -> None:
    """Nobody is told how far it is."""


async def rotate(
    settings: Settings,
    database: Database,
    vault: Vault,
    patience: float = PATIENCE_SECONDS,
    told: Told = _silent,
) -> Rotated:
    """Change to the newest key, or to one made here; what was begun and broken off is brought to its end.

    Raises `RotationError` if there is no newer key, or while a running process does not have it.
    """
    file = own_file(settings)
    if file is None:
        return await _rotate(database, vault, None, patience, told)
    with keyfile.held(file):
        return await _rotate(database, vault, file, patience, told)


async def _rotate(
    database: Database, vault: Vault, file: Path | None, patience: float, told: Told
) -> Rotated:
    vault.refresh()
    found = await state(database, vault)
    if not found.under_way:
        if file is None:
            _require_another(found)
        else:
            keyfile.add(file)
            vault.refresh()
    newest, fingerprint = vault.newest
    await _until_all(database, lambda one: one.has_key(newest), patience, _LACKING)
    async with database.write() as connection:
        await instance.change(connection, instance.VAULT, fingerprint)
    vault.seal_with(fingerprint)
    total = (await state(database, vault)).left
    first = await sealed.reseal(database, vault, lambda done: told(done, total))
    # What others sealed until they heard of it is found by a second pass.
    await _until_all(database, lambda one: one.seals_with(newest), patience, _SLOW)
    second = await sealed.reseal(database, vault, lambda done: told(first.count + done, None))
    return Rotated(newest, first.count + second.count, second.unreadable)


async def forget(settings: Settings, database: Database, vault: Vault) -> int:
    """Remove the keys that open nothing any more from the file of those made here. How many.

    Raises `RotationError` while one of them is needed, or where the operator keeps them.
    """
    file = own_file(settings)
    if file is None:
        raise RotationError(
            "The keys are given in TIDEGATE_SECRET_KEY: take the old ones out there, once nothing is left."
        )
    with keyfile.held(file):
        vault.refresh()
        found = await state(database, vault)
        if found.under_way:
            raise RotationError(
                f"{found.left} texts are still sealed with other keys: run `tidegate secrets rotate` first."
            )
        newest = found.newest
        await _until_all(database, lambda one: one.seals_with(newest), PATIENCE_SECONDS, _SLOW)
        if (await state(database, vault)).left:
            raise RotationError("Something was sealed with an old key: run `tidegate secrets rotate` again.")
        return keyfile.keep_first(file)


def _require_another(found: State) -> None:
    if len(found.keys) > 1:
        raise RotationError(
            f"All is sealed with {found.key}, the first key of TIDEGATE_SECRET_KEY. "
            "The others are not needed any more: take them out."
        )
    raise RotationError(
        "There is no newer key. Set TIDEGATE_SECRET_KEY to the new one, a comma and the present one, for "
        "this command and for all processes; restart those one after the other, and run this again."
    )


_LACKING = (
    "these running processes do not have the new key: {names}. Restart them with TIDEGATE_SECRET_KEY=new,old "
    "and run this again; nothing was changed yet."
)
_SLOW = (
    "these running processes do not use the new key yet: {names}. Look at their logs, or restart them, and "
    "run this again; the old key is still needed."
)


async def _until_all(
    database: Database, fits: Callable[[Process], bool], patience: float, problem: str
) -> None:
    """Wait until every running process fits. Raises `RotationError` naming those that do not."""
    give_up = time.monotonic() + patience
    while True:
        async with database.read() as connection:
            names = _named(await processes.seen(connection), fits)
        if not names:
            return
        if time.monotonic() > give_up:
            raise RotationError(problem.format(names=", ".join(names)))
        await asyncio.sleep(_LOOK_SECONDS)


def _named(running: Sequence[Process], fits: Callable[[Process], bool]) -> list[str]:
    return [f"{one.role} on {one.host} (pid {one.pid})" for one in running if not fits(one)]
