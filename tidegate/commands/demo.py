"""`tidegate demo`: Tidegate at work on simulated systems."""

import os
import socket

import click

from config.logs import Redactor
from config.settings import Settings
from tidegate.commands.form import command
from tidegate.commands.session import Failure, run
from tidegate.demo.story import surroundings, tell


@command(epilog="Example: tidegate demo --until-healthy")
@click.option("--until-healthy", is_flag=True, help="End once all connections are healthy.")
def demo(until_healthy: bool) -> None:
    """Start simulated Jira, Jenkins and Azure DevOps servers, keep them in step, and show where to look.

    Everything is kept in the folder .demo here, unless TIDEGATE_DATA_DIR says otherwise. Stop with Ctrl-C.
    """
    surroundings(os.environ)

    async def main(settings: Settings, redactor: Redactor) -> bool:
        _check_port(settings)
        return await tell(settings, redactor, until_healthy=until_healthy)

    healthy = run(main)
    if until_healthy and not healthy:
        raise SystemExit(1)


def _check_port(settings: Settings) -> None:
    """Whatever else listens there would be taken for this demo. Raises `Failure`."""
    try:
        with socket.create_server((settings.host, settings.port)):
            return
    except OSError as e:
        where = f"{settings.host}:{settings.port}"
        advice = "Stop what listens there, or choose another port: TIDEGATE_PORT=8421 tidegate demo"
        raise Failure(f"The demo cannot listen at {where}: {e.strerror}. {advice}") from None
