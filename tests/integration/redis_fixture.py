"""A real Redis for integration tests: one server a session on a private unix socket, empty at the
start of each test. Import the fixtures into a conftest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from watchkeeper.adapters.redis_server import RedisServer, find_server, start


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server itself. Tests that stop a server start their own."""
    server = start(tmp_path_factory.mktemp("redis"), find_server())
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of the empty server."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client
