"""Lines of a kernel log in, typed GPU events out. Asked by the kernel-log collector and by
`diagnose`.

A line is believed only when the kernel wrote it: facility 0 in a /dev/kmsg record, the tag
`kernel:` in syslog or journal text, or dmesg's own stamp; and only when the driver's words stand
at the very start of the kernel's message. Whatever else looks like an Xid is returned as
`Ignored`, with the reason. Limit: a syslog text file cannot show that `logger -t kernel` was run
by a user; the live collector therefore reads /dev/kmsg, where the kernel itself keeps facility 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from watchkeeper.core.word import Word

MAX_LINE = 4096
"""Characters of a line that are looked at. A printk record is at most 1 KiB."""
MAX_TEXT = 400


class XidEvent(Word, frozen=True):
    """The NVIDIA driver reported an Xid. pci as `0000:3b:00`; pid and name are of the process
    that the driver names, if any; at is None when the line has no usable time."""

    code: int
    pci: str
    pid: int | None = None
    name: str = ""
    text: str = ""
    at: datetime | None = None
    line: str = ""


class SxidEvent(Word, frozen=True):
    """The NVSwitch driver reported an SXid. fatal is None where the line does not say."""

    code: int
    pci: str
    switch: int | None = None
    fatal: bool | None = None
    link: int | None = None
    text: str = ""
    at: datetime | None = None
    line: str = ""


class Ignored(Word, frozen=True):
    """A line that looks like a driver's report and is not believed, and why."""

    reason: str
    line: str = ""


KernelEvent: TypeAlias = XidEvent | SxidEvent


class KernelReading(Word, frozen=True):
    """What a whole log said. lines counts all lines, the dull ones included."""

    events: tuple[KernelEvent, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    lines: int = 0


_ANSI = re.compile(r"\x1b\[[0-9;]{0,16}m")
_KMSG = re.compile(r"(\d{1,6}),(\d{1,20}),(\d{1,20}),[^;]{0,80};(.*)", re.DOTALL)
_PRIORITY = re.compile(r"<(\d{1,4})>")
_DECODED = re.compile(r"([a-z0-9]{1,10})\s*:([a-z]{1,8})\s*: ")  # dmesg --decode: `kern  :warn  : `
_MONOTONIC = re.compile(r"\[\s{0,12}(\d{1,12}\.\d{1,9})\]\s?")
_CALLER = re.compile(r"\[\s{0,8}[TC]\d{1,8}\]\s?")
_CTIME = re.compile(
    r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) {1,2}(\d{1,2})"
    r" (\d\d):(\d\d):(\d\d) (\d{4})\]\s?"
)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:([.,])(\d{1,9}))?(Z|[+-]\d\d:?\d\d)? {1,4}", re.ASCII
)
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d{1,9})? {1,4}")
_TAGGED = re.compile(r"(\S{1,255}) {1,4}([^\s:\[]{1,64})(\[[^\]\s]{0,32}\])?: ?")
_DEVICE = re.compile(
    r"[a-z0-9_]{1,32} (?:[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]|nvme\d{1,3})[: ]", re.ASCII
)
"""How the kernel begins a device's message: its driver, and its address. No host is called so."""
_MONTHS = {
    "Jan": 1,
    "Feb": 2,
    "Mar": 3,
    "Apr": 4,
    "May": 5,
    "Jun": 6,
    "Jul": 7,
    "Aug": 8,
    "Sep": 9,
    "Oct": 10,
    "Nov": 11,
    "Dec": 12,
}

_PCI = r"(?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-9a-f])?)"
_XID = re.compile(
    rf"NVRM: Xid \({_PCI}(?: [^)]{{0,40}})?\): (\d{{1,4}})(?![0-9])(?:, ?)?(.*)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_SXID = re.compile(
    rf"nvidia-nvswitch(\d{{1,3}}): SXid \({_PCI}\): (\d{{1,6}})(?![0-9])(?:, ?)?(.*)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_PID = re.compile(r"pid='?(\d{1,10})'?(?=[,\s]|$)", re.ASCII)
_NAME = re.compile(r"name=([^,]{1,64})")
_LINK = re.compile(r"\blink (\d{1,4})\b", re.IGNORECASE | re.ASCII)
_LOOKS = re.compile(r"NVRM: ?Xid|SXid \(", re.IGNORECASE)


def parse_line(
    line: str, *, now: datetime | None = None, boot_at: datetime | None = None
) -> KernelEvent | Ignored | None:
    """One line of any of the known formats; None when it says nothing about a GPU.

    now: dates stamps that carry no year. boot_at: dates stamps that count from boot. Stamps
    without a zone are read as UTC. Never raises for what the line holds.
    """
    if _LOOKS.search(line[:MAX_LINE]) is None:
        return None
    shown = clean(line)
    text = _ANSI.sub("", line[:MAX_LINE]).rstrip("\r\n")
    said = kernel_message(text, now, boot_at)
    if isinstance(said, str):
        return Ignored(reason=said, line=shown)
    message, at = said
    if found := _XID.match(message):
        code = int(found[2])
        if not 0 < code < 1000:
            return Ignored(reason=f"Xid {code} is not a code", line=shown)
        pid, name = _PID.search(found[3]), _NAME.search(found[3])
        return XidEvent(
            code=code,
            pci=normal_pci(found[1]),
            pid=int(pid[1]) if pid else None,
            name="" if name is None or name[1] == "<unknown>" else clean(name[1], 64),
            text=clean(found[3]),
            at=at,
            line=shown,
        )
    if found := _SXID.match(message):
        rest = found[4]
        link = _LINK.search(rest)
        return SxidEvent(
            code=int(found[3]),
            pci=normal_pci(found[2]),
            switch=int(found[1]),
            fatal=_fatality(rest),
            link=int(link[1]) if link else None,
            text=clean(rest),
            at=at,
            line=shown,
        )
    return Ignored(reason="the driver's words do not start the kernel's message", line=shown)


def parse_lines(
    lines: Iterable[str], *, now: datetime | None = None, boot_at: datetime | None = None
) -> KernelReading:
    """Every line of a log, in order."""
    events: list[KernelEvent] = []
    ignored: list[Ignored] = []
    count = 0
    for line in lines:
        count += 1
        match parse_line(line, now=now, boot_at=boot_at):
            case None:
                pass
            case Ignored() as refused:
                ignored.append(refused)
            case event:
                events.append(event)
    return KernelReading(events=tuple(events), ignored=tuple(ignored), lines=count)


def parse_log(
    text: str, *, now: datetime | None = None, boot_at: datetime | None = None
) -> KernelReading:
    """A whole log. Lines end at newline only: `str.splitlines` would also split at the carriage
    returns and Unicode separators that a tenant can put inside a line."""
    lines = text.split("\n")
    return parse_lines(lines[:-1] if lines[-1] == "" else lines, now=now, boot_at=boot_at)


def normal_pci(address: str) -> str:
    """`00000000:3B:00.0`, `PCI:0000:3b:00` and the like as `0000:3b:00`."""
    domain, _, rest = address.lower().removeprefix("pci:").partition(":")
    return f"{domain[-4:].zfill(4)}:{rest.partition('.')[0]}"


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text fit to be shown: capped, and without control characters."""
    return "".join(c if c.isprintable() else "�" for c in text[:limit].strip())


def kernel_message(
    text: str, now: datetime | None, boot_at: datetime | None
) -> tuple[str, datetime | None] | str:
    """The kernel's own message and its time, or the reason why this is not one. text: one line,
    capped, without colours. Also asked by `host_lines`."""
    if record := _KMSG.match(text):
        if int(record[1]) >> 3 != 0:
            return f"facility {int(record[1]) >> 3} is not the kernel's"
        return record[4], since_boot(boot_at, int(record[3]) / 1e6)
    if priority := _PRIORITY.match(text):
        if int(priority[1]) >> 3 != 0:
            return f"facility {int(priority[1]) >> 3} is not the kernel's"
        text = text[priority.end() :]
    if decoded := _DECODED.match(text):
        if decoded[1] != "kern":
            return f"facility {decoded[1]!r} is not the kernel's"
        text = text[decoded.end() :]
    at, rest, stamp = _stamp(text, now, boot_at)
    if not stamp:
        return "nothing on the line shows that the kernel wrote it: no stamp, no kernel tag"
    if stamp == "syslog":
        tag = _TAGGED.match(rest)
        if tag is None:
            return "the line has a syslog time, but no tag"
        return _tagged(tag, rest, at, boot_at)
    if not _starts_report(rest) and not _DEVICE.match(rest):
        # journalctl -o short-monotonic: `[12.3] host kernel: ...`
        tag = _TAGGED.match(rest)
        if tag is not None and tag[2] != "NVRM":
            return _tagged(tag, rest, at, boot_at)
    return rest, at


def _tagged(
    tag: re.Match[str], rest: str, at: datetime | None, boot_at: datetime | None
) -> tuple[str, datetime | None] | str:
    """The message behind `host tag: `, if the tag is the kernel's. The kernel has no pid."""
    if tag[2] != "kernel" or tag[3]:
        return f"written by {clean(tag[2] + (tag[3] or ''), 80)!r}, not by the kernel"
    message = rest[tag.end() :]
    if since := _MONOTONIC.match(message):
        message = message[since.end() :]
        at = at or since_boot(boot_at, float(since[1]))
    return _without_caller(message), at


def _stamp(
    text: str, now: datetime | None, boot_at: datetime | None
) -> tuple[datetime | None, str, str]:
    """(time, what follows it, kind of stamp or "")."""
    if found := _MONOTONIC.match(text):
        return since_boot(boot_at, float(found[1])), _without_caller(text[found.end() :]), "dmesg"
    if found := _CTIME.match(text):
        at = _date(int(found[6]), found[1], found[2], found[3], found[4], found[5])
        return at, _without_caller(text[found.end() :]), "dmesg"
    if found := _ISO.match(text):
        # Only dmesg writes a comma before the fraction. Applications write ISO times too, so
        # without the comma the line must name its author, as syslog does.
        kind = "dmesg" if found[2] == "," and found[4] else "syslog"
        return _iso(found), _without_caller(text[found.end() :]), kind
    if found := _SYSLOG.match(text):
        at = None
        if now is not None and found[1] in _MONTHS:
            at = _date(now.year, *found.groups())
            if at is not None and at > now + timedelta(days=1):
                at = _date(now.year - 1, *found.groups())
        return at, text[found.end() :], "syslog"
    return None, text, ""


def _starts_report(text: str) -> bool:
    return text.startswith(("NVRM: ", "nvidia-nvswitch"))


def _without_caller(text: str) -> str:
    """Kernels built with PRINTK_CALLER add `[T1234]`."""
    caller = _CALLER.match(text)
    return text[caller.end() :] if caller else text


def since_boot(boot_at: datetime | None, seconds: float) -> datetime | None:
    """The time that a stamp counted from boot names; None where the boot's is not known."""
    if boot_at is None:
        return None
    try:
        return boot_at + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _date(year: int, month: str, day: str, hour: str, minute: str, second: str) -> datetime | None:
    try:
        return datetime(
            year, _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError:
        return None


def _iso(found: re.Match[str]) -> datetime | None:
    zone = (found[4] or "Z").replace("Z", "+00:00")
    fraction = f".{found[3][:6].ljust(6, '0')}" if found[3] else ""
    try:
        return datetime.fromisoformat(f"{found[1]}{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _fatality(text: str) -> bool | None:
    lead = text[:40].lower()
    if "non-fatal" in lead or "nonfatal" in lead:
        return False
    return True if "fatal" in lead else None
