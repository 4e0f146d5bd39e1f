"""The API's context for commands: the same rules for making and changing things, without serving."""

import secrets
from collections.abc import Mapping, Sequence

from api.access import COMMAND_LINE
from api.context import Bell, Context
from config.secret import Secret
from store.syncs import Ring
from tidegate.compose import Ground
from worker.remote import Remotes


class Silent:
    """A bell where nobody listens. What is due is found in the database by whoever starts next."""

    async def ring(self, rings: Sequence[Ring]) -> None:
        return None

    async def ring_check(self, connection_id: int) -> None:
        return None

    async def ring_webhook(self, connection_id: int) -> None:
        return None


async def _nobody() -> Mapping[str, bool]:
    return {}


def offline(ground: Ground, remotes: Remotes, bell: Bell | None = None) -> Context:
    """A context that serves nobody: its administrator's key is known to no one."""
    return Context(
        database=ground.database,
        tables=ground.tables,
        remotes=remotes,
        vault=ground.vault,
        bell=bell or Silent(),
        admin_key=Secret(secrets.token_urlsafe(32)),
        ready=_nobody,
        public_url=ground.settings.reached_at,
        caller=COMMAND_LINE,
    )
