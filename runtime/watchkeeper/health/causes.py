"""What could have caused a fault beyond one GPU: network, gang, rack, storage, a sensor?

Asked by `hypotheses`, for people and for the crew to quote. No action hangs on a cause.
"""

from __future__ import annotations

from watchkeeper.core.cluster import RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Hypothesis, Signal, target_node
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.claims import (
    PROPOSED,
    REFUTED,
    SUPPORTED,
    claim,
    in_words,
    that_speak_for,
    with_code,
)
from watchkeeper.health.evidence import STALL

_DOMAIN_CAUSE = {
    "rack": "power or cooling of the rack",
    "leaf": "the leaf switch",
    "power_feed": "the power feed",
    "nvlink_domain": "the NVLink switches of the domain",
    "zone": "the zone's power, cooling or network",
}


def causes(
    fault: Fault, target: str, seen: list[Signal], snapshot: Snapshot
) -> tuple[Hypothesis, ...]:
    """The causes worth naming, likeliest first; () for a class that is none of these."""
    match fault:
        case Fault.NETWORK_LINK:
            return _network(seen)
        case Fault.PCIE:
            return _pcie(seen)
        case Fault.GPU_THERMAL | Fault.GPU_POWER_BRAKE:
            return _clocks(fault, seen)
        case Fault.NODE_FLAPPING:
            return _flapping(seen)
        case Fault.NODE_SUSPECT:
            return _suspect(seen)
        case Fault.GANG_HANG | Fault.GANG_SLOW | Fault.GANG_NAN:
            return _gang(fault, seen)
        case Fault.STORAGE_STALL:
            return (
                claim(
                    "storage or the data's way to the GPUs",
                    SUPPORTED,
                    seen,
                    "several gangs stopped stepping together and their GPUs are idle",
                ),
                claim("a fault of their GPUs", REFUTED, seen, "no GPU gave a code"),
            )
        case Fault.DOMAIN_DOWN:
            return _domain(target, seen, snapshot)
        case Fault.SENSOR:
            return (
                claim("the sensor, or how it is read", SUPPORTED, seen, in_words(seen)),
                claim("a fault of the GPU", REFUTED, seen, "no other reading bears it out"),
            )
        case _:
            return ()


def _network(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    links = that_speak_for(seen, Fault.NETWORK_LINK)
    errors = with_code(links, "ib.symbol_errors")
    return (
        claim("the node's own port or cable", SUPPORTED, links, in_words(links)),
        claim(
            "the far end of the cable, a switch port",
            PROPOSED,
            errors or links,
            "a counter at this end cannot tell which end is bad",
        ),
        claim(
            "the whole switch",
            REFUTED,
            [],
            "too few nodes of one switch say so; if more do, the switch gets its own incident",
        ),
    )


def _pcie(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    own = that_speak_for(seen, Fault.PCIE)
    narrow = with_code(own, "pcie.width")
    return (
        claim("a bad contact, riser or slot", SUPPORTED, own, in_words(own)),
        claim(
            "a link that trained badly at boot",
            PROPOSED,
            narrow,
            "a reboot trains it anew" if narrow else "its width was not reported",
        ),
    )


def _clocks(fault: Fault, seen: list[Signal]) -> tuple[Hypothesis, ...]:
    heat = that_speak_for(seen, Fault.GPU_THERMAL)
    brake = that_speak_for(seen, Fault.GPU_POWER_BRAKE)
    cap = "the driver tells a power cap by another bit, which is no fault"
    if fault is Fault.GPU_THERMAL:
        return (
            claim("cooling of this host", SUPPORTED, heat, in_words(heat)),
            claim("a power cap", REFUTED, heat, cap),
        )
    return (
        claim("a power supply of this host, or its feed", SUPPORTED, brake, in_words(brake)),
        claim("a power cap", REFUTED, brake, cap),
        claim(
            "heat", PROPOSED if heat else REFUTED, heat, in_words(heat) or "no thermal bit is set"
        ),
    )


def _flapping(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    flaps = with_code(seen, "node.flap")
    links = that_speak_for(seen, Fault.NETWORK_LINK)
    times = int(max((s.value or 0.0 for s in flaps), default=0.0))
    return (
        claim(
            "the host below the raylet (memory, disk, kernel)",
            SUPPORTED,
            flaps,
            f"it died {times} times within the window" if times else "it died again and again",
        ),
        claim(
            "its network",
            SUPPORTED if links else PROPOSED,
            links,
            in_words(links) or "no link counter speaks of it",
        ),
    )


def _suspect(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    if mounts := with_code(seen, STALL):
        why = "no other node of its zone says so"
        return (
            claim("its own disk, or its own way to the storage", SUPPORTED, mounts, why),
            claim("the storage itself", REFUTED, mounts, why),
        )
    odd = with_code(seen, "gang.suspect")
    gang = with_code(seen, "gang.hang", "gang.slow", "gang.nan")
    return (
        claim(
            "a silent fault of this node",
            SUPPORTED if gang else PROPOSED,
            odd + gang,
            "its gang suffers, and it alone differs from its peers",
        ),
        claim(
            "the program loads its workers unevenly",
            PROPOSED,
            gang,
            "one reading of load cannot refute that",
        ),
    )


def _gang(fault: Fault, seen: list[Signal]) -> tuple[Hypothesis, ...]:
    own = that_speak_for(seen, fault)
    if fault is Fault.GANG_NAN:
        return (
            claim("the program diverged", PROPOSED, own, "the loss alone cannot tell"),
            claim("silent corruption in one GPU", PROPOSED, own, "no instrument names one"),
        )
    return (
        claim("one worker holds all back", PROPOSED, own, "no node differs from its peers"),
        claim("the program itself waits", PROPOSED, own, in_words(own)),
        claim("storage", REFUTED, own, "other gangs of the same domain make steps"),
    )


def _domain(target: str, seen: list[Signal], snapshot: Snapshot) -> tuple[Hypothesis, ...]:
    """Each kind of domain that these nodes share, and how many of it are well against it."""
    kind = target.partition(":")[0]
    ill = {n for s in seen if (n := target_node(s.target))}
    named = claim(
        _DOMAIN_CAUSE.get(kind, "something that they share"),
        SUPPORTED,
        seen,
        f"{len(ill)} nodes of {target.partition(':')[2]} fell ill together",
    )
    others = []
    for other, cause in _DOMAIN_CAUSE.items():
        shared = {snapshot.nodes[n].domains().get(other, "") for n in ill if n in snapshot.nodes}
        if other == kind or len(shared) != 1 or "" in shared:
            continue
        (name,) = shared
        well = [
            n.name
            for n in snapshot.nodes.values()
            if n.domains().get(other) == name
            and n.name not in ill
            and n.ray_state is RayState.ALIVE
        ]
        others.append(
            claim(cause, REFUTED, seen[:1], f"{len(well)} other nodes of {name} are well")
            if well
            else claim(cause, PROPOSED, seen, f"all nodes of {name} are ill")
        )
    each = claim("each node for itself", REFUTED, seen[:1], "so many do not fail at once by chance")
    return (named, *others, each)
