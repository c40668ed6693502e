"""Lines of the fabric manager, of IMEX and of Ray's own daemons in, typed events out.

Asked by `diagnose`. The fabric manager writes /var/log/fabricmanager.log, or the journal under its
own tag; the raylet and the GCS write `[time level pid tid] (daemon) file.cc:line: message`. Only
the daemon's own words at the very start of its own message are read. Limit: a text file cannot
show who wrote it; these logs are as trustworthy as the uid that owns them, and Ray's is shared
with its tenants.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from watchkeeper.core.incident import Trust
from watchkeeper.core.word import Word
from watchkeeper.health.kernel_lines import MAX_LINE, Ignored, clean, since_boot

FABRIC, RAYLET, GCS = "fabric-manager", "raylet-log", "gcs-log"
TRUST = {FABRIC: Trust.DRIVER, RAYLET: Trust.RAY, GCS: Trust.RAY}


class NodeEvent(Word, frozen=True):
    """One fact of a daemon's log. code: as a signal's. host: who wrote it, where the line says;
    node: the first 12 digits of the Ray NodeID that it speaks of, else "". pci: the GPU that it is
    about, if it names one. value: as the signal's.
    """

    code: str
    source: str
    host: str = ""
    node: str = ""
    pci: str = ""
    value: float | None = None
    text: str = ""
    at: datetime | None = None
    line: str = ""


_LOOKS = re.compile(
    r"detected NVSwitch|number of NVSwitches don't match|failed to find the GPU handle"
    r"|No matching network interface found|\((?:gcs_server|raylet)\) [a-z_]{1,60}\.cc:\d"
)
_RAY_LOOKS = re.compile(r"\((?:gcs_server|raylet)\) [a-z_]{1,60}\.cc:\d")
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_OWN_FILE = re.compile(
    rf"\[((?:{_MONTH}) {{1,2}}\d{{1,2}} \d{{4}} \d\d:\d\d:\d\d)\] "
    r"\[([A-Z]{3,8})\] \[tid \d{1,10}\] ",
    re.ASCII,
)
JOURNAL = re.compile(
    rf"(?:(?P<bsd>(?:{_MONTH}) {{1,2}}\d{{1,2}} \d\d:\d\d:\d\d)(?:\.\d{{1,9}})?"
    r"|(?P<iso>\d{4}-\d\d-\d\dT[\d:.]{8,15}(?:Z|[+-]\d\d:?\d\d))"
    r"|\[ {0,12}(?P<boot>\d{1,12}\.\d{1,9})\]) "
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}) (?P<tag>[^\s\[:]{1,64})\[(?P<pid>\d{1,10})\]: ",
    re.ASCII,
)
_SWITCH = re.compile(
    r"detected NVSwitch (fatal|non-fatal) error (\d{1,6})(?![0-9])"
    r"(?: on (?:fid \d{1,4} on )?NVSwitch pci bus id [0-9a-fA-F:.]{1,20})?",
    re.ASCII,
)
_FABRIC_SAYS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"detected number of NVSwitches don't match with any supported system topology"),
        "fabric.down",
    ),
    (re.compile(r"failed to find the GPU handle \d{1,20} in the multicast team"), "fabric.nvlink"),
    (
        re.compile(r"No matching network interface found for any IP addresses in the node config"),
        "imex.down",
    ),
)
_DAEMONS = ("nv-fabricmanager", "nvidia-imex")
_RAY = re.compile(
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([DIWEFC]) \d{1,10} \d{1,10}\] "
    r"\((gcs_server|raylet)\) ([a-z_]{1,60}\.cc):\d{1,6}: (.*)",
    re.DOTALL | re.ASCII,
)
_ID = r"([0-9a-f]{28,64})(?![0-9a-f])"
_GCS_SAYS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "gcs_health_check_manager.cc",
        re.compile(rf"Node is dead because the health check failed\. +node_id={_ID}"),
        "node.dead",
    ),
    (
        "gcs_node_manager.cc",
        re.compile(rf"The node with node id: {_ID} .{{0,300}}has been marked dead", re.DOTALL),
        "node.dead",
    ),
)
_RAYLET_SAYS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\[Timeout\] Exiting because this node manager has mistakenly been marked"),
        "node.dead",
    ),
    (re.compile(r"The raylet exited immediately because one Ray agent failed"), "node.raylet_exit"),
    (re.compile(r"(\d{1,6}) Workers \(tasks / actors\) killed due to memory pressure"), "node.oom"),
)


def parse_node_line(
    line: str, *, now: datetime | None = None, boot_at: datetime | None = None
) -> NodeEvent | Ignored | None:
    """One line; None when it says nothing of a fault. now dates stamps that carry no year, boot_at
    those that count from boot; stamps without a zone are read as UTC. Never raises for what the
    line holds."""
    text = line[:MAX_LINE].rstrip("\r\n")
    if _LOOKS.search(text) is None:
        return None
    if found := _RAY.match(text):
        return _of_ray(found, clean(line))
    if found := _OWN_FILE.match(text):
        return _of_switch(text[found.end() :], _named(found[1]), "", clean(line))
    if found := JOURNAL.match(text):
        if found["tag"] not in _DAEMONS:
            reason = f"written by {clean(found['tag'], 80)!r}, not by the fabric manager"
            return Ignored(reason=reason, line=clean(line))
        at = journal_time(found, now, boot_at)
        return _of_switch(text[found.end() :], at, found["host"], clean(line))
    if not _RAY_LOOKS.search(text):
        return Ignored(reason="nothing shows that the fabric manager wrote it", line=clean(line))
    return None


def journal_time(
    found: re.Match[str], now: datetime | None, boot_at: datetime | None
) -> datetime | None:
    """When a line of the journal was written. found: a match of JOURNAL."""
    if found["boot"]:
        return since_boot(boot_at, float(found["boot"]))
    return _iso(found["iso"]) if found["iso"] else _bsd(found["bsd"], now)


def _of_switch(message: str, at: datetime | None, host: str, line: str) -> NodeEvent | Ignored:
    for says, code in _FABRIC_SAYS:
        if says.match(message):
            return NodeEvent(
                code=code, source=FABRIC, host=host, text=clean(message), at=at, line=line
            )
    found = _SWITCH.match(message)
    if found is None:
        reason = "the fabric manager's words do not start its message"
        return Ignored(reason=reason, line=line)
    return NodeEvent(
        code=f"sxid.{int(found[2])}",
        source=FABRIC,
        host=host,
        value=1.0 if found[1] == "fatal" else 0.0,
        text=clean(message),
        at=at,
        line=line,
    )


def _of_ray(found: re.Match[str], line: str) -> NodeEvent | None:
    daemon, file, message = found[4], found[5], found[6]
    at = _plain(found[1], int(found[2]))
    if daemon == "gcs_server":
        for where, says, code in _GCS_SAYS:
            if file == where and (named := says.match(message)):
                node = named[1][:12]
                return NodeEvent(
                    code=code, source=GCS, node=node, text=clean(message), at=at, line=line
                )
        return None
    for says, code in _RAYLET_SAYS:
        if told := says.match(message):
            value = float(told[1]) if told.groups() else None
            return NodeEvent(
                code=code, source=RAYLET, value=value, text=clean(message), at=at, line=line
            )
    if found[3] in "FC" and "Check failed:" in message[:600]:
        return NodeEvent(
            code="node.raylet_exit", source=RAYLET, text=clean(message), at=at, line=line
        )
    return None


def _named(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%b %d %Y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _plain(text: str, millis: int) -> datetime | None:
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
    return at + timedelta(milliseconds=millis)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _bsd(text: str, now: datetime | None) -> datetime | None:
    """No year: this one, or the last where that would lie ahead."""
    if now is None:
        return None
    month, day, clock = text.split()
    for year in (now.year, now.year - 1):
        at = _named(f"{month} {day} {year} {clock}")
        if at is not None and at <= now + timedelta(days=1):
            return at
    return None
