"""How much does a set of Signals say, and which class of fault does each speak for?

Asked by the correlator. Confidence is 1 - product(1 - weight) over *instruments*: each source
counts once, with its weightiest signal, so that a thousand lines of one log are one witness.
The weights are ours (assumptions, not measured): see `WEIGHT`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable

from watchkeeper.core.fault import Fault, Recovery, recovery_of, recovery_said
from watchkeeper.core.incident import ATTACKER_WRITABLE, Signal, Trust, target_node
from watchkeeper.health.catalogue import fault_of_sxid, fault_of_xid
from watchkeeper.health.counters import fault_of_counter
from watchkeeper.health.decode import FATAL, LINK_IGNORE, LINK_RESET, LINK_WAIT, NON_FATAL

WEIGHT: dict[Trust, float] = {
    Trust.BMC: 0.8,
    Trust.KERNEL: 0.8,
    Trust.PROVIDER: 0.8,
    Trust.DRIVER: 0.7,
    Trust.RAY: 0.7,
    Trust.SCHEDULER: 0.7,
    Trust.FORECAST: 0.2,
    Trust.JOB_LOG: 0.3,
    Trust.USER_CHAT: 0.1,
}
"""What one instrument of this trust is worth alone. Two of the better ones pass 0.9."""

SILENCE_WEIGHT = 0.3
"""Silence says that we do not know. It supports another witness and convinces nobody alone."""
TENANT_CAP = 0.3
"""Tenants' own words, however many, are never worth more."""
CEILING = 0.99

_UNCERTAIN = frozenset({"node.silent", "node.unknown"})
LEVEL_CODES = frozenset(
    {
        "node.dead",
        "node.process_gone",
        "node.silent",
        "node.unknown",
        "gpu.lost",
        "job.stopped",
        "source.lost",
        "capacity.short",
        "node.flap",
        "gang.hang",
        "gang.slow",
        "gang.nan",
        "gang.suspect",
        "gpu.thermal",
        "gpu.power_brake",
        "storage.stall",
        "sensor.frozen",
        "sensor.implausible",
    }
)
"""Facts that are sensed anew each turn; the rest are events, told once."""

_FAULT: dict[str, Fault] = {
    "node.dead": Fault.NODE_LOST,
    "node.process_gone": Fault.NODE_LOST,
    "node.silent": Fault.NODE_SILENT,
    "node.unknown": Fault.NODE_SILENT,
    "gpu.lost": Fault.GPU_OFF_BUS,
    "job.stopped": Fault.JOB_STOPPED,
    "source.lost": Fault.SOURCE_LOST,
    "capacity.short": Fault.CAPACITY_SHORT,
    "node.raylet_exit": Fault.NODE_LOST,
    "node.oom": Fault.APPLICATION,
    "host.mce": Fault.GPU_HANDS_ON,
    "fabric.down": Fault.GPU_HANDS_ON,
    "fabric.nvlink": Fault.NVLINK,
    "imex.down": Fault.GPU_NOTICE,
    "kubelet.not_ready": Fault.GPU_NOTICE,
    "node.flap": Fault.NODE_FLAPPING,
    "gang.hang": Fault.GANG_HANG,
    "gang.slow": Fault.GANG_SLOW,
    "gang.nan": Fault.GANG_NAN,
    "gang.suspect": Fault.NODE_SUSPECT,
    "storage.stall": Fault.STORAGE_STALL,
    "sensor.frozen": Fault.SENSOR,
    "sensor.implausible": Fault.SENSOR,
}

STALL = "storage.stall"
"""Of a zone: its storage. Of a node: a mount of its own that does not answer."""

_RECOVERY_FAULT: dict[Recovery, Fault | None] = {
    Recovery.NONE: None,
    Recovery.DRAIN_P2P: Fault.GPU_NOTICE,
    Recovery.DRAIN_AND_RESET: Fault.GPU_HARDWARE,
    Recovery.GPU_RESET: Fault.GPU_HARDWARE,
    Recovery.NODE_REBOOT: Fault.GPU_HARDWARE,
}
"""What the driver's own word is where no other code names the fault. Which cure it asks for is
read again by the ladder."""

_NVLINK5: dict[float, Fault | None] = {
    LINK_IGNORE: None,
    LINK_RESET: Fault.NVLINK,
    LINK_WAIT: None,
}

COALESCE_S = 5.0
"""The same code on the same target again within this time is the same event."""
KEPT_PER_CODE = 8
"""Signals kept of one code on one target: the first half and the newest half."""


def fault_of(signal: Signal) -> Fault | None:
    """The class of fault that this signal speaks for; None when it speaks for none.

    Codes that we do not know and that look like a GPU's are `gpu_unknown`; a code of no known
    family at all speaks for nothing.
    """
    kind, _, number = signal.code.partition(".")
    if kind in ("xid", "sxid"):
        if not number.isdigit():
            return Fault.GPU_UNKNOWN
        if kind == "xid":
            return _fault_of_xid(int(number), signal.value)
        fault = fault_of_sxid(int(number))
        # Where the switch's driver itself says non-fatal and the table says otherwise, the two
        # disagree: that is worth a look, and no node is taken out for it. So are they the other
        # way round.
        mild = signal.value == NON_FATAL and fault is not None
        grave = signal.value == FATAL and fault is None
        return Fault.GPU_NOTICE if mild or grave else fault
    if signal.code == STALL and target_node(signal.target):
        return Fault.NODE_SUSPECT  # its own disk or mount; where many say so, `doubt` names a zone
    return _FAULT.get(signal.code) or fault_of_counter(signal.code, signal.value)


def _fault_of_xid(code: int, value: float | None) -> Fault | None:
    if code == 154:
        recovery = recovery_of(value)
        return _RECOVERY_FAULT[recovery] if recovery is not None else None
    if 144 <= code <= 150 and value in _NVLINK5:
        return _NVLINK5[value]
    return fault_of_xid(code)


def believed(signal: Signal) -> bool:
    """Whether it may open an incident: a tenant's word about a node or a GPU may not, and a
    forecast is no fact. A tenant may say that their own job stopped."""
    if signal.trust is Trust.FORECAST:
        return False
    return signal.trust not in ATTACKER_WRITABLE or signal.target.startswith("job:")


def confidence(signals: Iterable[Signal]) -> float:
    """0 to 1, from independent sources; rounded to two places so that it does not flicker."""
    best: dict[str, float] = {}
    tenant = 0.0
    for signal in signals:
        weight = SILENCE_WEIGHT if signal.code in _UNCERTAIN else WEIGHT[signal.trust]
        if signal.trust in ATTACKER_WRITABLE:
            tenant = max(tenant, weight)
        else:
            best[signal.instrument] = max(best.get(signal.instrument, 0.0), weight)
    if not best:
        return min(tenant, TENANT_CAP)  # their words add nothing to the word of an instrument
    doubt = 1.0
    for weight in best.values():
        doubt *= 1.0 - weight
    return round(min(CEILING, 1.0 - doubt), 2)


def merged(kept: tuple[Signal, ...], new: Iterable[Signal]) -> tuple[Signal, ...]:
    """Both, oldest first, without doubles. The same input twice changes nothing.

    A signal known by id, or within 5 s of a kept one of the same code, target and source, adds
    nothing; of one code and target at most eight are kept, so that a storm stays small.
    """
    ids = {s.id for s in kept}
    new = [s for s in new if s.id not in ids]
    if not new:
        return kept  # the common turn: every fact is known
    out = list(kept)
    times: dict[tuple[str, str, str], list[float]] = {}
    for signal in sorted(kept, key=_order):
        times.setdefault(_kind(signal), []).append(signal.at.timestamp())
    for signal in sorted(new, key=_order):
        seen, at = times.setdefault(_kind(signal), []), signal.at.timestamp()
        place = bisect(seen, at)
        near = any(abs(at - t) < COALESCE_S for t in seen[max(0, place - 1) : place + 1])
        if signal.id not in ids and not near:
            ids.add(signal.id)
            out.append(signal)
            seen.insert(place, at)
    if len(out) == len(kept):
        return kept
    return _bounded(sorted(out, key=_order))


def _bounded(signals: list[Signal]) -> tuple[Signal, ...]:
    by_code: dict[tuple[str, str], list[Signal]] = {}
    for signal in signals:
        by_code.setdefault((signal.code, signal.target), []).append(signal)
    half = KEPT_PER_CODE // 2
    keep = {
        s.id
        for group in by_code.values()
        for s in (group if len(group) <= KEPT_PER_CODE else group[:half] + group[-half:])
    }
    return tuple(s for s in signals if s.id in keep)


def _kind(signal: Signal) -> tuple[str, str, str]:
    return (signal.code, signal.target, signal.source)


def _order(signal: Signal) -> tuple[float, str, str]:
    return (signal.at.timestamp(), signal.code, signal.id)


def repeated(signals: Iterable[Signal], fault: Fault) -> bool:
    """A class that one line cannot establish (NVLink: it may blame the innocent end, and links
    go down together at boot) is established by a second line at another time, or by the word of
    the GPU and of the switch together."""
    signals = tuple(signals)
    seen = [s for s in signals if fault_of(s) is fault and believed(s)]
    if not seen:
        return False
    if recovery_said(signals) not in (None, Recovery.NONE):
        return True  # the driver itself asks for a cure
    times = [s.at for s in seen]
    families = {s.code.partition(".")[0] for s in seen}
    if "nvlink" in families:
        return True  # a counter over its threshold is many errors already
    return (max(times) - min(times)).total_seconds() >= COALESCE_S or len(families) > 1
