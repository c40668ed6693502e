"""`watchkeeper diagnose`: a kernel log in, what it says and what would be proposed out."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from watchkeeper.app.diagnose import as_json, as_text, diagnose, run
from watchkeeper.core.errors import UsageError

GOLDEN = Path(__file__).parents[1] / "golden" / "diagnose"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""Dates the syslog lines, which carry no year."""
LOGS = sorted(p.stem for p in GOLDEN.glob("*.log"))


def read(name: str):
    return diagnose((GOLDEN / f"{name}.log").read_bytes().decode("utf-8", "replace"), now=NOW)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("form", ["txt", "json"])
def test_golden(name, form):
    """After a change on purpose: delete the file, run again, read the diff."""
    found = read(name)
    said = as_text(found, f"{name}.log") if form == "txt" else as_json(found)
    golden = GOLDEN / f"{name}.{form}"
    if not golden.exists():
        golden.write_text(said + "\n")
        pytest.fail(f"wrote {golden.name}; read it and run again")
    assert said + "\n" == golden.read_text()


def actions(name: str) -> list[str]:
    return [p["action"] for p in json.loads(as_json(read(name)))["proposals"]]


def test_a_gpu_off_the_bus_gets_cordon_drain_and_reboot_and_never_a_reset():
    steps = actions("off_bus")
    assert steps[:3] == ["node.cordon", "node.drain", "node.reboot"]
    assert "gpu.reset" not in steps


def test_the_json_has_exactly_the_four_parts_of_the_contract():
    out = json.loads(as_json(read("memory")))
    assert list(out) == ["signals", "incidents", "proposals", "ignored"]
    assert set(out["signals"][0]) == {"code", "target", "time", "source", "trust"}
    assert set(out["incidents"][0]) == {"target", "class", "hypotheses"}
    assert set(out["proposals"][0]) == {"action", "targets", "reason", "rung"}
    assert set(out["ignored"][0] if out["ignored"] else {"reason": "", "line": ""}) == {
        "reason",
        "line",
    }


def test_s22_a_line_that_imitates_the_kernel_is_not_believed_and_the_reason_is_given():
    out = json.loads(as_json(read("imitated")))
    assert out["signals"] == out["incidents"] == out["proposals"] == []
    assert len(out["ignored"]) == 4
    assert all(i["reason"] for i in out["ignored"])


def test_hosts_of_one_log_are_kept_apart():
    targets = {i["target"] for i in json.loads(as_json(read("memory")))["incidents"]}
    assert targets == {"gpu:gpu-07/pci:0000:5e:00", "gpu:gpu-08/pci:0000:86:00"}


def test_only_actions_that_somebody_serves_are_proposed():
    text = (GOLDEN / "off_bus.log").read_text()
    found = diagnose(text, frozenset({"node.cordon"}), NOW)
    assert [p.action for p in found.proposals] == ["node.cordon"]


@pytest.mark.parametrize("name", LOGS)
def test_reading_twice_says_the_same_and_nothing_was_touched(name):
    assert as_json(read(name)) == as_json(read(name))
    assert as_text(read(name), name).endswith("Nothing was touched.")


def test_a_long_storm_is_read_in_reasonable_time_and_shown_short():
    line = "[{n}.000001] NVRM: Xid (PCI:0000:3b:00): 13, pid=1, name=x, Graphics Exception\n"
    found = diagnose("".join(line.format(n=n) for n in range(20_000)), now=NOW)
    assert len(found.signals) == 20_000
    assert len(found.incidents[0].signals) == 8
    assert len(as_text(found, "storm.log").splitlines()) < 30


WRONG = {
    "missing": (None, "There is no file"),
    "binary": (b"\x7fELF\x02\0\0\0", "is binary"),
    "gzip": (b"\x1f\x8b\x08\0", "is compressed"),
    "utf-16": ("[1.0] words\n".encode("utf-16"), "iconv -f utf-16"),
}


@pytest.mark.parametrize(("data", "says"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_no_log_gets_one_clear_sentence(tmp_path, data, says):
    path = tmp_path / "kern.log"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=says):
        run(str(path))


def test_no_name_and_a_name_that_leads_nowhere_get_one_clear_sentence(tmp_path):
    with pytest.raises(UsageError, match="No file is named"):
        run("")
    ring = tmp_path / "ring"
    ring.symlink_to(ring)
    with pytest.raises(UsageError, match=r"Too many levels of symbolic links\.$"):
        run(str(ring))


def test_a_byte_order_mark_hides_no_fault_on_the_first_line(tmp_path):
    path = tmp_path / "kern.log"
    path.write_bytes(b"\xef\xbb\xbf[1.0] NVRM: Xid (PCI:0000:3b:00): 79, fallen off the bus\n")
    assert "1 line, 1 event." in run(str(path))


def test_a_directory_gets_one_clear_sentence(tmp_path):
    with pytest.raises(UsageError, match="is a directory"):
        run(str(tmp_path))


def test_a_huge_file_is_refused_with_the_way_to_cut_it(tmp_path, monkeypatch):
    monkeypatch.setattr("watchkeeper.app.diagnose.MAX_BYTES", 2**20)
    path = tmp_path / "kern.log"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(UsageError, match="tail -c 1M"):
        run(str(path))


def test_the_command_prints_json_or_text(tmp_path):
    path = tmp_path / "kern.log"
    path.write_bytes((GOLDEN / "off_bus.log").read_bytes())
    assert json.loads(run(str(path), json=True))["signals"][0]["code"] == "xid.79"
    assert "node.reboot" in run(str(path))


def classes(name: str) -> dict[str, str]:
    return {i["target"]: i["class"] for i in json.loads(as_json(read(name)))["incidents"]}


def test_lines_about_the_host_are_believed_when_they_persist_and_only_of_the_kernel():
    found = classes("host")
    assert "node:gpu-11" not in found, "a port that went down once and came back"
    assert found["node:gpu-12"] == "network_link"
    assert found["gpu:gpu-13/pci:0000:3b:00"] == "pcie"
    assert "node:gpu-14" not in found, "one corrected PCIe error"
    assert found["node:gpu-15"] == "node_suspect"
    assert found["node:gpu-16"] == "application"
    assert found["node:gpu-17"] == "gpu_hands_on"
    assert "node:gpu-18" not in found, "a program that prints a kernel's line"


def test_services_are_believed_of_the_system_and_not_of_a_users_own_systemd():
    found = classes("services")
    assert found["node:gpu-21"] == "gpu_hands_on"
    assert found["node:gpu-22"] == "gpu_notice"
    assert found["node:gpu-23"] == "node_lost"
    assert found["node:gpu-24"] == "gpu_notice"
    assert "node:gpu-25" not in found, "a user's systemd may end what it likes"
    assert "node:gpu-26" not in found, "a service of no concern"
    assert found["node:this-host"] == "nvlink"


ENDED = "nvidia-fabricmanager.service: Main process exited, code=exited, status=1/FAILURE"
SWITCH = "detected NVSwitch fatal error 20034 on fid 0"
NOV_2 = "2026-11-02T10:00:00Z"
STAMPS = {
    "journalctl": (f"Nov  2 10:00:00 h systemd[1]: {ENDED}", NOV_2),
    "a day without padding": (f"Nov 2 10:00:00 h systemd[1]: {ENDED}", NOV_2),
    "short-precise": (f"Nov 20 10:00:00.123456 h systemd[1]: {ENDED}", "2026-11-20T10:00:00Z"),
    "short-iso": (f"2026-11-20T11:00:00+0100 h systemd[1]: {ENDED}", "2026-11-20T10:00:00Z"),
    "short-monotonic": (f"[  345.678901] h systemd[1]: {ENDED}", "boot+345.679s"),
    "of a day that is none": (f"Nov 31 25:61:00 h systemd[1]: {ENDED}", None),
    "the daemon's own": (f"[Nov  2 2026 10:00:00] [ERROR] [tid 7] {SWITCH}", NOV_2),
    "the same, unpadded": (f"[Nov 2 2026 10:00:00] [ERROR] [tid 7] {SWITCH}", NOV_2),
}  # fmt: skip


@pytest.mark.parametrize(("line", "time"), STAMPS.values(), ids=STAMPS)
def test_a_services_line_is_read_with_every_stamp_that_the_journal_writes(line, time):
    (signal,) = json.loads(as_json(diagnose(line, now=NOW)))["signals"]
    assert signal["time"] == time
    assert signal["code"] in ("fabric.down", "sxid.20034")


def corrected(*seconds: float, says: str = "Corrected error received: 0000:17:00.0"):
    lines = (f"[{s:.1f}] pcieport 0000:16:01.0: AER: {says}" for s in seconds)
    return {i.fault for i in diagnose("\n".join(lines), now=NOW).incidents}


def codes_of(line: str) -> list[str]:
    return [s["code"] for s in json.loads(as_json(diagnose(line, now=NOW)))["signals"]]


DEVICES = {
    "a port": ("mlx5_core 0000:9a:00.0 ens9np0: Link down", "nic.down"),
    "a slot": ("pcieport 0000:16:01.0: AER: Uncorrectable (Fatal) error received: x", "pcie.aer"),
    "a disk": ("nvme nvme0: controller is down; will reset: CSTS=0xffffffff", "storage.stall"),
    "a mount": ("nfs: server fs1 not responding, still trying", "storage.stall"),
    "a processor": ("mce: [Hardware Error]: CPU 12: Machine Check: 0 Bank 7: be", "host.mce"),
    "memory": ("Out of memory: Killed process 81231 (python3)", "node.oom"),
}


@pytest.mark.parametrize(("says", "code"), DEVICES.values(), ids=DEVICES)
def test_a_hosts_line_is_read_from_dmesg_as_from_the_journal_and_of_no_program(says, code):
    for stamp in ("[   12.345678] ", "[   12.345678] h kernel: ", "Nov 20 10:00:00 h kernel: "):
        assert codes_of(stamp + says) == [code], stamp
    for stamp in ("[   12.345678] h python3[7]: ", "[   12.345678] h python3: ", "", "kernel: "):
        assert codes_of(stamp + says) == [], stamp


def test_corrected_pcie_errors_are_a_fault_by_their_rate_alone():
    assert corrected(*range(0, 3600, 10)) == set(), "six a minute, for an hour"
    bursts = [start + k / 10 for start in (0, 30, 60) for k in range(10)]
    assert corrected(*bursts) == {"pcie"}, "ten at once, three times"
    assert corrected(*bursts[:10]) == set(), "ten at once that do not come again"
    newer = "Correctable error message received from 0000:17:00.0"
    assert corrected(*bursts, says=newer) == {"pcie"}


def test_one_reading_of_a_link_is_shown_and_said_to_prove_nothing():
    line = "[1.0] mlx5_core 0000:9a:00.0 ens9np0: Link down"
    found = diagnose(line, now=NOW)
    assert found.incidents == ()
    assert "a network port went down, not borne out" in as_text(found, "x.log")
    thrice = "\n".join(line.replace("1.0", f"{60 * n}.0") for n in range(1, 4))
    assert "not borne out" not in as_text(diagnose(thrice, now=NOW), "x.log")


def test_what_a_broken_log_says_besides_is_still_read():
    """Torn lines, bytes of no text, a line of a megabyte: none of them hides the one beside it."""
    xid = b"[5.0] NVRM: Xid (PCI:0000:3b:00): 48, pid=1, name=x, DBE\n"
    torn = b"[4.9] NVRM: Xid (PCI:0000:3b\n" + bytes(range(1, 256)) + b"\n" + b"y" * 10**6 + b"\n"
    found = diagnose((torn + xid + torn).decode("utf-8", "replace"), now=NOW)
    assert [s.code for s in found.signals] == ["xid.48"]
    assert [i.fault for i in found.incidents] == ["gpu_memory"]
