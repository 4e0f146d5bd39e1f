"""A process dies at each step of the main path in turn; another goes on, and nothing is lost or doubled."""

from functools import partial

import pytest
from sqlalchemy import func, select, update

from config.failpoints import FAILPOINT, Step
from store.database import now
from store.schema import syncs
from tests.chaos import truth
from tests.chaos.drives import DIES_WITHIN, DRIVEN, another, drive_of
from tests.chaos.marks import GIVEN
from tests.chaos.plan import times
from tests.chaos.roles import Role
from tests.chaos.test_deliveries import STEPS as OF_DELIVERIES
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

#: A trigger that was read and not acknowledged is taken over after 30 s.
GOES_ON_WITHIN = 90.0


async def a_sync_is_there(town: Town, connection_id: int) -> bool:
    mine = select(func.count()).where(syncs.c.connection_id == connection_id)
    async with town.database.read() as connection:
        return (await connection.execute(mine)).scalar_one() > 0


#: Those that are tried in short runs, too: `make chaos` tries all.
SHORT = [
    Step.DUE_COMMITTED,
    Step.TRIGGER_COMMITTED,
    Step.WEBHOOK_COMMITTED,
    Step.CLAIM_COMMITTED,
    Step.PAGE_WRITTEN,
    Step.PAGE_COMMITTED,
    Step.END_COMMITTED,
]
#: And those that are tried on PostgreSQL and a separate Redis in short runs.
SHORT_THERE = [Step.PAGE_WRITTEN, Step.END_COMMITTED]


_LONG, _SERVERS = pytest.mark.soak, (pytest.mark.postgres, pytest.mark.redis_server)
_CASES = [
    *(pytest.param("embedded", one, marks=() if one in SHORT else _LONG) for one in DRIVEN),
    *(
        pytest.param("servers", one, marks=_SERVERS if one in SHORT_THERE else (*_SERVERS, _LONG))
        for one in DRIVEN
    ),
]


def test_there_is_no_step_at_which_nobody_dies() -> None:
    assert {*DRIVEN, *OF_DELIVERIES} == {*Step}


@pytest.mark.parametrize(("servers_kind", "step"), _CASES)
async def test_a_process_that_dies_at_any_step_costs_nothing(town: Town, step: Step) -> None:
    role, drive = drive_of(step)
    others = [await town.start(name) for name in ("api", "scheduler", "worker") if name != role]
    victim = await town.start(role, **{FAILPOINT: f"{step}:1:kill"})
    victim.meant = True
    await town.all_work([*others, victim])
    connection_id = await drive(town, victim, "TIDE")
    await another(town, victim)
    assert victim.said("failpoint.reached", step=step)
    await town.until(
        lambda: a_sync_is_there(town, connection_id), GOES_ON_WITHIN, "what was asked for has its sync"
    )
    await town.all_end(within=GOES_ON_WITHIN)
    await truth.holds(town)


@GIVEN
@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", DRIVEN)
async def test_processes_that_die_at_a_step_again_and_again_cost_nothing(
    town: Town, step: Step, figures: list[str]
) -> None:
    """In one town. What leases take is measured elsewhere: here those of the dead are cut short."""
    role, drive = drive_of(step)
    await town.start_all(*(name for name in ("api", "scheduler", "worker") if name != role))
    spare = await town.start("worker") if role == "worker" else None
    if spare is not None:
        await town.all_work([spare])
    for number in range(times(20)):
        for other in town.named(role):
            # There must be nobody else to pass the step.
            await (town.freeze(other) if other is spare else other.kill())
        victim = await town.start(role, **{FAILPOINT: f"{step}:1:kill"})
        victim.meant = True
        await town.all_work([victim])
        connection_id = await drive(town, victim, f"R{number:02}")
        # If there is a spare one it stands by, and none is started.
        await another(town, victim)
        if spare is not None:
            spare.thaw()
        assert victim.said("failpoint.reached", step=step)
        await cut_short(town, victim)
        await town.until(
            partial(a_sync_is_there, town, connection_id), GOES_ON_WITHIN, "what was asked for has its sync"
        )
        await town.all_end(within=GOES_ON_WITHIN)
        await truth.the_copy_is_right(town, connection_id)
    figures.append(f"F02: {times(20)} kills at {step}, nothing lost or doubled")
    await truth.holds(town)


async def cut_short(town: Town, victim: Role) -> None:
    """What the dead held is free at once."""
    held = update(syncs).where(syncs.c.lease_owner.like(f"%:{victim.pid}:%"))
    async with town.database.beside() as connection:
        await connection.execute(held.values(lease_until=now(-0.001)))


#: Where the process works on by itself once what failed has passed.
FAILING = [
    Step.DUE_WRITTEN,
    Step.DUE_COMMITTED,
    Step.TRIGGER_WRITTEN,
    Step.TRIGGER_COMMITTED,
    Step.CLAIM_COMMITTED,
    Step.PAGE_WRITTEN,
    Step.END_WRITTEN,
    Step.POSITIONS_COMMITTED,
    Step.EVENT_SENT,
]
#: What is tried of these in short runs.
FEW = [Step.PAGE_WRITTEN]


@pytest.mark.parametrize(
    "step", [pytest.param(one, marks=() if one in FEW else pytest.mark.soak) for one in FAILING]
)
async def test_a_step_that_fails_once_is_made_up_for_by_the_same_process(town: Town, step: Step) -> None:
    role, drive = drive_of(step)
    others = [await town.start(name) for name in ("api", "scheduler", "worker") if name != role]
    struck = await town.start(role, **{FAILPOINT: f"{step}:1:raise"})
    await town.all_work([*others, struck])
    connection_id = await drive(town, struck, "TIDE")
    await town.until(lambda: reached(struck, step), DIES_WITHIN, f"{step} is passed")
    await town.until(
        lambda: a_sync_is_there(town, connection_id), GOES_ON_WITHIN, "what was asked for has its sync"
    )
    await town.all_end(within=GOES_ON_WITHIN)
    await truth.holds(town)


async def reached(role: Role, step: Step) -> bool:
    return bool(role.said("failpoint.reached", step=step))
