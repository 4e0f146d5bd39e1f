"""On which servers a test of chaos runs."""

import os

import pytest

from tests.conftest import POSTGRES, REDIS

_EMBEDDED = pytest.param("embedded", id="embedded")
_SERVERS = pytest.param("servers", id="servers", marks=[pytest.mark.postgres, pytest.mark.redis_server])
_given = bool(os.environ.get(POSTGRES) and os.environ.get(REDIS))

#: PostgreSQL and a separate Redis.
SERVERS = pytest.mark.parametrize("servers_kind", [_SERVERS])
#: SQLite and the embedded Redis, and where they are given the others too.
GIVEN = pytest.mark.parametrize("servers_kind", [_EMBEDDED, _SERVERS] if _given else [_EMBEDDED])
#: The same, with the others in long runs only.
GIVEN_TIME = pytest.mark.parametrize(
    "servers_kind",
    [
        _EMBEDDED,
        pytest.param(
            "servers", id="servers", marks=[pytest.mark.postgres, pytest.mark.redis_server, pytest.mark.soak]
        ),
    ],
)
