"""A fault trace from outside replaces the drawn faults, or is refused with its line."""

import pytest

from watchkeeper.core.errors import Malformed
from watchkeeper.twin.words import DAY_S
from watchkeeper_evals.remediation.setup import Setup, cluster_of
from watchkeeper_evals.remediation.trace import faults_of, read_trace

SETUP = Setup(nodes=32, days=2.0)
SPEC = SETUP.spec(1)
HEAD = "t_s,node,fault,duration_s\n"


def test_rows_name_nodes_by_name_or_number_and_come_in_order_of_time():
    rows = read_trace(
        HEAD + "600,3,xyz,\n".replace("xyz", "gpu_off_bus") + "60, train-0001 ,ib_cable, 120\n",
        "faults.csv",
        SPEC,
    )
    assert [(r.at_s, r.node, r.law) for r in rows] == [
        (60.0, 0, "ib_cable"),
        (600.0, 3, "gpu_off_bus"),
    ]
    assert rows[0].lasts_s == 120.0
    assert rows[1].lasts_s == float("inf")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("t_s,node,fault\n", ":1: the header lacks duration_s", id="no column"),
        pytest.param("", ":1: the header lacks t_s", id="empty file"),
        pytest.param(HEAD + "soon,0,ib_cable,1\n", ":2: t_s must be a number", id="no number"),
        pytest.param(HEAD + "-1,0,ib_cable,1\n", ":2: t_s must be", id="before the beginning"),
        pytest.param(HEAD + "nan,0,ib_cable,1\n", ":2: t_s must be", id="not a number at all"),
        pytest.param(HEAD + "9e9,0,ib_cable,1\n", ":2: t_s 9e+09 lies beyond", id="too late"),
        pytest.param(HEAD + "1,0,ib_cable,-3\n", ":2: duration_s must", id="negative duration"),
        pytest.param(HEAD + "1,32,ib_cable,1\n", ":2: there is no node '32'", id="no such number"),
        pytest.param(HEAD + "1,gpu-7,ib_cable,1\n", ":2: there is no node 'gpu-7'", id="no name"),
        pytest.param(HEAD + "1,0,ib_cabel,1\n", "Did you mean 'ib_cable'", id="a slip is named"),
        pytest.param(HEAD + "1,0,zzz,1\n", "The classes are: gpu_off_bus", id="no such fault"),
        pytest.param(HEAD + "1,0,ib_cable\n", ":2: it must have 4 cells", id="too few cells"),
        pytest.param(HEAD + "1,0,ib_cable,1,2\n", ":2: it must have 4 cells", id="too many cells"),
        pytest.param(
            HEAD + "1,0,ib_cable,1\n2,0,nope,1\n", "faults.csv:3: there is no fault", id="line 3"
        ),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(text, says):
    with pytest.raises(Malformed) as told:
        read_trace(text, "faults.csv", SPEC)
    assert says in str(told.value)
    assert told.value.exit_code == 8


def test_only_what_the_trace_names_breaks_and_a_domain_breaks_whole():
    text = HEAD + "100,0,gpu_off_bus,\n200,17,rack_power,3600\n"
    setup = SETUP.with_trace(read_trace(text, "faults.csv", SPEC))
    faults = faults_of(setup.trace, SPEC)
    assert [len(fault.nodes) for fault in faults] == [1, 16]
    assert faults[1].ends_s == 3800.0
    cluster = cluster_of(setup, 1)
    cluster.advance(2 * DAY_S)
    assert [fault.law for fault in cluster.harm.played] == ["gpu_off_bus", "rack_power"]
