"""On which servers a test of chaos runs."""

import pytest

_SERVERS = pytest.param("servers", id="servers", marks=[pytest.mark.postgres, pytest.mark.redis_server])

#: PostgreSQL and a separate Redis.
SERVERS = pytest.mark.parametrize("servers_kind", [_SERVERS])
#: SQLite and the embedded Redis, and where they are given the others too.
ANY = pytest.mark.parametrize("servers_kind", [pytest.param("embedded", id="embedded"), _SERVERS])
