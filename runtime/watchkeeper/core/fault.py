"""The closed set of fault classes: what health finds and remedy has a ladder for.

`Incident.fault` and the policy fact `incident.class` carry these names.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from watchkeeper.core.cluster import CheckResult, Job, JobState
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident, Signal, Trust


class Fault(StrEnum):
    """One class of fault. docs/faults.md has evidence and ladder of each."""

    NODE_LOST = "node_lost"
    NODE_SILENT = "node_silent"
    GPU_OFF_BUS = "gpu_off_bus"
    GPU_DRIVER = "gpu_driver"
    GPU_HARDWARE = "gpu_hardware"
    GPU_MEMORY = "gpu_memory"
    NVLINK = "nvlink"
    GPU_HANDS_ON = "gpu_hands_on"
    """Documented, and only a person can mend it: cordon and ticket."""
    GPU_UNKNOWN = "gpu_unknown"
    """In no catalogue of ours, or not decodable: a ticket and nothing else."""
    GPU_RMA = "gpu_rma"
    """Memory past what remapping can mend: the part is replaced, nothing else helps."""
    GPU_MEMORY_CONTAINED = "gpu_memory_contained"
    """Cost one job at most; the GPU wants a reset at its next drain."""
    GPU_NOTICE = "gpu_notice"
    """Worth a ticket, not an action."""
    GPU_THERMAL = "gpu_thermal"
    """Clocks cut because of heat: cooling, which no reboot mends."""
    GPU_POWER_BRAKE = "gpu_power_brake"
    """Clocks cut by the power brake: a supply or the rack's feed."""
    NETWORK_LINK = "network_link"
    PCIE = "pcie"
    NODE_FLAPPING = "node_flapping"
    """Its raylet dies again and again: each restart helps for a while, and mends nothing."""
    NODE_SUSPECT = "node_suspect"
    """No code at all: it differs from its peers in a gang that hangs or is slow."""
    GANG_HANG = "gang_hang"
    GANG_SLOW = "gang_slow"
    GANG_NAN = "gang_nan"
    STORAGE_STALL = "storage_stall"
    """Many gangs starve at once: storage or the data's way, and no GPU's fault."""
    DOMAIN_DOWN = "domain_down"
    """Many nodes of one rack, switch or feed together: one fault of the domain."""
    SENSOR = "sensor"
    """A reading that cannot be true, or stands still: a fault of the instrument."""
    APPLICATION = "application"
    JOB_STOPPED = "job_stopped"
    CAPACITY_SHORT = "capacity_short"
    SOURCE_LOST = "source_lost"


REPAIRED_ON_NODE = frozenset(
    {
        Fault.NODE_LOST,
        Fault.GPU_OFF_BUS,
        Fault.GPU_DRIVER,
        Fault.GPU_HARDWARE,
        Fault.GPU_MEMORY,
        Fault.NVLINK,
        Fault.GPU_RMA,
        Fault.NETWORK_LINK,
        Fault.PCIE,
        Fault.NODE_FLAPPING,
        Fault.NODE_SUSPECT,
    }
)
"""Faults whose ladder may take a node out of service."""

UNHEALTHY_NODE = REPAIRED_ON_NODE | {Fault.NODE_SILENT, Fault.GPU_HANDS_ON}
"""Faults that count as a node turned unhealthy (S9)."""

GANG_FAULTS = frozenset({Fault.GANG_HANG, Fault.GANG_SLOW, Fault.GANG_NAN})
"""Faults of a gang that runs on, with no word from an instrument of a node."""

NAN_PROOF_S = 1800.0
"""How long a gang whose loss was no number must run from a clean checkpoint before it counts as
well: the restart, and some hundred steps (ours)."""
CHECK_TELLS = frozenset(
    {
        Fault.GPU_HARDWARE,
        Fault.GPU_DRIVER,
        Fault.NVLINK,
        Fault.NETWORK_LINK,
        Fault.PCIE,
        Fault.NODE_SUSPECT,
        Fault.GPU_THERMAL,
        Fault.GPU_POWER_BRAKE,
    }
)
"""Faults that a short real workload on the node meets, or shows to be over. It says nothing of
memory (the next row may be hit tomorrow), and what left the bus needs no check to be known."""


_OF_ROWS = frozenset(
    {
        "xid.63",
        "xid.64",
        "xid.94",
        "xid.95",
        "xid.171",
        "ecc.dbe",
        "ecc.remap_pending",
        "ecc.remap_failure",
    }
)


def check_tells(incident: Incident) -> bool:
    """Whether a check meets this incident's fault. Of memory: an error of which the driver says
    that it was SRAM (Xid 172), and nothing of a row, is mostly one upset. Whether it stays shows
    under load; what does not may wait with its reset for the next drain."""
    codes = {s.code for s in incident.signals}
    sram = incident.fault == Fault.GPU_MEMORY and "xid.172" in codes and not codes & _OF_ROWS
    return incident.fault in CHECK_TELLS or sram


def cleared(incident: Incident, check: CheckResult | None, incarnation: str) -> bool:
    """Did a check of this incarnation pass that began after the last word against its node?"""
    if check is None or check.at is None or not check_tells(incident):
        return False
    if check.passed is not True or check.incarnation != incarnation:
        return False
    return all(s.at <= check.at for s in _of_its_node(incident))


PROOF_S = 300.0
"""Steps for so long after the last word of a fault are a check as good as ours (ours)."""
STEP_SEEN_S = 300.0
"""A step so long ago says nothing of now (ours)."""
_STOPS_WORK = frozenset({Fault.GPU_HARDWARE, Fault.GPU_DRIVER, Fault.NVLINK, Fault.GPU_MEMORY})
"""Faults with which no gang makes a step; of others it may only crawl."""


def steps_may_end(incident: Incident) -> bool:
    """Whether a gang's next steps may show that it is over: of what stops all work, and of a node
    that stands out in a gang that hung. For who skips quiet stretches."""
    if incident.fault == Fault.NODE_SUSPECT:
        return not any(s.code == "gang.nan" for s in incident.signals)
    return incident.fault in _STOPS_WORK and check_tells(incident)


_CRAWLS = frozenset({"gang.slow", "gang.nan"})
"""Steps that are slow, or worth nothing, prove nothing."""
PACED = "gang.paced"
"""Told once of an attempt that was slow and is as fast as it was."""


def works_since_s(incident: Incident, now: datetime, jobs: Iterable[Job]) -> float | None:
    """For how long after the last word against a node, and after it began, a gang has made steps on
    it; None where none did, or where steps tell nothing of such a fault. jobs: those that run on
    the node."""
    words = [s.at for s in _of_its_node(incident)]
    if not words or incident.fault not in _STOPS_WORK or not check_tells(incident):
        return None
    newest = max(words)
    steps = [
        (job.step_at - max(newest, job.state_since)).total_seconds()
        for job in jobs
        if job.state is JobState.RUNNING and job.step_at is not None and job.step_at > newest
        if job.step_at >= job.state_since and (now - job.step_at).total_seconds() < STEP_SEEN_S
    ]
    return max(steps, default=None)


POLLED = frozenset({"ib.link_down", "ib.symbol_errors", "pcie.width", "nvlink.errors"})
"""Counters that a host's collector reads each minute (`READ_EVERY_S`), and tells of for as long as
they are over their threshold: of these, and of nothing that a kernel said once, silence says that
it is over."""
READ_EVERY_S = 60.0
GONE_S = 150.0
"""Two readings and a half without a word: the counter is back below its threshold (ours)."""


_LEVELS = frozenset({Fault.NETWORK_LINK, Fault.PCIE, Fault.NVLINK, Fault.NODE_SUSPECT})


def last_reading(incident: Incident) -> datetime | None:
    """When a counter last spoke against this incident's node; None where none did."""
    return max((s.at for s in _of_its_node(incident) if _is_polled(s)), default=None)


_BESIDE = frozenset({"pcie.aer", "gang.suspect"})
"""A PCIe error in the log is one that was, beside a link whose width is read; a node that stands
out in its gang is told of anew for as long as it does."""


def only_polled(incident: Incident) -> bool:
    """Whether counters alone speak of it: nothing that would stay true without being told again."""
    return all(_is_polled(s) or s.code in _BESIDE for s in _of_its_node(incident))


def quiet_for_s(incident: Incident, now: datetime) -> float | None:
    """Seconds since anything was told that is told again and again while it lasts; None where
    something else speaks of its node, which stays true until its next life, or nothing does."""
    levels = [
        s for s in incident.signals if _is_polled(s) or s.code in ("gang.slow", "gang.suspect")
    ]
    if not levels or not only_polled(incident):
        return None
    return (now - max(s.at for s in levels)).total_seconds()


def is_over(
    incident: Incident, now: datetime, jobs: Mapping[str, Job], check: CheckResult | None
) -> bool:
    """Whether what spoke of it does so no longer, though it is still heard: no counter does for
    two readings and a half, a gang that hung makes steps again, and no check of it that began
    since has failed. That a slow gang is not told of proves nothing: that it is at its pace again
    is told. jobs: the gangs as they are now, by name. check: the newest of its node."""
    quiet_s = quiet_for_s(incident, now)
    if quiet_s is None or quiet_s < GONE_S or incident.fault not in _LEVELS:
        return False
    if check is not None and (check.passed, check.incarnation) == (False, incident.incarnation):
        since_s = 0.0 if check.at is None else (now - check.at).total_seconds()
        if since_s <= quiet_s:
            return False
    hung = [s for s in incident.signals if s.code == "gang.hang"]
    if not all(_went_on(s, jobs) for s in hung):
        return False
    if last_reading(incident) is not None:
        return True
    if not all(_at_its_pace(s, incident) for s in incident.signals if s.code in _CRAWLS):
        return False
    return bool(hung) or _steps_on(incident, now - timedelta(seconds=quiet_s), jobs)


def hangs_no_more(incident: Incident, jobs: Mapping[str, Job]) -> bool:
    """Whether every gang of it that hung makes steps again. jobs: as they are now, by name."""
    hung = [s for s in incident.signals if s.code == "gang.hang"]
    return bool(hung) and all(_went_on(s, jobs) for s in hung)


def _at_its_pace(slow: Signal, incident: Incident) -> bool:
    """Whether that attempt was told to be at its pace again since."""
    return slow.code == "gang.slow" and any(
        s.code == PACED and s.incarnation == slow.incarnation and s.at > slow.at
        for s in incident.signals
        if s.target == slow.target
    )


def _steps_on(incident: Incident, since: datetime, jobs: Mapping[str, Job]) -> bool:
    """Whether a gang on its node has made a step since then."""
    return any(
        job.state is JobState.RUNNING and job.step_at is not None and job.step_at > since
        for job in jobs.values()
        if incident.node in job.nodes
    )


def _went_on(hang: Signal, jobs: Mapping[str, Job]) -> bool:
    job = jobs.get(hang.target.partition(":")[2])
    if job is None or job.state is not JobState.RUNNING or job.attempt_id != hang.incarnation:
        return False
    return job.step_at is not None and job.step_at > hang.at


def _of_its_node(incident: Incident) -> list[Signal]:
    node, its_gpus = f"node:{incident.node}", f"gpu:{incident.node}/"
    return [
        s
        for s in incident.signals
        if s.trust not in ATTACKER_WRITABLE
        if s.target == node or s.target.startswith(its_gpus)
    ]


def _is_polled(signal: Signal) -> bool:
    return signal.code in POLLED and signal.trust is Trust.DRIVER


_RANK: tuple[Fault, ...] = (
    Fault.CAPACITY_SHORT,
    Fault.SOURCE_LOST,
    Fault.JOB_STOPPED,
    Fault.GANG_SLOW,
    Fault.GANG_NAN,
    Fault.GANG_HANG,
    Fault.APPLICATION,
    Fault.SENSOR,
    Fault.GPU_NOTICE,
    Fault.GPU_MEMORY_CONTAINED,
    Fault.NODE_SILENT,
    Fault.NODE_LOST,
    Fault.NODE_SUSPECT,
    Fault.GPU_POWER_BRAKE,
    Fault.GPU_THERMAL,
    Fault.GPU_UNKNOWN,
    Fault.NODE_FLAPPING,
    Fault.NETWORK_LINK,
    Fault.PCIE,
    Fault.NVLINK,
    Fault.GPU_MEMORY,
    Fault.GPU_HARDWARE,
    Fault.GPU_DRIVER,
    Fault.GPU_RMA,
    Fault.GPU_HANDS_ON,
    Fault.GPU_OFF_BUS,
    Fault.STORAGE_STALL,
    Fault.DOMAIN_DOWN,
)


def rank(fault: str) -> int:
    """Which class names an incident that several fit: the highest. Whatever a node suffers of
    outranks that it is lost, because starting it anew does not mend that, and because our own drain
    makes it lost."""
    return _RANK.index(Fault(fault))


class Recovery(IntEnum):
    """What the driver says that a GPU needs (Xid 154), by the driver's own numbers. It outranks
    what a code's row in the catalogue says."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4


def recovery_said(signals: Iterable[Signal]) -> Recovery | None:
    """The driver's last word (Xid 154) on what these signals' GPUs need: the gravest of the GPUs'
    own last words. None: it did not say, or we could not read it."""
    last: dict[str, Signal] = {}
    for signal in signals:
        if signal.code != "xid.154" or signal.trust in ATTACKER_WRITABLE:
            continue
        held = last.get(signal.target)
        if held is None or held.at <= signal.at:
            last[signal.target] = signal
    said = [r for s in last.values() if (r := recovery_of(s.value)) is not None]
    return max(said, key=_GRAVITY.index, default=None)


def recovery_of(value: float | None) -> Recovery | None:
    """The number of a `xid.154` signal as a word; None where it is none of the five."""
    return Recovery(int(value)) if value in tuple(Recovery) else None


_GRAVITY = (
    Recovery.NONE,
    Recovery.DRAIN_P2P,
    Recovery.DRAIN_AND_RESET,
    Recovery.GPU_RESET,
    Recovery.NODE_REBOOT,
)
