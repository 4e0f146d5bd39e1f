"""`tidegate demo`: see Tidegate at work before pointing it at anything of your own."""

import os

import click

from tidegate.commands.session import Failure, run
from tidegate.demo import story


@click.command()
@click.option("--until-healthy", is_flag=True, help="End as soon as every connection is healthy.")
def demo(until_healthy: bool) -> None:
    """Show Tidegate at work on simulated Jira, Jenkins and Azure DevOps servers that are alive.

    Starts everything on embedded defaults in the folder .demo, makes three connections, shows them filling,
    and keeps running until Ctrl-C. Nothing outside .demo is touched and no network is used; TIDEGATE_
    variables are honoured.
    """
    story.surroundings(os.environ)
    healthy = run(lambda settings, redactor: story.tell(settings, redactor, until_healthy=until_healthy))
    if until_healthy and not healthy:
        raise Failure("The demo was stopped before every connection was healthy.")
