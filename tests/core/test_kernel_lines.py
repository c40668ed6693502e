"""What counts as the kernel's word, and what only looks like it."""

# ruff: noqa: E501  (tables read best one case a line)

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.health.kernel_lines import (
    MAX_TEXT,
    Ignored,
    SxidEvent,
    XidEvent,
    normal_pci,
    parse_line,
    parse_log,
)

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
BOOT = datetime(2026, 11, 20, tzinfo=UTC)
REPORT = (
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
)
AT = datetime(2026, 11, 22, 2, 51, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "at"),
    [
        pytest.param(f"4,1234,100000000,-;{REPORT}", BOOT + timedelta(seconds=100), id="kmsg"),
        pytest.param(f"4,9,100000000,-,caller=T17;{REPORT}", BOOT + timedelta(seconds=100), id="kmsg with caller"),
        pytest.param(f"[  100.000000] {REPORT}", BOOT + timedelta(seconds=100), id="dmesg"),
        pytest.param(f"[  100.000000][ T1234] {REPORT}", BOOT + timedelta(seconds=100), id="dmesg with caller"),
        pytest.param(f"<4>[  100.000000] {REPORT}", BOOT + timedelta(seconds=100), id="dmesg --raw"),
        pytest.param(f"kern  :warn  : [  100.000000] {REPORT}", BOOT + timedelta(seconds=100), id="dmesg --decode"),
        pytest.param(f"[Sun Nov 22 02:51:16 2026] {REPORT}", AT, id="dmesg -T"),
        pytest.param(f"2026-11-22T02:51:16,000000+00:00 {REPORT}", AT, id="dmesg --time-format iso"),
        pytest.param(f"Nov 22 02:51:16 gpu-1 kernel: {REPORT}", AT, id="syslog"),
        pytest.param(f"Nov 22 02:51:16 gpu-1 kernel: [  100.0] {REPORT}", AT, id="syslog with uptime"),
        pytest.param(f"2026-11-22T03:51:16.000000+01:00 gpu-1 kernel: {REPORT}", AT, id="rsyslog, ISO"),
        pytest.param(f"2026-11-22T02:51:16+0000 gpu-1 kernel: {REPORT}", AT, id="journalctl short-iso"),
        pytest.param(f"[  100.000000] gpu-1 kernel: {REPORT}", BOOT + timedelta(seconds=100), id="journalctl short-monotonic"),
        pytest.param(f"\x1b[32m[  100.000000] \x1b[0m\x1b[31m{REPORT}\x1b[0m", BOOT + timedelta(seconds=100), id="dmesg in colour"),
        pytest.param(f"[  100.000000] {REPORT}\r", BOOT + timedelta(seconds=100), id="a file from Windows"),
    ],
)  # fmt: skip
def test_the_kernels_own_line_is_read_in_every_format(line: str, at: datetime) -> None:
    event = parse_line(line, now=NOW, boot_at=BOOT)
    assert isinstance(event, XidEvent)
    assert (event.code, event.pci, event.pid, event.name) == (79, "0000:3b:00", None, "")
    assert event.at == at
    assert "fallen off the bus" in event.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("Nov 22 02:51:16 gpu-1 myapp[123]: NVRM: Xid (PCI:0000:3b:00): 79", "myapp", id="an application's syslog line"),
        pytest.param("2026-11-22T02:51:16+00:00 gpu-1 myapp: NVRM: Xid (PCI:0000:3b:00): 79", "myapp", id="an application's ISO line"),
        pytest.param("2026-11-22T02:51:16+00:00 NVRM: Xid (PCI:0000:3b:00): 79, x", "no tag|not by the kernel", id="an application's own log file"),
        pytest.param("Nov 22 02:51:16 gpu-1 kernel: myjob says NVRM: Xid (PCI:0000:3b:00): 79", "start", id="words inside a kernel message"),
        pytest.param("[  100.0] python[12]: NVRM: Xid (PCI:0000:3b:00): 79", "start", id="dmesg line of a process"),
        pytest.param("Nov 22 02:51:16 gpu-1 myapp: kernel: NVRM: Xid (PCI:0000:3b:00): 79", "myapp", id="a second tag"),
        pytest.param("Nov 22 02:51:16 gpu-1 kernel[812]: NVRM: Xid (PCI:0000:3b:00): 79", "kernel", id="a 'kernel' with a pid"),
        pytest.param("12,7,100000000,-;NVRM: Xid (PCI:0000:3b:00): 79, x", "facility 1", id="a process wrote to /dev/kmsg"),
        pytest.param("<12>[ 1.0] NVRM: Xid (PCI:0000:3b:00): 79, x", "facility 1", id="raw priority of a process"),
        pytest.param("user  :warn  : [ 1.0] NVRM: Xid (PCI:0000:3b:00): 79, x", "user", id="decoded facility user"),
        pytest.param("NVRM: Xid (PCI:0000:3b:00): 79, x", "nothing on the line", id="no stamp and no tag"),
        pytest.param("step 12 ok\rNVRM: Xid (PCI:0000:3b:00): 79, x", "nothing on the line", id="behind a carriage return"),
        pytest.param("[ 1.0] \x1b[2K NVRM: Xid (PCI:0000:3b:00): 79", "start", id="behind an erased line"),
        pytest.param("[ 1.0] NVRM: Xid (PCI:0000:3b:00): 0, x", "not a code", id="code 0"),
        pytest.param("[ 1.0] NVRM: Xid (PCI:nonsense): 79, x", "start", id="no PCI address"),
    ],
)  # fmt: skip
def test_a_line_that_imitates_the_driver_is_ignored_with_a_reason(line: str, reason: str) -> None:
    event = parse_line(line, now=NOW, boot_at=BOOT)
    assert isinstance(event, Ignored)
    assert any(part in event.reason for part in reason.split("|")), event.reason


def test_process_and_name_are_taken_from_the_report() -> None:
    event = parse_line("[1.0] NVRM: Xid (PCI:0000:03:00 GPU-I:05): 94, pid=4711, name=python, Ch 8")
    assert isinstance(event, XidEvent)
    assert (event.code, event.pid, event.name, event.at) == (94, 4711, "python", None)


def test_an_nvswitch_report_gives_an_sxid() -> None:
    line = "[9.5] nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error"
    event = parse_line(line, boot_at=BOOT)
    assert isinstance(event, SxidEvent)
    assert (event.code, event.pci, event.switch, event.fatal, event.link) == (12028, "0000:05:00", 3, False, 32)  # fmt: skip


def test_a_stamp_without_a_year_is_dated_into_the_past_not_the_future() -> None:
    january = datetime(2027, 1, 2, tzinfo=UTC)
    event = parse_line(f"Dec 31 23:00:00 gpu-1 kernel: {REPORT}", now=january)
    assert isinstance(event, XidEvent)
    assert event.at == datetime(2026, 12, 31, 23, tzinfo=UTC)


def test_a_log_keeps_events_and_refusals_apart() -> None:
    log = f"boot\n[1.0] {REPORT}\nNov 22 02:51:16 h app: {REPORT}\n"
    reading = parse_log(log)
    assert [type(e) for e in reading.events] == [XidEvent]
    assert [i.reason for i in reading.ignored] == ["written by 'app', not by the kernel"]
    assert reading.lines == 3


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_separator_but_newline_starts_a_line(separator: str) -> None:
    reading = parse_log(f"Nov 22 02:51:16 h app: hello{separator}[1.0] {REPORT}")
    assert reading.events == ()
    assert len(reading.ignored) == 1


@given(
    user=st.text(max_size=60).filter(lambda t: "\n" not in t),
    tag=st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True).filter(lambda t: t != "kernel"),
)
def test_whatever_a_process_logs_is_never_believed(user: str, tag: str) -> None:
    reading = parse_log(f"Nov 22 02:51:16 h {tag}[7]: {user}{REPORT}\n")
    assert reading.events == ()
    assert len(reading.ignored) == 1


@given(user=st.text(min_size=1, max_size=60).filter(lambda t: "\n" not in t))
def test_nothing_before_the_report_is_believed_behind_another_facility(user: str) -> None:
    assert parse_log(f"12,1,5,-;{user}{REPORT}\n").events == ()


_NASTY = st.text(alphabet=st.sampled_from(list("\x00\x1b[31m\r\t:;,.<>()[]0123456789NVRM: XidSPCkernel ٣é\u2028")))  # fmt: skip


@given(st.one_of(st.text(), _NASTY, st.builds("{}{}{}".format, _NASTY, st.just(REPORT), _NASTY)))
def test_no_text_breaks_the_parser_and_what_it_keeps_is_short_and_printable(text: str) -> None:
    reading = parse_log(text, now=NOW, boot_at=BOOT)
    for kept in (*reading.events, *reading.ignored):
        assert len(kept.line) <= MAX_TEXT
        assert kept.line.isprintable()
        if isinstance(kept, XidEvent):
            assert 0 < kept.code < 1000
            assert kept.text.isprintable()


def test_a_megabyte_on_one_line_is_cut() -> None:
    event = parse_line("[1.0] " + REPORT + "x" * 1_000_000)
    assert isinstance(event, XidEvent)
    assert len(event.text) <= MAX_TEXT


@pytest.mark.parametrize("address", ["00000000:3B:00.0", "0000:3b:00", "PCI:0000:3b:00", "0000:3B:00.0"])  # fmt: skip
def test_one_gpu_has_one_address(address: str) -> None:
    assert normal_pci(address) == "0000:3b:00"
