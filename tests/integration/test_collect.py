"""The collector as it runs: a real process, a real Redis, and every source failing in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import redis

from watchkeeper.adapters.gpu_simulated import NoGpus
from watchkeeper.adapters.redis_server import start
from watchkeeper.adapters.redis_telemetry import RedisTelemetry
from watchkeeper.control.collect import Collector
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sources import Finding, Sample
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, TelemetryRead

pytestmark = pytest.mark.redis
CLUSTER = "lab-test"
PRESENT = GPU_FIELDS.index("present")


class Steps:
    """A clock that goes one interval a look."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> Any:
        from datetime import UTC, datetime, timedelta

        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.s)

    policy_now = now

    def steady(self) -> float:
        return self.s


class Sink:
    """Keeps what it gets; fails while `down`."""

    def __init__(self) -> None:
        self.down = False
        self.samples: list[Sample] = []
        self.signals: list[Signal] = []

    def send(self, sample: Sample, signals: Sequence[Signal] = ()) -> None:
        if self.down:
            raise ClusterUnavailable("Redis is away.")
        self.samples.append(sample)
        self.signals += signals


class Host:
    def read(self) -> Any:
        return np.ones(len(HOST_FIELDS), np.float32)


class Gpus(NoGpus):
    """Two GPUs that can fail or hang."""

    vendor = "nvidia"

    def __init__(self) -> None:
        self.fail = False
        self.hang: threading.Event | None = None
        self.calls = 0

    def read(self) -> Any:
        self.calls += 1
        if self.fail:
            raise OSError("driver in trouble")
        if self.hang is not None:
            self.hang.wait(30)
        return np.full((2, len(GPU_FIELDS)), 1.0, np.float32)


class Events:
    def __init__(self) -> None:
        self.next: list[Finding] = []

    def drain(self) -> tuple[Finding, ...]:
        found, self.next = tuple(self.next), []
        return found

    def xid(self, code: int) -> None:
        self.next.append(
            Finding(code=f"xid.{code}", source="kernel-log", trust=Trust.KERNEL, gpu=0)
        )


class Rig:
    def __init__(self, **more: Any) -> None:
        self.clock, self.sink, self.gpus, self.events = Steps(), Sink(), Gpus(), Events()
        self.said: list[str] = []
        self.collector = Collector(
            self.gpus, Host(), [self.events], self.sink, self.clock, "n1", 1.0,
            world=World.LAB, say=self.said.append, **more,
        )  # fmt: skip

    def tick(self, after: float = 1.0) -> None:
        self.clock.s += after
        self.collector.tick()


def test_a_reading_goes_out_each_interval_and_an_event_at_once() -> None:
    rig = Rig()
    rig.tick()
    rig.tick(0.25)
    assert len(rig.sink.samples) == 1
    rig.events.xid(79)
    rig.tick(0.25)
    assert [s.code for s in rig.sink.signals] == ["xid.79"]
    assert rig.sink.signals[0].target == "gpu:n1/0"


def test_s10_a_gpu_source_that_fails_is_unknown_and_stops_nobody() -> None:
    rig = Rig()
    rig.tick()
    rig.gpus.fail = True
    rig.events.xid(79)
    rig.tick()
    rig.tick()
    sample = rig.sink.samples[-1]
    assert sample.gpu.shape == (2, len(GPU_FIELDS))  # as many as before, all Unknown
    assert np.isnan(sample.gpu).all()
    assert (sample.host == 1).all()
    assert len(rig.sink.signals) == 1
    assert rig.said == ["GPUs on n1: driver in trouble"]  # told once
    rig.gpus.fail = False
    rig.tick()
    assert rig.said[1:] == ["GPUs on n1: back."]


def test_a_driver_that_hangs_is_asked_once_and_the_rest_goes_on() -> None:
    rig = Rig(read_timeout_s=0.05)
    rig.tick()
    rig.gpus.hang = threading.Event()
    for _ in range(4):
        rig.tick()
    assert rig.gpus.calls == 2
    assert np.isnan(rig.sink.samples[-1].gpu).all()
    assert (rig.sink.samples[-1].host == 1).all()
    hang, rig.gpus.hang = rig.gpus.hang, None
    hang.set()
    deadline = time.monotonic() + 10
    while np.isnan(rig.sink.samples[-1].gpu).any():
        assert time.monotonic() < deadline
        rig.tick()


def test_while_redis_is_away_signals_wait_and_readings_do_not() -> None:
    rig = Rig()
    rig.tick()
    rig.sink.down = True
    for code in (1, 2, 3):
        rig.events.xid(code)
        rig.tick()
    rig.sink.down = False
    for _ in range(10):
        rig.tick()
    assert [s.code for s in rig.sink.signals] == ["xid.1", "xid.2", "xid.3"]
    times = [s.at for s in rig.sink.samples]
    assert times == sorted(set(times))
    assert rig.said == ["Redis on n1: Redis is away.", "Redis on n1: back."]


def test_an_absent_redis_is_asked_ever_less_often_and_signals_stay_bounded() -> None:
    rig = Rig()
    rig.sink.down = True
    asked = 0
    send = rig.sink.send

    def counted(sample: Sample, signals: Sequence[Signal] = ()) -> None:
        nonlocal asked
        asked += 1
        send(sample, signals)

    rig.sink.send = counted  # type: ignore[method-assign]
    for code in range(1500):
        rig.events.xid(code % 900 + 1)
        rig.tick()
    assert asked < 70
    rig.sink.down = False
    for _ in range(60):
        rig.tick()
    assert len(rig.sink.signals) == 1000


# -- the process


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "kmsg").touch()
    (tmp_path / "faults.json").write_text('{"lost": []}')
    (tmp_path / "load.json").write_text('{"busy": [0, 1]}')
    return tmp_path


def command(url: str, lab: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "watchkeeper.app.collect", "--redis", url, "--cluster", CLUSTER,
        "--node", "n1", "--world", "lab", "--gpus", "simulated", "--sim-dir", str(lab),
        "--kernel-log", str(lab / "kmsg"), "--interval", "0.2", *more,
    ]  # fmt: skip


@pytest.fixture
def running(redis_url: str, lab: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command(redis_url, lab, "--with-parent", str(os.getpid())))
    yield process
    process.terminate()
    process.wait(10)


def until(telemetry: RedisTelemetry, done: Callable[[TelemetryRead, list[Signal]], bool]) -> tuple[TelemetryRead, list[Signal]]:  # fmt: skip  # noqa: E501
    signals: list[Signal] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        read = telemetry.read()
        signals += read.signals
        if done(read, signals):
            return read, signals
        time.sleep(0.05)
    raise AssertionError("not seen within 20 s")


def test_simulated_faults_of_a_lab_reach_redis_labelled_as_simulated(
    running: subprocess.Popen[bytes], redis_url: str, lab: Path
) -> None:
    telemetry = RedisTelemetry(redis_url, CLUSTER, World.LAB)
    read, _ = until(telemetry, lambda r, _: bool(r.frame.nodes))
    assert read.frame.simulated.all()
    assert read.frame.vendor == ("simulated",)
    assert (read.frame.gpu[0, :2, 0] > 80).all()
    assert (read.frame.gpu[0, 2:, 0] == 0).all()

    with (lab / "kmsg").open("a") as log:
        log.write(f"[{time.monotonic():12.6f}] NVRM: Xid (PCI:0000:13:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n")  # fmt: skip  # noqa: E501
        log.write(f"[{time.monotonic():12.6f}] NVRM: Xid (PCI:0000:13:00): 79, again\n")
        log.write("Nov 22 02:51:16 n1 myjob[7]: NVRM: Xid (PCI:0000:14:00): 79, forged\n")
    (lab / "faults.json").write_text(json.dumps({"lost": [3]}))
    read, signals = until(telemetry, lambda r, s: len(s) >= 2 and r.frame.gpu[0, 3, PRESENT] == 0)
    told = {(s.code, s.target, s.source, s.trust, s.simulated) for s in signals}
    assert told == {
        ("xid.79", "gpu:n1/3", "kernel-log", Trust.KERNEL, True),
        ("gpu.lost", "gpu:n1/3", "nvml-simulated", Trust.DRIVER, True),
    }
    assert len(signals) == 2  # the repeat within 5 s is one story, and nobody forged another


def test_the_collector_outlives_a_flush_and_a_restart_of_redis(tmp_path: Path, lab: Path) -> None:
    home = tmp_path / "redis"
    server = start(home)
    process = subprocess.Popen(command(server.url, lab))
    try:
        telemetry = RedisTelemetry(server.url, CLUSTER, World.LAB)
        until(telemetry, lambda r, _: bool(r.frame.nodes))
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        first = telemetry.read().frame.last_read("n1") or 0.0
        until(telemetry, lambda r, _: (r.frame.last_read("n1") or 0.0) > first)
        server.stop()
        with (lab / "kmsg").open("a") as log:
            log.write(f"[{time.monotonic():12.6f}] NVRM: Xid (PCI:0000:10:00): 48, while away\n")
        server = start(home)
        after = time.time()
        _, signals = until(telemetry_after(server.url), lambda r, s: bool(s) and (r.frame.last_read("n1") or 0.0) > after)  # fmt: skip  # noqa: E501
        assert [s.code for s in signals] == ["xid.48"]
    finally:
        process.terminate()
        process.wait(10)
        server.stop()


def telemetry_after(url: str) -> RedisTelemetry:
    return RedisTelemetry(url, CLUSTER, World.LAB)


def test_an_unreachable_redis_at_the_start_is_one_sentence_and_exit_code_5(lab: Path) -> None:
    done = subprocess.run(
        command("redis://127.0.0.1:1/0", lab),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5
    assert "did not serve us" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_simulated_gpus_are_refused_in_a_real_cluster(redis_url: str, lab: Path) -> None:
    done = subprocess.run(
        [*command(redis_url, lab), "--world", "real"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "belongs to a lab" in done.stderr


def test_the_collector_ends_with_its_parent(redis_url: str, lab: Path) -> None:
    code = f"import subprocess,sys,time; p=subprocess.Popen({command(redis_url, lab, '--with-parent')!r}); print(p.pid, flush=True); time.sleep(60)"  # noqa: E501
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    telemetry = RedisTelemetry(redis_url, CLUSTER, World.LAB)
    until(telemetry, lambda r, _: bool(r.frame.nodes))
    parent.kill()
    parent.wait()
    child.wait(10)
    assert not child.is_running()


def test_ctrl_c_ends_the_collector_with_code_0(redis_url: str, lab: Path) -> None:
    process = subprocess.Popen(command(redis_url, lab), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "collecting for n1 (lab)" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
