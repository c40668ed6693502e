"""Fixtures of the integration tests."""

from .redis_fixture import redis_client, redis_server, redis_url

__all__ = ["redis_client", "redis_server", "redis_url"]
