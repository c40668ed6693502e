"""An unmodified nvidia-ml-py reads a driver library compiled here, through our collector, into a
real Redis."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchkeeper.adapters.redis_telemetry import RedisTelemetry
from watchkeeper.core.cluster import World
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, TelemetryRead

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the driver library"),
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="NVML is looked up as on Linux"
    ),
]
CLUSTER = "real-test"
WORN = "ecc.remap_failure"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with libnvidia-ml.so.1."""
    home = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("nvml_stub.c")
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(home / "libnvidia-ml.so.1"), str(source)],
        check=True,
    )
    return home


@pytest.fixture
def collector(driver: Path, redis_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "watchkeeper.app.collect", "--redis", redis_url,
         "--cluster", CLUSTER, "--node", "gpu-1", "--world", "real", "--gpus", "nvml",
         "--interval", "0.2", "--with-parent", str(os.getpid())],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), "WK_STUB_LOST": str(tmp_path / "lost")},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    yield process
    process.terminate()
    assert process.wait(10) == 0


def read_until(telemetry: RedisTelemetry, done: Callable[[TelemetryRead, list[Signal]], bool]) -> tuple[TelemetryRead, list[Signal]]:  # fmt: skip  # noqa: E501
    signals: list[Signal] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        read = telemetry.read()
        signals += read.signals
        if done(read, signals):
            return read, signals
        time.sleep(0.05)
    raise AssertionError(f"not seen in 20 s; signals so far: {[s.code for s in signals]}")


def gpu(read: TelemetryRead, index: int) -> dict[str, float]:
    row = read.frame.gpu[read.frame.row["gpu-1"], index]
    return dict(zip(GPU_FIELDS, map(float, row), strict=True))


def test_readings_an_xid_event_and_a_lost_gpu_reach_redis(
    collector: subprocess.Popen[str], redis_url: str, tmp_path: Path
) -> None:
    telemetry = RedisTelemetry(redis_url, CLUSTER, World.REAL)
    read, signals = read_until(
        telemetry,
        lambda r, s: bool(len(r.frame.nodes)) and {"xid.79", WORN} <= {x.code for x in s},
    )

    assert read.frame.vendor == ("nvidia",)
    assert not read.frame.simulated.any()
    first = gpu(read, 0)
    assert first["utilization_percent"] == 87
    assert (first["memory_used_mib"], first["memory_total_mib"]) == (65536, 81920)
    assert first["temperature_celsius"] == 61  # by the older call: the newer one is missing
    assert (first["power_watts"], first["power_limit_watts"]) == (412.5, 700)
    assert (first["ecc_corrected_total"], first["ecc_uncorrected_total"]) == (7, 2)
    assert first["nvlink_links_up"] == 3
    assert first["present"] == 1
    assert math.isnan(first["sm_clock_mhz"])  # the driver does not know it: Unknown, not zero
    assert math.isnan(first["throttle_reasons"])

    (xid,) = [s for s in signals if s.code == "xid.79"]
    assert (xid.target, xid.source, xid.trust) == ("gpu:gpu-1/1", "nvml", Trust.DRIVER)
    assert (xid.world, xid.simulated, xid.value) == (World.REAL, False, 79.0)

    (worn,) = [s for s in signals if s.code == WORN]
    assert (worn.target, worn.source, worn.trust) == ("gpu:gpu-1/0", "nvml", Trust.DRIVER)

    (tmp_path / "lost").touch()
    read, signals = read_until(telemetry, lambda _, s: any(x.code == "gpu.lost" for x in s))
    (lost,) = [s for s in signals if s.code == "gpu.lost"]
    assert (lost.target, lost.source, lost.trust) == ("gpu:gpu-1/1", "nvml", Trust.DRIVER)
    second = gpu(read, 1)
    assert second["present"] == 0
    assert math.isnan(second["temperature_celsius"])
    assert gpu(read, 0)["present"] == 1

    (tmp_path / "lost").unlink()
    read, _ = read_until(telemetry, lambda r, _: gpu(r, 1)["present"] == 1)
    assert gpu(read, 1)["temperature_celsius"] == 62


def test_a_host_without_a_driver_is_told_so_in_one_sentence(redis_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.app.collect", "--redis", redis_url,
         "--cluster", CLUSTER, "--gpus", "nvml"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "collecting for" in done.stderr:
        pytest.skip("this machine has a driver")
    assert done.returncode == 5
    assert "NVML does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
