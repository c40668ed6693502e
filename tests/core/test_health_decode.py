"""What a driver's line says beyond its code, and what follows from it."""

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.fault import Fault, Recovery, recovery_said
from watchkeeper.core.incident import Trust
from watchkeeper.health.counters import MemoryRecord, memory_codes, rma
from watchkeeper.health.decode import (
    LINK_IGNORE,
    LINK_RESET,
    LINK_WAIT,
    nvlink5,
    recovery_named,
    value_of,
)
from watchkeeper.health.evidence import fault_of
from watchkeeper.health.kernel_lines import XidEvent, parse_line

SAYS = "GPU recovery action changed from 0x0 (None) to "
RECOVERY = {
    "none": (SAYS + "0x0 (None)", Recovery.NONE),
    "reset": (SAYS + "0x1 (GPU Reset Required)", Recovery.GPU_RESET),
    "reboot": (SAYS + "0x2 (Node Reboot Required)", Recovery.NODE_REBOOT),
    "drain p2p": (SAYS + "0x3 (Drain P2P)", Recovery.DRAIN_P2P),
    "drain and reset": (SAYS + "0x4 (Drain and Reset)", Recovery.DRAIN_AND_RESET),
    "number and words disagree": (SAYS + "0x1 (Node Reboot Required)", None),
    "words in no table": (SAYS + "0x2 (Reboot every node)", None),
    "no words": ("GPU recovery action changed", None),
    "text that goes on after them": (SAYS + "0x2 (Node Reboot Required) now do it", None),
}


@pytest.mark.parametrize(("text", "said"), RECOVERY.values(), ids=RECOVERY)
def test_the_drivers_recovery_is_read_by_a_fixed_table_only(text, said):
    assert recovery_named(text) is said


NVLINK5 = {
    "144, a bit that resets": (144, "SAW Fatal XC0 i0 Link 3 (0x1 0x10 0x0)", LINK_RESET),
    "144, any other bit": (144, "SAW Nonfatal XC0 i0 Link 3 (0x1 0x1 0x0)", LINK_IGNORE),
    "145, remap waits for 154": (145, "RLW_REMAP Nonfatal XC0 i0 Link 3 (0x3 0x4)", LINK_WAIT),
    "145, a tracker bit": (145, "RLW Fatal XC0 i0 Link 3 (0x3 0x40)", LINK_RESET),
    "145, a bit of no table": (145, "RLW Fatal XC0 i0 Link 3 (0x3 0x8000)", None),
    "146": (146, "TLW Fatal XC0 i0 Link 3 (0x3 0x4)", LINK_RESET),
    "147 never acts": (147, "TREX Fatal (0xff 0xff)", LINK_IGNORE),
    "149, a link down": (149, "NETIR_LINK_EVT Fatal XC0 i0 Link 10 (0x14 0x0)", LINK_RESET),
    "149, not fatal": (149, "NETIR_LINK_EVT Nonfatal XC0 i0 Link 10 (0x14 0x0)", LINK_IGNORE),
    "149, says neither": (149, "NETIR_LINK_EVT", None),
    "150 follows 154": (150, "MSE Fatal", LINK_WAIT),
    "144 without words": (144, "SAW", None),
}


@pytest.mark.parametrize(("code", "text", "value"), NVLINK5.values(), ids=NVLINK5)
def test_a_blackwell_link_error_is_decoded_or_unknown(code, text, value):
    assert nvlink5(code, text) == value


FAULTS = {
    "154 alone asks for a reset": ("xid.154", 1.0, Fault.GPU_HARDWARE),
    "154 None is no fault": ("xid.154", 0.0, None),
    "154 not understood is no fault": ("xid.154", None, None),
    "154 with a collector's bare code is not understood": ("xid.154", 154.0, None),
    "149 that asks for a reset": ("xid.149", LINK_RESET, Fault.NVLINK),
    "147 that asks for nothing": ("xid.147", LINK_IGNORE, None),
    "149 not understood is unknown": ("xid.149", None, Fault.GPU_UNKNOWN),
    "symbol errors in spec": ("ib.symbol_errors", 100.0, None),
    "symbol errors out of spec": ("ib.symbol_errors", 121.0, Fault.NETWORK_LINK),
    "a port that went down": ("ib.link_down", 1.0, Fault.NETWORK_LINK),
    "a port that did not": ("ib.link_down", 0.0, None),
    "a network port": ("nic.down", None, Fault.NETWORK_LINK),
    "a reading that is no number": ("ib.symbol_errors", float("nan"), None),
    "a PCIe link at half its width": ("pcie.width", 0.5, Fault.PCIE),
    "a PCIe link at its full width": ("pcie.width", 1.0, None),
    "few PCIe replays": ("pcie.aer", 3.0, None),
    "many PCIe replays": ("pcie.aer", 9.0, Fault.PCIE),
    "memory past repair": ("ecc.remap_failure", 1.0, Fault.GPU_RMA),
    "a row to be remapped": ("ecc.remap_pending", 1.0, Fault.GPU_MEMORY_CONTAINED),
    "an uncorrectable error": ("ecc.dbe", 2.0, Fault.GPU_MEMORY),
    "heat": ("gpu.thermal", None, Fault.GPU_THERMAL),
    "the power brake": ("gpu.power_brake", None, Fault.GPU_POWER_BRAKE),
    "link errors below the threshold": ("nvlink.errors", 3.0, None),
    "link errors above it": ("nvlink.errors", 500.0, Fault.NVLINK),
    "a code of no family": ("moon.phase", 1.0, None),
}


@pytest.mark.parametrize(("code", "value", "fault"), FAULTS.values(), ids=FAULTS)
def test_the_class_that_a_reading_speaks_for(code, value, fault):
    assert fault_of(c.renamed(c.xid(1), code=code, value=value)) is fault


def test_the_value_comes_from_the_line_and_the_gravest_gpu_decides():
    line = f"[12.5] NVRM: Xid (PCI:0000:3b:00): 154, {SAYS}0x2 (Node Reboot Required)"
    event = parse_line(line)
    assert isinstance(event, XidEvent)
    assert value_of(event) == Recovery.NODE_REBOOT
    one = c.xid(154, "w1/1", value=1.0)
    other = c.xid(154, "w1/2", value=2.0)
    assert recovery_said((one, other)) is Recovery.NODE_REBOOT
    later = c.xid(154, "w1/2", seconds_ago=1, value=0.0)
    assert recovery_said((other, later)) is Recovery.NONE


def test_s22_a_tenants_word_is_no_recovery():
    claim = c.xid(154, value=2.0, trust=Trust.JOB_LOG)
    assert recovery_said((claim,)) is None


RMA = {
    "healthy": (MemoryRecord(), False),
    "eight remaps in a bank, and no more asked": (MemoryRecord(worst_bank_remaps=8), False),
    "a ninth is asked for": (MemoryRecord(worst_bank_remaps=8, asked_more=True), True),
    "a remapped row failed again": (MemoryRecord(row_failed_again=True), True),
    "511 in all": (MemoryRecord(total_remaps=511), False),
    "512 in all": (MemoryRecord(total_remaps=512), True),
    "SRAM, four parity errors": (MemoryRecord(sram_parity=4), False),
    "SRAM, five": (MemoryRecord(sram_parity=5), True),
    "SRAM, two SECDED errors": (MemoryRecord(sram_secded=2), False),
    "SRAM, three": (MemoryRecord(sram_secded=3), True),
    "the driver's own flag": (MemoryRecord(flagged=True), True),
}


@pytest.mark.parametrize(("record", "replaced"), RMA.values(), ids=RMA)
def test_when_memory_is_past_repair(record, replaced):
    assert bool(rma(record)) is replaced
    assert ("ecc.remap_failure" in dict(memory_codes(record))) is replaced


def test_a_row_that_waits_and_an_error_are_told_apart():
    record = MemoryRecord(pending=True, uncorrected=2)
    assert dict(memory_codes(record)) == {"ecc.dbe": 2.0, "ecc.remap_pending": 1.0}
