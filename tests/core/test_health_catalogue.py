"""What codes mean, and that strangers lead to nothing."""

import pytest

from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.health.catalogue import FAULT_OF, fault_of_sxid, meaning, sxid, xid

TABLE = {
    79: Fault.GPU_OFF_BUS,
    48: Fault.GPU_MEMORY,
    64: Fault.GPU_MEMORY,
    95: Fault.GPU_MEMORY,
    63: Fault.GPU_MEMORY_CONTAINED,
    94: Fault.GPU_MEMORY_CONTAINED,
    74: Fault.NVLINK,
    119: Fault.GPU_DRIVER,
    120: Fault.GPU_DRIVER,
    13: Fault.APPLICATION,
    31: Fault.APPLICATION,
    62: Fault.GPU_HARDWARE,
    43: None,
    45: None,
    14: None,
    54: Fault.GPU_HANDS_ON,
    56: Fault.GPU_HANDS_ON,
    167: Fault.GPU_HANDS_ON,
    145: Fault.GPU_UNKNOWN,
}


@pytest.mark.parametrize(("code", "fault"), TABLE.items())
def test_the_class_of_an_xid(code, fault):
    assert FAULT_OF[code] is fault


def test_every_code_of_the_catalogue_is_known_and_has_a_source():
    assert all(xid(n).known and xid(n).source and xid(n).name for n in range(1, 173))


@pytest.mark.parametrize("code", [173, 500, 999])
def test_an_unknown_code_is_named_and_never_repaired_on(code):
    assert not xid(code).known
    assert not sxid(code).known
    assert "in no table" in xid(code).notes
    assert "no catalogue" in meaning(f"xid.{code}")
    assert fault_of_sxid(code) not in REPAIRED_ON_NODE


def test_what_a_switch_reports_is_a_persons_work_or_a_link_to_watch():
    assert fault_of_sxid(10007) is Fault.GPU_HANDS_ON
    assert fault_of_sxid(11001) is Fault.NVLINK
    assert fault_of_sxid(11002) is None


def test_a_switch_error_that_its_own_line_calls_non_fatal_takes_no_node_out():
    from tests.core import sick_cluster as c

    from watchkeeper.health.evidence import NON_FATAL, fault_of

    said = c.renamed(c.xid(1), code="sxid.10007", target="node:w1")
    assert fault_of(said) is Fault.GPU_HANDS_ON
    assert fault_of(c.renamed(said, value=NON_FATAL)) is Fault.GPU_NOTICE


def test_a_switch_error_that_its_own_line_calls_fatal_is_worth_a_look_whatever_the_table_says():
    from tests.core import sick_cluster as c

    from watchkeeper.health.decode import FATAL
    from watchkeeper.health.evidence import fault_of

    said = c.renamed(c.xid(1), code="sxid.11002", target="node:w1")
    assert fault_of(said) is None
    assert fault_of(c.renamed(said, value=FATAL)) is Fault.GPU_NOTICE


@pytest.mark.parametrize(
    ("code", "fault"),
    [(147, None), (148, None), (150, None), (145, Fault.GPU_UNKNOWN), (79, Fault.GPU_OFF_BUS)],
)
def test_a_bare_xid_of_nvml_is_no_fault_where_no_status_would_make_it_one(code, fault):
    from tests.core import sick_cluster as c

    from watchkeeper.adapters.nvml import xid_value
    from watchkeeper.health.evidence import fault_of

    assert fault_of(c.renamed(c.xid(code), value=xid_value(code))) is fault
