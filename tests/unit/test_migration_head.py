"""The migration that this version asks for is the newest there is."""

from store.migrate import HEAD
from store.upgrade import head


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    assert head() == HEAD
