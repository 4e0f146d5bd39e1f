"""What Tidegate's core promises, as small as it can be said: dictionaries, and a clock that stands still.

Times are milliseconds. Each method says what the real core must answer in the same situation.
"""

from dataclasses import dataclass, field
from typing import Literal

LEASE = 10_000
CRASHES = 3
LANES = ("bulk", "records")
LIVE = ("queued", "running", "waiting")
PERSONAL = ("api", "catch_up")

Answer = Literal["opened", "joined", "closed", "remembered"]


@dataclass
class Sync:
    id: int
    connection: "Connection"
    lane: str
    scope: str
    trigger: str
    keys: set[str]
    run_at: int
    state: str = "queued"
    fence: int = 0
    owner: str | None = None
    lease_until: int | None = None
    joined: int = 0
    pages: int = 0
    claim_pages: int = 0
    planned: bool = False
    #: How many pages of the remote this sync has behind it.
    cursor: int = 0

    @property
    def live(self) -> bool:
        return self.state in LIVE

    def free(self, state: str) -> None:
        self.state, self.owner, self.lease_until = state, None, None


@dataclass
class Connection:
    id: int
    due_at: int | None = None
    look: bool = False
    enabled: bool = True
    deleted: bool = False
    failure: str | None = None
    catch_up: bool = False
    crashes: int = 0
    remembered: int = 0
    #: How many pages of the remote are committed; the pages: key and version of each record.
    cursor: int = 0
    remote: list[list[tuple[str, int]]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    syncs: list[Sync] = field(default_factory=list)

    def lane(self, lane: str) -> list[Sync]:
        return [sync for sync in self.syncs if sync.lane == lane and sync.live]

    def truth(self) -> dict[str, int]:
        """What the remote has, by key."""
        found: dict[str, int] = {}
        for page in self.remote:
            for key, version in page:
                found[key] = max(version, found.get(key, 0))
        return found

    def store(self, records: list[tuple[str, int]]) -> None:
        """A lower version never overwrites a higher one."""
        for key, version in records:
            self.rows[key] = max(version, self.rows.get(key, 0))


@dataclass
class Model:
    now: int = 0
    connections: list[Connection] = field(default_factory=list)

    def sync(self, sync_id: int) -> Sync:
        return next(sync for sync in self.all_syncs() if sync.id == sync_id)

    def all_syncs(self) -> list[Sync]:
        return [sync for connection in self.connections for sync in connection.syncs]

    # --- the door

    def door(self, of: Connection, trigger: str, lane: str) -> Answer:
        """What becomes of a trigger."""
        if of.deleted or not of.enabled:
            return "closed"
        if of.failure and trigger not in PERSONAL:
            return "remembered"
        return "joined" if any(sync.state == "queued" for sync in of.lane(lane)) else "opened"

    def opened(self, of: Connection, sync_id: int, trigger: str, scope: str, keys: set[str]) -> None:
        lane = "records" if scope == "records" else "bulk"
        queued = next((sync for sync in of.lane(lane) if sync.state == "queued"), None)
        if queued is None:
            of.syncs.append(Sync(sync_id, of, lane, scope, trigger, set(keys), self.now))
            return
        assert queued.id == sync_id
        queued.joined += 1
        queued.keys |= keys
        if "full" in (queued.scope, scope):
            queued.scope = "full"

    # --- who works

    def claimable(self, sync: Sync) -> bool:
        if not sync.live or sync.run_at > self.now:
            return False
        if sync.lease_until is not None and sync.lease_until > self.now:
            return False
        others = [one for one in sync.connection.lane(sync.lane) if one.state != "queued"]
        return sync.state != "queued" or not others

    def claim(self, sync: Sync, owner: str) -> bool:
        """Whether it is had. A claim that ran out without a page is a crash; the third ends it all."""
        of, crashes = sync.connection, self._crashes(sync, owner)
        if crashes == CRASHES - 1 and self._has_a_suspect(owner):
            return False
        if not self.claimable(sync):
            return False
        of.crashes = crashes
        if crashes >= CRASHES:
            of.crashes, of.failure = 0, "crashing"
            sync.fence += 1
            sync.free("failed")
            return False
        sync.state, sync.owner, sync.lease_until = "running", owner, self.now + LEASE
        sync.fence, sync.claim_pages = sync.fence + 1, 0
        return True

    def _crashes(self, sync: Sync, owner: str) -> int:
        """Whoever claims what it held itself lives; so nobody died."""
        if sync.owner is None or (sync.owner == owner and sync.claim_pages == 0):
            return sync.connection.crashes
        return sync.connection.crashes + 1 if sync.claim_pages == 0 else 0

    def _has_a_suspect(self, owner: str) -> bool:
        return any(
            sync.owner == owner
            and sync.lease_until is not None
            and sync.lease_until > self.now
            and sync.claim_pages == 0
            and sync.connection.crashes >= CRASHES - 1
            for sync in self.all_syncs()
        )

    def holds(self, sync: Sync, owner: str, fence: int) -> bool:
        """Whether whoever claimed with this fence may still write."""
        alive = sync.lease_until is not None and sync.lease_until > self.now
        return sync.state == "running" and sync.owner == owner and sync.fence == fence and alive

    def renew(self, owner: str, at_work: set[int]) -> None:
        """What a process forgot, because it crashed or because a slice failed, is not kept."""
        for sync in self.all_syncs():
            if (
                sync.owner == owner
                and sync.id in at_work
                and sync.lease_until is not None
                and sync.lease_until > self.now
            ):
                sync.lease_until = self.now + LEASE

    # --- what work comes to

    def commit(self, sync: Sync, records: list[tuple[str, int]], cursor: int) -> None:
        sync.connection.store(records)
        sync.pages, sync.claim_pages = sync.pages + 1, sync.claim_pages + 1
        sync.lease_until = self.now + LEASE
        sync.connection.crashes = 0
        if sync.lane == "bulk":
            sync.cursor = cursor
            if sync.scope == "incremental":
                sync.connection.cursor = cursor

    def pass_on(self, sync: Sync) -> None:
        sync.free("running")
        sync.run_at = self.now

    def wait(self, sync: Sync, ms: int) -> None:
        sync.free("waiting")
        sync.run_at = self.now + ms

    def succeed(self, sync: Sync) -> None:
        of = sync.connection
        sync.free("succeeded")
        of.crashes = 0
        if sync.lane == "records" and of.failure:
            of.catch_up, of.due_at = True, self.now
        of.failure = None
        if sync.lane == "bulk":
            of.remembered = 0
            of.cursor = sync.cursor

    def fail(self, sync: Sync) -> None:
        """The remote refused the credential: what nobody asked for in person is withdrawn."""
        of = sync.connection
        sync.free("failed")
        of.failure = "auth"
        for lane in LANES:
            for one in of.lane(lane):
                if one.state == "queued" and one.trigger not in PERSONAL:
                    of.remembered += 1 + one.joined
                    self.cancel(one)

    def cancel(self, sync: Sync) -> None:
        sync.fence += 1
        sync.free("cancelled")

    def cancel_all(self, of: Connection) -> None:
        for sync in of.syncs:
            if sync.live:
                self.cancel(sync)
