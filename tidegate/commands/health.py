"""`tidegate health`: whether everything runs, by the database; for people and for health checks."""

import socket

import click

from store import processes
from store.database import to_text
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.session import on_ground
from tidegate.compose import Ground

ROLES = ("api", "scheduler", "worker")


@command(epilog="Example: tidegate health --here --role worker")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([*ROLES, "relay"]),
    help="Ask for this role only; may be repeated. By default API, scheduler and worker are needed.",
)
@click.option("--here", is_flag=True, help="Count only processes of this host or container.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def health(roles: tuple[str, ...], here: bool, json_: bool) -> None:
    """Say which processes run; exit code 1 if a role that is needed was not seen for 15 seconds."""

    async def main(ground: Ground) -> list[str]:
        async with ground.database.read() as connection:
            seen = await processes.seen(connection)
        there = [one for one in seen if not here or one.host == socket.gethostname()]
        running = {one.role for one in there}
        lacking = [role for role in roles or ROLES if role not in running]
        if json_:
            show.as_json({"ready": not lacking, "missing": lacking, "processes": [_shown(p) for p in there]})
        else:
            columns = ("role", "host", "pid", "started", "seen")
            show.as_table(columns, [_row(p) for p in there], "No process runs. Start them: tidegate up")
        return lacking

    lacking = on_ground(main)
    if lacking:
        if not json_:
            show.note(f"Not running: {', '.join(lacking)}. `tidegate up` starts all that is needed.")
        raise SystemExit(1)


def _row(process: processes.Process) -> tuple[object, ...]:
    return (process.role, process.host, process.pid, process.started_at, process.seen_at)


def _shown(process: processes.Process) -> dict[str, object]:
    return {
        "id": process.id,
        "role": process.role,
        "host": process.host,
        "pid": process.pid,
        "started_at": to_text(process.started_at),
        "seen_at": to_text(process.seen_at),
    }
