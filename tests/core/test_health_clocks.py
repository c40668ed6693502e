"""When a node was heard, whatever its own clock says."""

from datetime import timedelta

import numpy as np
from tests.core import sick_cluster as c

from watchkeeper.core.telemetry import FleetFrame
from watchkeeper.health.clocks import by_our_clock, listen, put_right

T = c.NOW.timestamp()


def frame(*read_at: float) -> FleetFrame:
    names = tuple(f"w{n}" for n in range(1, len(read_at) + 1))
    base = FleetFrame.empty()
    return FleetFrame(
        nodes=names,
        read_at=np.array(read_at, np.float64),
        gpu=base.gpu,
        host=base.host,
        simulated=base.simulated,
        vendor=(),
        row={name: i for i, name in enumerate(names)},
    )


def silences(looks: list[tuple[float, tuple[float, ...]]]) -> list[list[float]]:
    """looks: (our time, what each node's newest reading names), both in seconds from T."""
    said, hearing = [], None
    for now, told in looks:
        seen = frame(*(T + t for t in told))
        hearing = listen(seen, hearing, T + now)
        said.append([T + now - h for h in by_our_clock(seen, hearing).read_at.tolist()])
    return said


def test_clocks_that_are_right_change_nothing():
    seen = frame(T - 1, T - 3)
    hearing = listen(frame(T - 11, T - 13), None, T - 10)
    assert by_our_clock(seen, listen(seen, hearing, T)) is seen


def test_a_clock_that_falls_an_hour_behind_is_no_silence():
    looks = [(t, (t - 1.0, t - 3601.0 if t >= 20 else t - 1.0)) for t in (0, 10, 20, 30, 40)]
    assert [row[1] <= 1.0 for row in silences(looks)] == [True] * 5


def test_a_clock_an_hour_ahead_hides_no_silence():
    ahead = [(t, (t + 3599.0,)) for t in (0, 10, 20)]
    silent = [(t, (3619.0,)) for t in (30, 60, 90, 120)]
    assert [row[0] for row in silences(ahead + silent)][-1] == 100.0


def test_who_falls_silent_is_silent_since_its_last_reading():
    looks = [(0, (-1.0,)), (10, (9.0,)), (20, (9.0,)), (80, (9.0,))]
    assert [row[0] for row in silences(looks)] == [1.0, 1.0, 11.0, 71.0]


def test_after_a_long_pause_of_ours_a_new_reading_of_an_old_time_is_doubted_for_one_look():
    pause = [(0, (-1.0, -1.0)), (900, (300.0, 300.0)), (910, (300.0, 310.0)), (920, (300.0, 320.0))]
    assert silences(pause)[1:] == [[0.0, 0.0], [610.0, 0.0], [620.0, 0.0]]


def test_who_never_spoke_has_no_time():
    hearing = listen(frame(np.nan), None, T)
    assert np.isnan(listen(frame(np.nan), hearing, T + 10).heard).all()


def test_nodes_that_come_and_go_keep_their_own_times():
    first = listen(frame(T - 1, T - 500), None, T)
    grown = listen(frame(T + 9, T - 500, T + 8), first, T + 10)
    assert (T + 10 - grown.heard).tolist() == [1.0, 510.0, 2.0]


def test_a_step_of_our_own_clock_makes_nobody_silent_or_immortal():
    back = [(0, (-1.0, -1.0)), (-3600, (-3601.0, -1.0)), (-3500, (-3501.0, -1.0))]
    assert silences(back)[-1] == [1.0, 100.0]


def test_the_lines_of_a_node_whose_clock_is_off_get_the_time_that_we_would_have_read():
    hearing = listen(frame(T - 3601.0), listen(frame(T - 11.0), None, T - 10), T)
    line = c.xid(79, at=c.NOW - timedelta(seconds=3600))
    (right,) = put_right([line], hearing)
    assert abs((right.at - c.NOW).total_seconds()) < 10
    other = c.xid(79, "w9/0")
    assert put_right([other], hearing) == (other,)
