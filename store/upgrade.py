"""Running Alembic's migrations on a connection."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection


def upgrade(connection: Connection) -> None:
    """Bring the fixed tables to the newest shape."""
    command.upgrade(config_for(connection), "head")


def head() -> str | None:
    """The newest migration there is."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def config_for(connection: Connection) -> Config:
    """Alembic's configuration, working on a connection that is open."""
    config = _config()
    config.attributes["connection"] = connection
    return config


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
