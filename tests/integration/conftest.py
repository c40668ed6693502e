"""Fixtures of the integration tests."""

from .ray_fixture import lab
from .redis_fixture import redis_client, redis_server, redis_url

__all__ = ["lab", "redis_client", "redis_server", "redis_url"]
