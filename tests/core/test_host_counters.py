"""Counters of a real host: what the driver and the kernel count of memory, links and ports, and
what of it is told. Files and a driver that are made up here stand for the host's."""

import ctypes
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from watchkeeper.adapters.nvml_counters import NvmlCounters
from watchkeeper.adapters.port_counters import PortCounters


class Minutes:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.at = 100.0

    def steady(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    policy_now = now


# Ports.


def port(root: Path, *, state: str = "4: ACTIVE", phys: str = "5: LinkUp", **counters: object) -> None:  # fmt: skip  # noqa: E501
    place = root / "mlx5_0" / "ports" / "1"
    (place / "counters").mkdir(parents=True, exist_ok=True)
    (place / "state").write_text(f"{state}\n")
    (place / "phys_state").write_text(f"{phys}\n")
    for name, value in counters.items():
        (place / "counters" / name).write_text(f"{value}\n")


WAS = {"link_downed": 3, "symbol_error": 40}
PORTS = {
    "a port that works": ({}, []),
    "one that fell and is back": ({"link_downed": 4}, [("ib.link_down", 1.0)]),
    "one that is down": ({"state": "1: DOWN", "phys": "2: Polling"}, [("ib.link_down", 1.0)]),
    "one that was switched off": ({"state": "1: DOWN", "phys": "3: Disabled"}, []),
    "two symbol errors in a minute": ({"symbol_error": 42}, []),
    "three, which are 180 an hour": ({"symbol_error": 43}, [("ib.symbol_errors", 180.0)]),
    "counters that were cleared": ({"link_downed": 0, "symbol_error": 0}, []),
    "counters that are no numbers": ({"link_downed": "N/A", "symbol_error": ""}, []),
}


@pytest.mark.parametrize(("now", "told"), PORTS.values(), ids=PORTS)
def test_a_port_is_told_of_while_it_is_over_its_threshold(tmp_path, now, told):
    clock = Minutes()
    ports = PortCounters(clock, tmp_path)
    port(tmp_path, **WAS)
    assert ports.drain() == (), "what was counted before we began is nobody's fault of now"
    clock.at += 60
    port(tmp_path, **{**WAS, **now})
    assert [(f.code, f.value) for f in ports.drain()] == told
    assert ports.drain() == (), "once a minute"
    clock.at += 60
    still = now.get("state") == "1: DOWN" and told
    assert [f.code for f in ports.drain()] == (["ib.link_down"] if still else [])


def test_a_port_that_never_was_up_is_not_cabled_and_one_that_vanished_is_lost(tmp_path):
    clock = Minutes()
    ports = PortCounters(clock, tmp_path)
    port(tmp_path, state="1: DOWN", **WAS)
    for _ in range(3):
        clock.at += 60
        assert ports.drain() == ()
    port(tmp_path, **WAS)
    clock.at += 60
    ports.drain()
    (tmp_path / "mlx5_0").rename(tmp_path.parent / "away")
    for _ in range(2):
        clock.at += 60
        assert [f.code for f in ports.drain()] == ["nic.down"]
    assert PortCounters(clock, tmp_path / "no such place").drain() == ()


# The driver.


class Sram(ctypes.Structure):
    _fields_ = [("bThresholdExceeded", ctypes.c_uint)]


class DriverError(Exception):
    pass


def driver(
    rows=(0, 0, 0, 0), sram=0, dbe=0, width=16, replays=0, crc=(0, 0), knows=True
) -> SimpleNamespace:
    def unless(call):
        def answer(*given):
            if not knows:
                raise DriverError
            return call(*given)

        return answer

    def fill(_, status):
        status._obj.bThresholdExceeded = sram
        return 0

    def link(_, number, kind):
        if number >= len(crc):
            raise DriverError
        return crc[number]

    return SimpleNamespace(
        NVMLError=DriverError,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
        NVML_NVLINK_MAX_LINKS=4,
        NVML_NVLINK_ERROR_DL_CRC_FLIT=2,
        c_nvmlEccSramErrorStatus_v1_t=Sram,
        nvmlDeviceGetUUID=unless(lambda h: f"GPU-{h}"),
        nvmlDeviceGetTotalEccErrors=unless(lambda *_: dbe),
        nvmlDeviceGetRemappedRows=unless(lambda _: rows),
        nvmlDeviceGetSramEccErrorStatus=unless(fill),
        nvmlDeviceGetCurrPcieLinkWidth=unless(lambda _: width),
        nvmlDeviceGetMaxPcieLinkWidth=unless(lambda _: 16),
        nvmlDeviceGetPcieReplayCounter=unless(lambda _: replays),
        nvmlDeviceGetNvLinkErrorCounter=unless(link),
    )


SAYS = {
    "a GPU that is well": ({}, {}),
    "a row that waits for its remap": ({"rows": (0, 1, 1, 0)}, {"ecc.remap_pending": 1.0}),
    "a remap that failed": ({"rows": (0, 9, 0, 1)}, {"ecc.remap_failure": 1.0}),
    "512 rows, all there are": ({"rows": (0, 512, 0, 0)}, {"ecc.remap_failure": 1.0}),
    "511 rows": ({"rows": (0, 511, 0, 0)}, {}),
    "rows that the driver mended ahead": ({"rows": (600, 0, 0, 0)}, {}),
    "SRAM past its threshold": ({"sram": 1}, {"ecc.remap_failure": 1.0}),
    "uncorrectable errors since": ({"dbe": 2}, {"ecc.dbe": 2.0}),
    "half the lanes of its slot": ({"width": 8}, {"pcie.width": 0.5}),
    "eight replays a minute": ({"replays": 8}, {}),
    "nine replays a minute": ({"replays": 9}, {"pcie.aer": 9.0}),
    "CRC errors in spec": ({"crc": (0, 6000)}, {}),
    "CRC errors above a hundred a second": ({"crc": (0, 6060)}, {"nvlink.errors": 101.0}),
    "a driver that knows none of it": ({"knows": False, "sram": 1}, {}),
}


@pytest.mark.parametrize(("now", "told"), SAYS.values(), ids=SAYS)
def test_what_the_driver_counts_is_told_by_its_published_thresholds(now, told):
    clock = Minutes()
    counters = NvmlCounters(driver(), clock)
    assert counters.told([None, "b"]) == ()
    clock.at += 60
    counters._nvml = driver(**now)
    found = counters.told(["a", "b"])
    assert {f.code: f.value for f in found if f.gpu == 1} == told
    rises = {"ecc.dbe", "pcie.aer", "nvlink.errors"}
    first = {code: value for code, value in told.items() if code not in rises}
    assert {f.code: f.value for f in found if f.gpu == 0} == first, "no rise is known of it yet"


def test_worn_memory_is_one_fact_and_a_narrow_slot_is_told_each_minute():
    clock = Minutes()
    counters = NvmlCounters(driver(rows=(0, 9, 0, 1), width=8), clock)
    each = []
    for _ in range(3):
        each.append([f.code for f in counters.told(["a"])])
        clock.at += 60
    assert each == [["ecc.remap_failure", "pcie.width"], ["pcie.width"], ["pcie.width"]]
    again = NvmlCounters(driver(rows=(0, 9, 0, 1)), clock).told(["a"])
    assert [f.key for f in again] == ["GPU-a ecc.remap_failure 0 9"], "the same after a restart"
