"""The kernel log, followed over cuts, rotations and restarts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from watchkeeper.adapters.kernel_log import KernelLog
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.incident import Trust


def line(code: int, bus: int = 0x10, age_s: float = 0.0) -> str:
    """As rsyslog writes it: unlike a count from boot, its stamp can be older than this boot."""
    at = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(timespec="microseconds")
    return f"{at} gpu-1 kernel: NVRM: Xid (PCI:0000:{bus:02x}:00): {code}, x\n"


def append(path: Path, *lines: str) -> None:
    with path.open("a") as log:
        log.writelines(lines)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kmsg"


def follow(path: Path, cursor: bool = False, **more: bool) -> KernelLog:
    return KernelLog(path, path.with_suffix(".cursor") if cursor else None, SystemClock(), **more)


def codes(log: KernelLog) -> list[str]:
    return [f.code for f in log.drain()]


def test_a_line_becomes_a_finding_of_the_kernel(path: Path) -> None:
    path.touch()
    log = follow(path, simulated=True)
    assert log.drain() == ()
    append(path, line(79, 0x13), "something else\n")
    (found,) = log.drain()
    assert (found.code, found.pci, found.value) == ("xid.79", "0000:13:00", None)
    assert (found.source, found.trust, found.simulated) == ("kernel-log", Trust.KERNEL, True)
    assert found.at is not None
    assert abs(datetime.now(UTC) - found.at) < timedelta(seconds=5)


def test_the_first_look_believes_only_what_its_own_stamp_says_is_recent(path: Path) -> None:
    append(path, line(13, age_s=3600), "Xx NVRM: Xid (PCI:0000:10:00): 31, x\n", line(48, age_s=5))
    log = follow(path)
    assert codes(log) == ["xid.48"]
    assert log.ignored == 1


def test_a_file_made_before_our_eyes_is_read_whole_whatever_its_stamps(path: Path) -> None:
    log = follow(path)
    assert codes(log) == []
    append(path, "[    1.0] NVRM: Xid (PCI:0000:10:00): 79, x\n")
    (found,) = log.drain()
    assert found.at is not None
    assert abs(datetime.now(UTC) - found.at) < timedelta(seconds=5)


def test_half_a_line_waits_for_its_end(path: Path) -> None:
    path.touch()
    log = follow(path)
    log.drain()
    whole = line(79)
    append(path, whole[:20])
    assert codes(log) == []
    append(path, whole[20:])
    assert codes(log) == ["xid.79"]


def test_a_cut_file_is_read_from_its_beginning(path: Path) -> None:
    append(path, "dull\n" * 100)
    log = follow(path)
    log.drain()
    path.write_text(line(94))
    assert codes(log) == ["xid.94"]


def test_a_rotated_file_loses_no_line(path: Path) -> None:
    path.touch()
    log = follow(path)
    log.drain()
    append(path, line(48))
    path.rename(path.with_suffix(".1"))
    path.write_text(line(94))
    assert codes(log) == ["xid.48", "xid.94"]


def test_a_restart_goes_on_where_it_was_and_repeats_nothing(path: Path) -> None:
    path.touch()
    first = follow(path, cursor=True)
    first.drain()
    append(path, line(48))
    assert codes(first) == ["xid.48"]
    first.close()
    append(path, line(94, age_s=3000))  # written while nobody watched, an hour ago
    second = follow(path, cursor=True)
    (missed,) = second.drain()
    assert missed.code == "xid.94"
    assert missed.at is not None
    assert datetime.now(UTC) - missed.at > timedelta(seconds=2900)  # told with its own time


def test_without_a_cursor_the_same_line_keeps_the_same_key(path: Path) -> None:
    append(path, line(48, age_s=5))
    assert [f.key for f in follow(path).drain()] == [f.key for f in follow(path).drain()]


def test_a_burst_of_one_fault_is_told_once_and_other_gpus_are_not_hushed(path: Path) -> None:
    path.touch()
    log = follow(path)
    log.drain()
    append(path, *(line(79, 0x10) for _ in range(50)), line(79, 0x11), line(48, 0x10))
    assert codes(log) == ["xid.79", "xid.79", "xid.48"]
    assert log.repeated == 49


def test_a_broken_cursor_is_no_reason_to_stop(path: Path) -> None:
    append(path, line(48, age_s=5))
    path.with_suffix(".cursor").write_text("{")
    assert codes(follow(path, cursor=True)) == ["xid.48"]


def test_a_cursor_that_cannot_be_written_costs_no_finding(path: Path) -> None:
    path.touch()
    log = KernelLog(path, path / "no" / "cursor", SystemClock())
    log.drain()
    append(path, line(79))
    assert codes(log) == ["xid.79"]


def test_a_file_without_line_ends_does_not_fill_memory(path: Path) -> None:
    path.touch()
    log = follow(path)
    log.drain()
    with path.open("ab") as out:
        out.write(b"x" * (9 * 1024 * 1024))
    for _ in range(4):
        assert log.drain() == ()
    append(path, "\n", line(79))
    assert codes(log) == ["xid.79"]


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="/dev/kmsg is not readable here")
def test_the_real_kernel_log_is_followed_and_a_processs_word_in_it_is_not_believed(
    tmp_path: Path,
) -> None:
    device = Path("/dev/kmsg")
    log = KernelLog(device, tmp_path / "cursor", SystemClock())
    log.drain()
    ignored = log.ignored
    try:
        device.write_text("<4>NVRM: Xid (PCI:0000:3b:00): 79, forged by a test\n")
    except OSError:
        pytest.skip("/dev/kmsg is not writable here")
    # Root may write to the device, but the kernel stamps it with facility `user`.
    assert log.drain() == ()
    assert log.ignored == ignored + 1
    again = KernelLog(device, tmp_path / "cursor", SystemClock())
    again.drain()
    assert again.ignored == 0  # the cursor outlived the reader
