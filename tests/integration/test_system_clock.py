"""The clock and the ids of the real world, the simulated GPUs, and the host."""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from pathlib import Path

import numpy as np
import pytest

from watchkeeper.adapters.gpu_simulated import SimulatedGpus, pci_of
from watchkeeper.adapters.host_psutil import PsutilHost
from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS


def test_policy_time_is_shifted_and_nothing_else_is() -> None:
    clock = SystemClock(timedelta(hours=-9))
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - clock.policy_now() - timedelta(hours=9)) < timedelta(seconds=1)


def test_s28_the_steady_clock_goes_on_from_the_journal_and_never_back() -> None:
    clock = SystemClock()
    assert 0 <= clock.steady() < 5
    clock.rebase(5000.0)
    assert 5000 <= clock.steady() < 5005
    clock.rebase(10.0)
    assert clock.steady() >= 5000


def test_ids_go_on_after_the_last_one_in_the_journal() -> None:
    ids = SystemIds()
    ids.resume("INC", 41)
    ids.resume("INC", 7)
    assert [ids.new("INC"), ids.new("INC"), ids.new("P")] == ["INC-42", "INC-43", "P-1"]


def test_secrets_are_long_and_differ() -> None:
    ids = SystemIds()
    assert len({ids.secret() for _ in range(100)}) == 100
    assert len(ids.secret()) * 6 >= 128


@pytest.mark.parametrize("broken", ["", "[]", '{"lost": 3}', "{"])
def test_simulated_gpus_keep_what_they_knew_while_a_file_is_half_written(
    tmp_path: Path, broken: str
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"lost": [1, 99, "x", true]}')
    gpus = SimulatedGpus(tmp_path, 4, SystemClock())
    present = GPU_FIELDS.index("present")
    assert gpus.read()[:, present].tolist() == [1, 0, 1, 1]
    faults.write_text(broken)
    assert gpus.read()[:, present].tolist() == [1, 0, 1, 1]
    faults.unlink()
    assert gpus.read()[:, present].tolist() == [1, 1, 1, 1]
    assert [f.gpu for f in gpus.drain()] == [1]


def test_a_lost_simulated_gpu_says_nothing_else_and_all_others_say_all(tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text('{"lost": [0]}')
    (tmp_path / "load.json").write_text('{"busy": [1]}')
    gpu = SimulatedGpus(tmp_path, 3, SystemClock()).read()
    assert np.isnan(gpu[0, :-1]).all()
    assert np.isfinite(gpu[1:]).all()
    assert gpu[1, 0] > 80
    assert gpu[2, 0] == 0


def test_simulated_gpus_have_pci_addresses(tmp_path: Path) -> None:
    gpus = SimulatedGpus(tmp_path, 8, SystemClock())
    assert pci_of(3) == "0000:13:00"
    assert gpus.index_of("0000:13:00") == 3
    assert gpus.index_of("0000:3b:00") is None


def test_the_host_is_read_and_rates_are_unknown_at_first() -> None:
    host = PsutilHost(SystemClock())
    first = dict(zip(HOST_FIELDS, map(float, host.read()), strict=True))
    assert 0 < first["memory_used_percent"] < 100
    assert 0 <= first["disk_used_percent"] <= 100
    assert math.isnan(first["cpu_percent"])
    assert math.isnan(first["network_rx_bytes_per_s"])
    second = dict(zip(HOST_FIELDS, map(float, host.read()), strict=True))
    assert 0 <= second["cpu_percent"] <= 100
    assert second["network_rx_bytes_per_s"] >= 0
