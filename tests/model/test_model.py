"""The real core against a small model, through random histories of triggers, crashes and clock steps."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.engine import RowMapping

from scheduler.dispatch import Request
from store.health import CONNECTION_STATUS, Problem
from store.schema import ENDED
from tests.model import small
from tests.model.world import THINGS, Holding, World, at, make_template, since, value_of
from worker.outcome import End, PassOn, Wait

KEYS = [str(number) for number in range(6)]
WORKERS = ["a", "b", "c"]
RELAYS = ["r1", "r2"]
WAIT = 30_000
#: About leases, waits and due times, to the millisecond; and steps of a clock that is set, back too.
STEPS = [1, 1_000, 3_000, 9_999, 10_000, 10_001, 30_000, 299_000, 3_600_000, 86_400_000]
STEPS += [-1, -1_000, -11_000, -600_000, -3_600_000]

connections = st.integers(0, 2)
some_keys = st.sets(st.sampled_from(KEYS), min_size=1, max_size=3)
workers = st.sampled_from(WORKERS)
#: Which of those that are there.
which = st.integers(0, 999)


class Machine(RuleBasedStateMachine):
    """Each rule does something to the world, and says by the model what must come of it."""

    def __init__(self, template: Path) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(template, Path(self._folder.name) / "world")
        self.model = small.Model()
        self.holdings: list[Holding] = []
        self.versions = 0
        self.fences: dict[str, int] = {}
        #: The relay's duty as the model knows it: owner, until when, fence.
        self.duty: tuple[str | None, int, int] = (None, 0, 0)

    @initialize()
    def three_connections(self) -> None:
        for number in range(3):
            made = small.Connection(self.world.connect(number))
            self.model.connections.append(made)
            self._add_page(made, set(KEYS[: number + 1]))
            # Whatever begins with nothing at work takes long to get somewhere.
            self._ask(number, Request("api"))
            self.a_worker_claims_what_is_rung(0, WORKERS[number])
            self.a_page_is_fetched(number)

    # --- the remote and the clock

    def _add_page(self, of: small.Connection, keys: set[str]) -> None:
        self.versions += 1
        of.remote.append([(key, self.versions) for key in sorted(keys)])

    @rule(number=connections, keys=some_keys)
    def something_changes_at_the_remote(self, number: int, keys: set[str]) -> None:
        self._add_page(self.model.connections[number], keys)

    @rule(by=st.sampled_from(STEPS))
    def the_clock_moves(self, by: int) -> None:
        self.world.now = self.model.now = self.model.now + by

    @precondition(lambda self: any(sync.lease_until is not None for sync in self.model.all_syncs()))
    @rule(number=which, off=st.sampled_from([-1, 0, 1]))
    def a_lease_ends(self, number: int, off: int) -> None:
        """To the millisecond."""
        leased = [sync.lease_until for sync in self.model.all_syncs() if sync.lease_until is not None]
        self.world.now = self.model.now = leased[number % len(leased)] + off

    # --- triggers

    def _ask(self, number: int, request: Request) -> None:
        of, model = self.model.connections[number], self.model
        expected = model.door(of, request.trigger, request.lane)
        answer, sync_id = self.world.ask(of.id, request)
        assert answer == expected
        if sync_id is not None:
            model.opened(of, sync_id, request.trigger, request.scope, set(request.keys.get(THINGS, ())))
        elif answer == "remembered":
            of.remembered += 1

    @rule(number=connections, keys=some_keys)
    def a_webhook_comes(self, number: int, keys: set[str]) -> None:
        self._ask(number, Request("webhook", "records", {THINGS: sorted(keys)}))

    @rule(number=connections)
    def a_trigger_comes(self, number: int) -> None:
        self._ask(number, Request("queue"))

    @rule(number=connections, scope=st.sampled_from(["incremental", "full"]))
    def a_person_asks(self, number: int, scope: str) -> None:
        self._ask(number, Request("api", "full" if scope == "full" else "incremental"))

    @rule(number=connections)
    def it_falls_due(self, number: int) -> None:
        of = self.model.connections[number]
        if not of.deleted:
            of.due_at = self.model.now
            self.world.set_due(of.id, self.model.now)

    @rule()
    def a_scheduler_ticks(self) -> None:
        model = self.model
        due = [of for of in model.connections if of.due_at is not None and of.due_at <= model.now]
        due = [of for of in due if of.enabled and not of.deleted]
        triggers = {of.id: "catch_up" if of.catch_up else "schedule" for of in due}
        answers = {of.id: model.door(of, triggers[of.id], "bulk") for of in due}
        before = {sync.id for sync in model.all_syncs()}
        rung = set(self.world.due())
        rows, all_syncs, *_ = self.world.all_rows()
        new = {row["connection_id"]: row["id"] for row in all_syncs if row["id"] not in before}
        assert new.keys() == {of_id for of_id, answer in answers.items() if answer == "opened"}
        for of in due:
            if answers[of.id] == "remembered":
                of.remembered += 1
            else:
                queued = [sync.id for sync in of.lane("bulk") if sync.state == "queued"]
                model.opened(of, new.get(of.id) or queued[0], triggers[of.id], "incremental", set())
            (row,) = (row for row in rows if row["id"] == of.id)
            of.due_at, of.catch_up = since(row["next_due_at"]), False
            assert of.due_at is not None
            assert of.due_at > model.now
        assert rung <= {sync.id for sync in model.all_syncs() if sync.state == "queued"}

    # --- workers

    @precondition(lambda self: self.model.all_syncs())
    @rule(number=which, owner=workers)
    def a_worker_claims(self, number: int, owner: str) -> None:
        every = self.model.all_syncs()
        sync = every[number % len(every)]
        expected = self.model.claim(sync, owner)
        holding = self.world.claim(sync.id, owner)
        assert (holding is not None) == expected
        if holding is not None:
            self.holdings.append(holding)

    @precondition(lambda self: any(self.model.claimable(sync) for sync in self.model.all_syncs()))
    @rule(number=which, owner=workers)
    def a_worker_claims_what_is_rung(self, number: int, owner: str) -> None:
        ready = [sync for sync in self.model.all_syncs() if self.model.claimable(sync)]
        self.a_worker_claims(self.model.all_syncs().index(ready[number % len(ready)]), owner)

    @precondition(lambda self: self.holdings)
    @rule(number=which, same=st.booleans(), at_once=st.booleans())
    def a_worker_stands_still_and_is_overtaken(self, number: int, same: bool, at_once: bool) -> None:
        """By another, or by itself: its own next claim does not make the one before good again. It wakes up
        at once or some time later.
        """
        holding, sync, mine = self._holding(number)
        if not mine or sync.lease_until is None:
            return
        self.world.now = self.model.now = sync.lease_until
        if not holding.fetched:
            self.a_page_is_fetched(self.holdings.index(holding))
        owner = holding.owner if same else next(one for one in WORKERS if one != holding.owner)
        self.a_worker_claims(self.model.all_syncs().index(sync), owner)
        if at_once and holding in self.holdings and holding.fetched:
            fetched = [one for one in self.holdings if one.fetched]
            self.a_page_is_committed(fetched.index(holding))

    @rule(owner=workers)
    def a_heart_beats(self, owner: str) -> None:
        at_work = {one.sync.id for one in self.holdings if one.owner == owner}
        self.world.renew(owner, at_work)
        self.model.renew(owner, at_work)

    @rule(owner=workers)
    def a_worker_crashes(self, owner: str) -> None:
        """What it held is forgotten. Those that do not crash may go on at any time, as zombies do."""
        self.holdings = [one for one in self.holdings if one.owner != owner]

    def _holding(self, number: int) -> tuple[Holding, small.Sync, bool]:
        holding = self.holdings[number % len(self.holdings)]
        sync = self.model.sync(holding.sync.id)
        return holding, sync, self.model.holds(sync, holding.owner, holding.sync.fence)

    @precondition(lambda self: self.holdings)
    @rule(number=which)
    def a_page_is_fetched(self, number: int) -> None:
        holding, sync, mine = self._holding(number)
        if holding.part is None:
            if not holding.sync.planned:
                assert self.world.plan(holding) == mine
                if mine:
                    sync.planned = True
                    sync.lease_until = self.model.now + small.LEASE
                    sync.cursor = sync.connection.cursor if holding.sync.scope == "incremental" else 0
            self.world.take_part(holding)
            if holding.part is None:
                self.holdings.remove(holding)  # the sync has ended, or was never planned
                return
        of = sync.connection
        if sync.lane == "records":
            keys = holding.sync.keys[THINGS]
            truth = of.truth()
            found = [(key, truth[key]) for key in keys if key in truth]
            self.world.fetch(holding, found, max(keys), end=True)
            return
        at = int(holding.part.cursor or 0)
        page = of.remote[at] if at < len(of.remote) else []
        after = min(at + 1, len(of.remote))
        self.world.fetch(holding, page, str(after), end=after == len(of.remote))

    @precondition(lambda self: any(one.fetched for one in self.holdings))
    @rule(number=which)
    def a_page_is_committed(self, number: int) -> None:
        fetched = [at for at, one in enumerate(self.holdings) if one.fetched]
        holding, sync, mine = self._holding(fetched[number % len(fetched)])
        page = holding.fetched
        assert page is not None
        records = [(one.key, int(one.version or 0)) for one in page.records]
        assert self.world.commit(holding) == mine
        if mine:
            self.model.commit(sync, records, int(page.cursor or 0))
            holding.ended = page.end
        else:
            self.holdings.remove(holding)

    @precondition(lambda self: self.holdings)
    @rule(number=which, how=st.sampled_from(["end", "wait", "fail"]))
    def a_slice_ends(self, number: int, how: str) -> None:
        holding, sync, mine = self._holding(number)
        self.holdings.remove(holding)
        until = at(self.model.now + WAIT)
        if how == "wait":
            assert self.world.end(holding, Wait(until, Problem("unreachable", "away"), False)) == mine
            if mine:
                self.model.wait(sync, WAIT)
        elif how == "fail":
            refused = End("failed", {}, Problem("auth", "refused"), failure=True)
            assert self.world.end(holding, refused) == mine
            if mine:
                self.model.fail(sync)
        elif holding.ended:
            assert self.world.end(holding, End("succeeded", {})) == mine
            if mine:
                self.model.succeed(sync)
        else:
            assert self.world.end(holding, PassOn()) == mine
            if mine:
                self.model.pass_on(sync)

    # --- people

    @precondition(lambda self: self.model.all_syncs())
    @rule(number=which)
    def somebody_cancels(self, number: int) -> None:
        every = self.model.all_syncs()
        sync = every[number % len(every)]
        assert self.world.cancel(sync.id) == sync.live
        if sync.live:
            self.model.cancel(sync)

    @rule(number=connections)
    def somebody_changes_the_query(self, number: int) -> None:
        of = self.model.connections[number]
        if not of.deleted:
            self.model.cancel_all(of)
            of.cursor, of.failure, of.crashes, of.remembered = 0, None, 0, 0
            self.world.change(of.id, {"failure": None, "crashes": 0, "remembered": 0}, drop=True)

    @rule(number=connections, enabled=st.booleans())
    def somebody_switches_it(self, number: int, enabled: bool) -> None:
        of = self.model.connections[number]
        if not of.deleted:
            self.model.cancel_all(of)
            of.enabled = enabled
            self.world.change(of.id, {"enabled": enabled})

    @rule(number=st.just(2))
    def somebody_deletes_it(self, number: int) -> None:
        of = self.model.connections[number]
        if not of.deleted:
            self.model.cancel_all(of)
            of.deleted, of.due_at = True, None
            now = at(self.model.now)
            self.world.change(of.id, {"deleted_at": now, "next_due_at": None})

    # --- the relay

    @rule(name=st.sampled_from(RELAYS))
    def a_relay_takes_the_duty(self, name: str) -> None:
        owner, until, fence = self.duty
        now = self.model.now
        if owner == name and until > now:
            self.duty = (name, now + small.LEASE, fence)
        elif until < now or owner is None:
            self.duty = (name, now + small.LEASE, fence + 1)
        mine = self.duty[2] if self.duty[:2] == (name, now + small.LEASE) else None
        assert self.world.take_duty(name) == mine
        if mine is not None:
            self.fences[name] = mine

    @precondition(lambda self: self.fences)
    @rule(name=st.sampled_from(RELAYS))
    def a_relay_numbers(self, name: str) -> None:
        """With the fence that it was given, however long ago."""
        fence = self.fences.get(name, 0)
        *_, before, _, _ = self.world.all_rows()
        unsent = sum(row["position"] is None for row in before)
        allowed = fence == self.duty[2] and self.duty[1] > self.model.now
        assert self.world.number(fence) == (min(unsent, 7) if allowed else 0)

    # --- what holds after each of them

    @invariant()
    def the_core_is_as_the_model_says(self) -> None:
        if not self.model.connections:
            return
        of_connections, all_syncs, events, records, cursors = self.world.all_rows()
        model = self.model
        expected = sorted(model.all_syncs(), key=lambda sync: sync.id)
        assert [_shown(row) for row in all_syncs] == [_known(sync) for sync in expected]
        assert self.world.claimable() == {sync.id for sync in expected if model.claimable(sync)}
        at = {row["connection_id"]: int(row["cursor"]) for row in cursors if row["cursor"] is not None}
        for of, row in zip(model.connections, of_connections, strict=True):
            failure = row["failure"]["kind"] if row["failure"] else None
            assert (failure, row["crashes"], row["remembered"]) == (of.failure, of.crashes, of.remembered)
            mine = [one for one in records if one["connection_id"] == of.id]
            assert len(mine) == len({one["key"] for one in mine})
            assert {one["key"]: value_of(one) for one in mine} == of.rows
            assert at.get(of.id, 0) == of.cursor
            # Whatever the cursor has behind it is stored, in this version or a later one.
            for page in of.remote[: of.cursor]:
                assert all(of.rows[key] >= version for key, version in page)
            for lane in small.LANES:
                states = [sync.state for sync in of.lane(lane)]
                assert states.count("queued") <= 1
                assert len(states) - states.count("queued") <= 1
        _events_are_right(of_connections, all_syncs, events)

    def teardown(self) -> None:
        try:
            if self.model.connections:
                self._all_is_well_in_the_end()
        finally:
            self.world.close()
            self._folder.cleanup()

    def _all_is_well_in_the_end(self) -> None:
        """Nobody crashes any more: all work ends, and what is kept in step is what the remote has."""
        self.holdings.clear()
        self.the_clock_moves(86_400_000)
        for number, of in enumerate(self.model.connections):
            if of.enabled and not of.deleted:
                self._ask(number, Request("api"))
        for _ in range(1000):
            ready = [sync for sync in self.model.all_syncs() if self.model.claimable(sync)]
            if not ready:
                break
            self.a_worker_claims(self.model.all_syncs().index(ready[0]), "a")
            while self.holdings:
                self.a_page_is_fetched(0)
                if self.holdings:
                    self.a_page_is_committed(0)
                if self.holdings and self.holdings[0].ended:
                    self.a_slice_ends(0, "end")
            self.the_core_is_as_the_model_says()
        assert not [sync for sync in self.model.all_syncs() if sync.live]
        for of in self.model.connections:
            if of.enabled and not of.deleted and of.failure is None:
                assert of.rows == of.truth()


def _known(sync: small.Sync) -> tuple[object, ...]:
    holding = (sync.owner, sync.lease_until, sync.claim_pages if sync.live else None)
    return sync.id, sync.state, sync.fence, sync.joined, sync.pages, sync.scope, sorted(sync.keys), *holding


def _shown(row: RowMapping) -> tuple[object, ...]:
    keys = sorted((row["keys"] or {}).get(THINGS, ()))
    pages = row["claim_pages"] if row["state"] in small.LIVE else None
    holding = (row["lease_owner"], since(row["lease_until"]), pages)
    return row["id"], row["state"], row["fence"], row["joined"], row["pages"], row["scope"], keys, *holding


def _events_are_right(
    of_connections: Sequence[RowMapping], all_syncs: Sequence[RowMapping], events: Sequence[RowMapping]
) -> None:
    """Each end is told once, sequences and positions have no gap, and health is told when it changes."""
    ends: dict[int, list[str]] = {row["id"]: [] for row in all_syncs}
    healths: dict[int, list[tuple[str, str | None]]] = {row["id"]: [] for row in of_connections}
    sequences: dict[int, list[int]] = {row["id"]: [] for row in of_connections}
    for event in events:
        data = msgspec.json.decode(event["data"])
        sequences[event["connection_id"]].append(event["sequence"])
        if event["type"] == CONNECTION_STATUS:
            healths[event["connection_id"]].append((data["health"], data["cause"]))
            assert (data["health"], data["cause"]) != (data["health_before"], data["cause_before"])
        elif data["state"] in ENDED:
            ends[data["id"]].append(data["state"])
    assert ends == {row["id"]: [row["state"]] if row["state"] in ENDED else [] for row in all_syncs}
    for row in of_connections:
        assert sequences[row["id"]] == list(range(1, row["event_sequence"] + 1))
        told = healths[row["id"]]
        assert not told or told[-1] == (row["health"], row["cause"])
    given = sorted(event["position"] for event in events if event["position"] is not None)
    assert given == list(range(1, len(given) + 1))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_template(folder)
    return folder


def play(template: Path, examples: int, steps: int, *, same: bool) -> None:
    """`same`: the histories of every run are the same. What fails is told as it is; making it shorter takes
    longer than all the rest.
    """
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=same,
        phases=[Phase.generate] if same else [Phase.generate, Phase.shrink],
        database=None,
        suppress_health_check=quiet,
    )

    class Begun(Machine):
        def __init__(self) -> None:
            super().__init__(template)

    run_state_machine_as_test(Begun, settings=how)


@pytest.mark.timeout(600)
def test_the_core_does_what_the_model_says(template: Path) -> None:
    play(template, 25, 40, same=True)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_core_does_what_the_model_says_in_many_histories(template: Path) -> None:
    """New ones each time, unless pytest is given a --hypothesis-seed."""
    play(template, 500, 50, same=False)
