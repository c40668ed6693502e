"""Fixtures of the integration tests."""

from tests.browser.conftest import browser, chromium

from .ray_fixture import lab
from .redis_fixture import redis_client, redis_server, redis_url

__all__ = ["browser", "chromium", "lab", "redis_client", "redis_server", "redis_url"]
